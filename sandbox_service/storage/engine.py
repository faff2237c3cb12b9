"""Engines: how each database is connected to."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
"""What a URL without a driver means."""

_SQLITE_CONNECTIONS: Final = 4
"""Each is a thread. One writes at a time, the others read."""

_READS_ONLY: Final = "store_reads_only"


def store_url(text: str) -> URL:
    """Read a store's URL, filling in the driver.

    Raises:
        ValueError: It is for no database that this service knows, or for an
            SQLite database in memory, which outlives nothing.
    """
    url = make_url(text)
    if url.drivername in _DRIVERS:
        url = url.set(drivername=_DRIVERS[url.drivername])
    if url.drivername not in _DRIVERS.values():
        raise ValueError(f"The store's URL must begin with one of {sorted(_DRIVERS)}.")
    if is_sqlite(url) and url.database in (None, "", ":memory:"):
        raise ValueError("The store's URL must name a file.")
    return url


def is_sqlite(url: URL) -> bool:
    """Return whether the store is an SQLite file."""
    return url.get_backend_name() == "sqlite"


def make_engine(url: URL, busy_timeout: timedelta) -> AsyncEngine:
    """Return an engine for `url`. Connects to nothing yet.

    Args:
        url: As `store_url` returns it.
        busy_timeout: How long to wait for another process that writes to the
            same SQLite file.
    """
    # Both would log values, and so secrets, as soon as everything logs at
    # DEBUG: the driver its parameters, the engine the rows that it read.
    for name in ("aiosqlite", "sqlalchemy.engine", "sqlalchemy.pool"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not is_sqlite(url):
        return create_async_engine(url, hide_parameters=True, pool_pre_ping=True)
    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_size=_SQLITE_CONNECTIONS,
        max_overflow=0,
        connect_args={"isolation_level": None, "timeout": busy_timeout.total_seconds()},
    )
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def reading(engine: AsyncEngine) -> AsyncEngine:
    """Return `engine`, same connections, for single reads that need no transaction."""
    return engine.execution_options(**{_READS_ONLY: True})


def _set_pragmas(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    # The log is not flushed at each commit. A killed process loses nothing; a
    # machine that loses power may lose the last moments, and what ran then is
    # found again by the metadata that each sandbox carries.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once and waits for it. A transaction
    # that begins by reading would be refused without waiting when it writes.
    if not connection.get_execution_options().get(_READS_ONLY):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@asynccontextmanager
async def opening(url: URL) -> AsyncIterator[None]:
    """Make a database's file private, and be the only one who opens it meanwhile.

    A file that is no SQLite database is not looked at, nor is a folder that
    exists changed. Databases of other kinds need none of this.

    Raises:
        OSError: The folder cannot be made, or the file cannot be written.
    """
    if not is_sqlite(url) or url.database is None:
        yield
        return
    path = Path(url.database)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        _make_private(path)
        yield
    finally:
        os.close(lock)


def _make_private(path: Path) -> None:
    # Only a file that is not there yet may be opened here: closing any
    # descriptor of a database drops the locks that SQLite holds on it in this
    # process. SQLite gives its other files the mode of this one.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        path.chmod(0o600)
