"""A store's life: how it is opened and closed, what outlives it, and what it forgets."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from sandbox_service.domain import lifecycle
from sandbox_service.domain.ports import RecordFilter
from sandbox_service.domain.sandboxes import EndCause
from sandbox_service.storage.sql_store import open_store
from tests.conformance.stores import START, a_record, an_intent, ids

ROOT = Path(__file__).parents[2]


async def test_records_intents_and_tombstones_outlive_the_store(url):
    """That is what it is for: the process may end at any moment."""
    dead = lifecycle.ended(a_record("dead"), EndCause.LOST, START + timedelta(hours=1))
    first = await open_store(url)
    await first.put(a_record())
    await first.put(dead)
    await first.claim_intent(an_intent())
    await first.complete_intent("acme", "key-1", "sb-1")
    await first.aclose()

    second = await open_store(url)
    try:
        assert await second.get("sb-1") == a_record()
        assert await second.get("dead") == dead
        held = await second.claim_intent(an_intent(instance="instance-b"))
        assert held == an_intent(sandbox_id="sb-1")
    finally:
        await second.aclose()


async def test_forgetting_takes_old_tombstones_and_intents_and_nothing_else(store):
    """A sandbox that lives is never forgotten, however old; a tombstone lasts its day."""
    day = timedelta(days=1)
    await store.put(a_record("old-but-alive", create_time=START - 9 * day))
    for sandbox_id, end in [("old", START - day), ("edge", START), ("young", START + day)]:
        born = a_record(sandbox_id, create_time=START - 9 * day, metadata={"n": sandbox_id})
        await store.put(lifecycle.ended(born, EndCause.DESTROYED, end))
    await store.claim_intent(an_intent("old", create_time=START - day))
    await store.claim_intent(an_intent("edge", create_time=START))

    assert await store.forget_before(START) == 2
    assert await store.forget_before(START) == 0
    assert set(ids(await store.list(RecordFilter(), 9))) == {"old-but-alive", "edge", "young"}
    assert await store.list(RecordFilter(metadata={"n": "old"}), 9) == []
    reclaimed = an_intent("old", instance="instance-b")
    assert await store.claim_intent(reclaimed) is reclaimed
    assert (await store.claim_intent(an_intent("edge"))).create_time == START


async def test_a_cancelled_call_leaves_the_store_whole(store):
    """Callers hang up at any point; the next one must not pay for it."""
    for turns in range(60):
        call = asyncio.create_task(store.put(a_record("cut", metadata={"n": str(turns)})))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    await store.put(a_record("cut", metadata={"n": "last"}))

    assert (await store.get("cut")).metadata == {"n": "last"}
    assert ids(await store.list(RecordFilter(metadata={"n": "last"}), 9)) == ["cut"]
    others = [RecordFilter(metadata={"n": str(turns)}) for turns in range(60)]
    assert [await store.list(which, 9) for which in others] == [[]] * 60


async def test_closing_lets_calls_under_way_finish_and_refuses_later_ones(url):
    """A drain must not lose the last record, and nothing may reconnect behind it."""
    store = await open_store(url)
    calls = [asyncio.create_task(store.put(a_record(f"sb-{number}"))) for number in range(10)]
    await asyncio.sleep(0)
    await store.aclose()

    assert all(call.done() and call.exception() is None for call in calls)
    with pytest.raises(Exception, match="closed") as caught:
        await store.get("sb-1")
    assert caught.value.reason == "STORE_UNAVAILABLE"
    again = await open_store(url)
    try:
        assert len(await again.list(RecordFilter(), 99)) == 10
    finally:
        await again.aclose()


async def test_a_store_can_be_opened_many_times_at_once(url):
    """Nothing that opening uses may be shared between two that are half done."""
    stores = await asyncio.gather(*(open_store(url) for _ in range(8)))
    await stores[0].put(a_record())
    read = [await store.get("sb-1") for store in stores]
    for store in stores:
        await store.aclose()

    assert read == [a_record()] * 8


_OPENER = """
import asyncio, sys
from datetime import UTC, datetime
from sandbox_service.domain.ports import Intent
from sandbox_service.storage.sql_store import open_store

async def main(url, name):
    print("ready", flush=True)
    sys.stdin.readline()
    store = await open_store(url)
    mine = Intent(tenant="t", key="k", request_digests={}, instance=name,
                  create_time=datetime(2026, 1, 1, tzinfo=UTC))
    print((await store.claim_intent(mine)).instance, flush=True)
    await store.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_that_open_an_empty_store_at_once_all_succeed(url):
    """Replicas start together, and each of them finds the schema missing."""
    openers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", _OPENER, url, f"process-{number}"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for number in range(2)
    ]
    for opener in openers:
        assert await opener.stdout.readline() == b"ready\n"
    said = await asyncio.gather(*(opener.communicate(b"go\n") for opener in openers))

    assert [stderr.decode() for _, stderr in said] == [""] * 2
    assert [opener.returncode for opener in openers] == [0] * 2
    assert len({stdout for stdout, _ in said}) == 1
