"""Which failures of a database are told to the caller, and which are bugs of ours."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sandbox_service.domain.errors import StoreUnavailableError
from sandbox_service.storage.errors import sql_errors


class DriverError(Exception):
    def __init__(self, **codes):
        super().__init__("INSERT of something secret failed")
        self.__dict__.update(codes)


def sqlite_error(code):
    return OperationalError("INSERT", {}, DriverError(sqlite_errorcode=code))


def postgresql_error(sqlstate):
    return DBAPIError("INSERT", {}, DriverError(sqlstate=sqlstate))


UNAVAILABLE = {
    "locked": (sqlite_error(sqlite3.SQLITE_BUSY), 1),
    "locked, with an extended code": (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), 1),
    "disk full": (sqlite_error(sqlite3.SQLITE_FULL), 30),
    "disk error": (sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), 1),
    "read-only": (sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), None),
    "damaged": (sqlite_error(sqlite3.SQLITE_CORRUPT), None),
    "server stopping": (postgresql_error("57P01"), 1),
    "server's disk full": (postgresql_error("53100"), 30),
    "too many connections": (postgresql_error("53300"), 1),
    "deadlock": (postgresql_error("40P01"), 1),
    "wrong password": (postgresql_error("28P01"), None),
    "connection lost": (
        OperationalError("INSERT", {}, DriverError(), connection_invalidated=True),
        1,
    ),
    "no connection free": (PoolTimeoutError("QueuePool limit reached"), 1),
    "no server": (ConnectionRefusedError(), 1),
}


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_a_store_that_cannot_serve_is_unavailable_and_says_when_to_come_back(name):
    """The retry is the caller's, so it must know whether one can help."""
    error, seconds = UNAVAILABLE[name]

    with pytest.raises(StoreUnavailableError) as caught, sql_errors():
        raise error

    retry_after = caught.value.retry_after
    assert (retry_after.total_seconds() if retry_after else None) == seconds
    assert caught.value.__cause__ is error
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        sqlite_error(sqlite3.SQLITE_ERROR),
        postgresql_error("42P01"),
        IntegrityError("INSERT", {}, DriverError(sqlite_errorcode=sqlite3.SQLITE_CONSTRAINT)),
        ValueError("naive"),
    ],
    ids=["wrong statement", "no such table", "constraint", "not SQL at all"],
)
def test_a_bug_of_ours_is_not_hidden_as_an_outage(error):
    """It would be retried for ever and never looked at."""
    with pytest.raises(type(error)) as caught, sql_errors():
        raise error

    assert caught.value is error
