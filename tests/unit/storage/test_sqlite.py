"""What is true of SQLite files alone, and of the schema that is put into them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, event

from sandbox_service.domain.errors import StoreUnavailableError
from sandbox_service.domain.ports import RecordFilter
from sandbox_service.domain.sandboxes import (
    InternetAccess,
    PreviewSpec,
    Resources,
    SandboxRecord,
    SandboxState,
)
from sandbox_service.storage.engine import make_engine, store_url
from sandbox_service.storage.migrate import migrate
from sandbox_service.storage.schema import METADATA
from sandbox_service.storage.sql_store import SqlStore, open_store

TIME = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = SandboxRecord(
    sandbox_id="sb-1",
    tenant="acme",
    user="",
    owner="",
    state=SandboxState.RUNNING,
    template="base",
    backend_template_id="base",
    resources=Resources(1, 512),
    metadata={},
    create_time=TIME,
    state_time=TIME,
    expire_time=TIME,
    preview=PreviewSpec(),
    internet=InternetAccess.ALLOWED,
    traffic_token="opens-the-preview",
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "store.db"


@pytest.fixture
def url(path):
    return f"sqlite:///{path}"


async def opened_and_closed(url):
    await (await open_store(url)).aclose()


async def test_only_its_user_can_read_the_store(path, url):
    """It holds the tokens of previews."""
    store = await open_store(url)
    await store.put(RECORD)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    await store.aclose()

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {"store.db", "store.db-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}


async def test_a_file_that_others_could_read_is_made_private(path, url):
    """It may have been copied back from somewhere careless."""
    await opened_and_closed(url)
    path.chmod(0o644)
    await opened_and_closed(url)

    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_folder_that_was_there_keeps_its_mode(path, url):
    """It may be shared with other programs, such as /var/lib."""
    path.parent.mkdir()
    path.parent.chmod(0o755)
    await opened_and_closed(url)

    assert path.parent.stat().st_mode & 0o777 == 0o755


async def test_secrets_are_in_no_log_even_when_everything_is_logged(url, caplog):
    """The driver logs its parameters at DEBUG, and the engine the rows it reads."""
    with caplog.at_level(logging.DEBUG):
        store = await open_store(url)
        await store.put(RECORD)
        assert await store.get("sb-1") == RECORD
        await store.list(RecordFilter(), 9)
        await store.aclose()
        logging.getLogger("asyncio").debug("the log is on")

    assert "the log is on" in caplog.text
    assert RECORD.traffic_token not in caplog.text


async def test_an_error_tells_no_values(url):
    """Errors are logged with their causes, and the cause is the statement's."""
    store = await open_store(url)
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
        other.execute("DROP TABLE metadata_pairs")
        other.execute("ALTER TABLE sandboxes DROP COLUMN traffic_token")
        other.commit()

    with pytest.raises(Exception, match="traffic_token") as caught:
        await store.put(RECORD)
    await store.aclose()
    assert RECORD.traffic_token not in str(caught.value)


async def test_closing_ends_every_thread(url):
    """A thread that stays keeps the process from ending."""
    before = set(threading.enumerate())
    store = await open_store(url)
    await asyncio.gather(*(store.get("none") for _ in range(20)))
    threads = {t for t in threading.enumerate() if "_connection_worker" in t.name} - before
    await store.aclose()
    for thread in threads:
        thread.join(timeout=10)

    assert threads
    assert not any(thread.is_alive() for thread in threads)


async def test_a_store_that_another_process_keeps_locked_is_busy(path, url):
    """The caller is told to repeat the call, and it then succeeds."""
    store = await open_store(url, busy_timeout=timedelta(milliseconds=10))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError) as caught:
            await store.put(RECORD)
        assert await store.get("sb-1") is None
        other.execute("ROLLBACK")
    await store.put(RECORD)

    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert caught.value.retry_after == timedelta(seconds=1)
    assert await store.get("sb-1") == RECORD
    await store.aclose()


async def test_a_full_disk_is_told_and_loses_nothing(url):
    """What was there stays readable, and the caller learns to come back later."""
    where = store_url(url)
    engine = make_engine(where, timedelta(seconds=1))
    await opened_and_closed(url)

    @event.listens_for(engine.sync_engine, "connect")
    def _limit(connection, _):
        cursor = connection.cursor()
        cursor.execute("PRAGMA max_page_count=1")
        cursor.close()

    store = SqlStore(engine)
    await store.put(RECORD)
    big = replace(RECORD, sandbox_id="big", metadata={"big": "x" * 1_000_000})
    with pytest.raises(StoreUnavailableError) as caught:
        await store.put(big)

    assert caught.value.retry_after == timedelta(seconds=30)
    assert await store.get("sb-1") == RECORD
    await store.aclose()


async def test_a_file_that_is_no_store_is_refused_for_good(path, url):
    """Repeating the call cannot help, so nobody is told to."""
    path.parent.mkdir()
    path.write_bytes(b"something else entirely" * 100)

    with pytest.raises(StoreUnavailableError) as caught:
        await open_store(url)

    assert caught.value.retry_after is None
    assert str(path) not in str(caught.value)
    assert path.read_bytes() == b"something else entirely" * 100


async def test_a_place_where_no_file_can_be_is_unavailable(tmp_path):
    """The operator's mistake reaches the operator as one error, not as a driver's."""
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailableError):
        await open_store(f"sqlite:///{tmp_path / 'file' / 'store.db'}")


async def test_a_store_of_a_newer_version_is_not_touched(path, url):
    """An older version would write rows that lack what the newer one relies on."""
    await opened_and_closed(url)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
        other.commit()

    with pytest.raises(StoreUnavailableError, match="newer version"):
        await open_store(url)


@pytest.mark.parametrize(
    "wrong", ["sqlite://", "sqlite:///:memory:", "mysql://host/name", "sqlite+pysqlite:///file"]
)
async def test_a_url_for_no_store_is_refused(wrong):
    """A store in memory would forget what it promises to keep."""
    with pytest.raises(ValueError, match="store's URL"):
        await open_store(wrong)


def test_migrations_make_the_schema_that_the_code_expects(tmp_path):
    """Tables are written down twice; this is what holds the two together."""
    engine = create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    with engine.begin() as connection:
        migrate(connection)
        migrate(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, METADATA)
    engine.dispose()

    assert differences == []


async def test_the_store_is_opened_as_it_should_be(path, url):
    """Readers never wait for writers, and a deleted sandbox takes its index with it."""
    store = await open_store(url)
    where = make_engine(store_url(url), timedelta(seconds=7))
    async with where.connect() as connection:
        pragmas = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    await where.dispose()
    await store.aclose()

    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 7000}
