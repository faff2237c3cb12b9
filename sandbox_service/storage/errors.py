"""SQL errors as errors of the domain: one table per database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sandbox_service.domain.errors import StoreUnavailableError

_SOON: Final = timedelta(seconds=1)
_LATER: Final = timedelta(seconds=30)

_Reaction = tuple[str, timedelta | None]

_BUSY: Final[_Reaction] = ("The service's store is busy. Repeat the call.", _SOON)
_UNREACHABLE: Final[_Reaction] = ("The service's store does not answer. Repeat the call.", _SOON)
_FULL: Final[_Reaction] = (
    "The service's store has no room left. The operator must act; repeat the call later.",
    _LATER,
)
_BROKEN: Final[_Reaction] = (
    "The service's store cannot be used. The operator must act.",
    None,
)

_SQLITE: Final[Mapping[int, _Reaction]] = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_PROTOCOL: _BUSY,
    sqlite3.SQLITE_NOMEM: _UNREACHABLE,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _UNREACHABLE,
    sqlite3.SQLITE_CANTOPEN: _UNREACHABLE,
    sqlite3.SQLITE_READONLY: _BROKEN,
    sqlite3.SQLITE_PERM: _BROKEN,
    sqlite3.SQLITE_CORRUPT: _BROKEN,
    sqlite3.SQLITE_NOTADB: _BROKEN,
}
"""By primary result code: the low byte of what SQLite tells."""

_SQLSTATE: Final[Mapping[str, _Reaction]] = {
    "53100": _FULL,  # disk_full
    "08": _UNREACHABLE,  # connection exceptions
    "25006": _BROKEN,  # read_only_sql_transaction
    "28": _BROKEN,  # invalid authorization
    "3D": _BROKEN,  # no such database
    "40": _BUSY,  # rolled back: deadlock or serialization
    "53": _BUSY,  # insufficient resources
    "42501": _BROKEN,  # insufficient_privilege
    "55": _BUSY,  # locked, or not accepting connections
    "57": _UNREACHABLE,  # operator intervention: shutdown, cancelled
    "58": _UNREACHABLE,  # system error outside of PostgreSQL
}
"""By SQLSTATE, or by its class: the first two characters."""


@contextmanager
def sql_errors() -> Iterator[None]:
    """Turn what says that the store cannot serve into an error of the domain.

    What says that a statement is wrong is a bug, and goes through as it is.

    Raises:
        StoreUnavailableError: The store is locked, full, gone or damaged.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise _unavailable(_BUSY) from error
    except DBAPIError as error:
        reaction = _reaction(error)
        if reaction is None:
            raise
        raise _unavailable(reaction) from error
    except OSError as error:
        # A driver that finds no server raises the socket's own error; SQLite's
        # folder may be missing or forbidden.
        raise _unavailable(_UNREACHABLE) from error


def _unavailable(reaction: _Reaction) -> StoreUnavailableError:
    message, retry_after = reaction
    return StoreUnavailableError(message, retry_after=retry_after)


def _reaction(error: DBAPIError) -> _Reaction | None:
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return _SQLITE.get(sqlite_code & 0xFF)
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return _SQLSTATE.get(sqlstate) or _SQLSTATE.get(sqlstate[:2])
    lost = error.connection_invalidated or isinstance(error, InterfaceError)
    return _UNREACHABLE if lost else None
