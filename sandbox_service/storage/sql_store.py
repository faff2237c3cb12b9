"""The store, on any database that SQLAlchemy reaches: SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Final, Self

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sandbox_service.domain.errors import StoreUnavailableError
from sandbox_service.domain.ports import Intent, RecordFilter, Store
from sandbox_service.domain.sandboxes import SandboxRecord
from sandbox_service.storage import statements
from sandbox_service.storage.engine import is_sqlite, make_engine, opening, reading, store_url
from sandbox_service.storage.errors import sql_errors
from sandbox_service.storage.migrate import migrate
from sandbox_service.storage.rows import (
    intent_row,
    metadata_pairs,
    record_row,
    row_intent,
    row_record,
)
from sandbox_service.storage.statements import Upserts

_BUSY_TIMEOUT: Final = timedelta(seconds=5)


async def open_store(url: str, *, busy_timeout: timedelta = _BUSY_TIMEOUT) -> Store:
    """Open a store, making it or bringing it to this version's schema.

    Any number of processes may open one at once. An SQLite file is made with
    mode 0600 and its folder with 0700; beside it stand its log and a lock.

    Args:
        url: `sqlite:////folder/file` or `postgresql://user@host/name`. A
            driver may be named, as in `sqlite+aiosqlite`.
        busy_timeout: How long to wait for another process that is writing to
            an SQLite file.

    Raises:
        ValueError: The URL is for no database that this service knows.
        StoreUnavailableError: It cannot be opened, or a newer version of the
            service has written it.
    """
    return await SqlStore.open(url, busy_timeout)


class SqlStore:
    """A store in an SQL database. Made by `open`.

    Every method raises `StoreUnavailableError` when the database cannot
    serve. Each is one transaction: it happens whole or not at all.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reader = reading(engine)
        # Writers of one SQLite file wait for one another in turn here, not by
        # polling for the file's lock, which is slow and lets some starve.
        self._turn: AbstractAsyncContextManager[object] = (
            asyncio.Lock() if is_sqlite(engine.url) else nullcontext()
        )
        self._upserts = Upserts(engine.dialect.name)
        self._under_way = 0
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._closed = False

    @classmethod
    async def open(cls, url: str, busy_timeout: timedelta) -> Self:
        """Open a store. `open_store` says how."""
        where = store_url(url)
        engine = make_engine(where, busy_timeout)
        try:
            with sql_errors():
                async with opening(where):
                    if is_sqlite(where):
                        async with reading(engine).connect() as connection:
                            await connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                    async with engine.begin() as connection:
                        await connection.run_sync(migrate)
        except BaseException:
            await engine.dispose()
            raise
        return cls(engine)

    async def put(self, record: SandboxRecord) -> None:
        """Write a record, new or changed. The last writer wins."""
        sandbox_id = record.sandbox_id
        pairs = metadata_pairs(record.metadata)
        async with self._writing() as connection:
            await connection.execute(self._upserts.put_record, record_row(record))
            await connection.execute(
                statements.DROP_OTHER_PAIRS, {"sandbox_id": sandbox_id, "pairs": pairs}
            )
            if pairs:
                rows = [{"pair_sha256": pair, "sandbox_id": sandbox_id} for pair in pairs]
                await connection.execute(self._upserts.add_pairs, rows)

    async def get(self, sandbox_id: str) -> SandboxRecord | None:
        """Return a record, whoever's it is. None: there is none."""
        async with self._reading() as connection:
            found = await connection.execute(statements.GET_RECORD, {"sandbox_id": sandbox_id})
            row = found.mappings().one_or_none()
        return None if row is None else row_record(row)

    async def list(self, which: RecordFilter, limit: int) -> Sequence[SandboxRecord]:
        """Return at most `limit` records, newest first, and by id where times are equal."""
        async with self._reading() as connection:
            found = await connection.execute(statements.list_records(which, limit))
            rows = found.mappings().all()
        return [row_record(row) for row in rows]

    async def claim_intent(self, intent: Intent) -> Intent:
        """Write `intent` unless its key is taken.

        Returns:
            `intent` itself if it holds the key now, or the earlier one.
        """
        row = intent_row(intent)
        key = {"tenant": intent.tenant, "key": intent.key}
        async with self._writing() as connection:
            while True:
                if (await connection.execute(self._upserts.claim_intent, row)).rowcount == 1:
                    return intent
                found = await connection.execute(statements.GET_INTENT, key)
                holder = found.mappings().one_or_none()
                if holder is not None:
                    return row_intent(holder)
                # PostgreSQL: the holder freed the key between the two statements.

    async def take_over_intent(self, intent: Intent, instance: str) -> bool:
        """Let `instance` work on an intent that its earlier worker left.

        Args:
            intent: The intent as it was read. If it is not so any more, then
                someone took it over, completed it, or freed the key.
            instance: The new worker. Not the name of the earlier one, or every
                taker would succeed.

        Returns:
            Whether it is `instance`'s now.
        """
        values = {
            "of_tenant": intent.tenant,
            "of_key": intent.key,
            "of_instance": intent.instance,
            "of_create_time": intent.create_time,
            "of_sandbox_id": intent.sandbox_id,
            "to_instance": instance,
        }
        async with self._writing() as connection:
            changed = await connection.execute(statements.TAKE_OVER_INTENT, values)
            return changed.rowcount == 1

    async def complete_intent(self, tenant: str, key: str, sandbox_id: str) -> None:
        """Note what came of an intent. Nothing happens if there is none."""
        values = {"of_tenant": tenant, "of_key": key, "to_sandbox_id": sandbox_id}
        async with self._writing() as connection:
            await connection.execute(statements.COMPLETE_INTENT, values)

    async def free_intent(self, tenant: str, key: str) -> None:
        """Forget an intent, so that its key can be used again. There may be none."""
        async with self._writing() as connection:
            await connection.execute(statements.FREE_INTENT, {"tenant": tenant, "key": key})

    async def forget_before(self, time: datetime) -> int:
        """Delete tombstones of what ended before `time`, and intents created before it.

        Returns:
            How many of both.
        """
        async with self._writing() as connection:
            records = await connection.execute(statements.FORGET_TOMBSTONES, {"time": time})
            intents = await connection.execute(statements.FORGET_INTENTS, {"time": time})
            return records.rowcount + intents.rowcount

    async def aclose(self) -> None:
        """Let calls under way finish, refuse later ones, and close every connection."""
        self._closed = True
        await self._at_rest.wait()
        await self._engine.dispose()

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[None]:
        if self._closed:
            raise StoreUnavailableError("The service's store is closed: the service is stopping.")
        self._under_way += 1
        self._at_rest.clear()
        try:
            with sql_errors():
                yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._at_rest.set()

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._call(), self._turn, self._engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._call(), self._reader.connect() as connection:
            yield connection
