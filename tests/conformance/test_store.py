"""What every store does, whatever database it keeps things in.

A database is one more entry of `STORES`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sandbox_service.domain import lifecycle
from sandbox_service.domain.ports import Intent, RecordFilter
from sandbox_service.domain.sandboxes import (
    EndCause,
    InternetAccess,
    PreviewAccess,
    PreviewSpec,
    Resources,
    SandboxRecord,
    SandboxState,
)
from sandbox_service.storage.sql_store import open_store

START = datetime(2026, 1, 1, 12, 0, 0, 123457, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def _sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'state' / 'store.db'}"


STORES: Mapping[str, Callable[[Path], str]] = {"sqlite": _sqlite_url}
"""By name: what makes the URL of a store that is not there yet."""


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    return STORES[request.param](tmp_path)


@pytest.fixture
async def store(url):
    store = await open_store(url)
    yield store
    await store.aclose()


def a_record(sandbox_id="sb-1", **changes):
    record = SandboxRecord(
        sandbox_id=sandbox_id,
        tenant="acme",
        user="ada",
        owner="orchestrator-7",
        state=SandboxState.RUNNING,
        template="python",
        backend_template_id="base",
        resources=Resources(cpu_count=2, memory_mib=1024),
        metadata={"project": "p-1"},
        create_time=START,
        state_time=START,
        expire_time=START + timedelta(minutes=5),
        preview=PreviewSpec(port=8080, access=PreviewAccess.TOKEN),
        internet=InternetAccess.DENIED,
        artifact_globs=("out/**", "*.csv"),
        generation=3,
        idempotency_key="key-1",
        traffic_token="opens-the-preview",
    )
    return replace(record, **changes)


def an_intent(key="key-1", **changes):
    intent = Intent(
        tenant="acme",
        key=key,
        request_digests={"template": "a" * 64},
        create_time=START,
        instance="instance-a",
    )
    return replace(intent, **changes)


def ids(records):
    return [record.sandbox_id for record in records]


async def test_a_record_is_read_as_it_was_written(store):
    """Every field is what some later call decides on."""
    await store.put(a_record())
    await store.put(a_record("sb-2", resources=None, metadata={}))

    assert await store.get("sb-1") == a_record()
    assert await store.get("sb-2") == a_record("sb-2", resources=None, metadata={})
    assert await store.get("sb-3") is None


async def test_a_second_put_replaces_all_of_the_first(store):
    """A field that stayed behind would be true of no moment."""
    await store.put(a_record())
    changed = lifecycle.ended(
        replace(a_record(), owner="", metadata={"other": "x"}, artifact_globs=(), generation=4),
        EndCause.DESTROYED,
        START + timedelta(seconds=9),
    )
    await store.put(changed)

    assert await store.get("sb-1") == changed
    assert ids(await store.list(RecordFilter(metadata={"project": "p-1"}), 9)) == []
    assert ids(await store.list(RecordFilter(metadata={"other": "x"}), 9)) == ["sb-1"]


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


async def test_list_is_newest_first_and_by_id_where_times_are_equal(store):
    """Pages follow one another by this order, so it must be total."""
    later = START + timedelta(microseconds=1)
    for sandbox_id, time in [("b", START), ("Z", START), ("a", later), ("a-b", START)]:
        await store.put(a_record(sandbox_id, create_time=time))

    assert ids(await store.list(RecordFilter(), 9)) == ["a", "b", "a-b", "Z"]


async def test_pages_show_every_record_once_even_when_one_is_added_between(store):
    """A caller that pages through must not see one twice or miss one that was there."""
    for number in range(25):
        when = START + timedelta(seconds=number // 4)
        await store.put(a_record(f"sb-{number:02}", create_time=when))
    seen: list[str] = []
    page = await store.list(RecordFilter(), 7)
    while page:
        seen += ids(page)
        await store.put(a_record(f"new-{len(seen)}", create_time=START + timedelta(days=1)))
        last = page[-1]
        page = await store.list(RecordFilter(before=(last.create_time, last.sandbox_id)), 7)

    assert seen == sorted((f"sb-{number:02}" for number in range(25)), reverse=True)


FILTERS = {
    "everything": RecordFilter(),
    "tenant": RecordFilter(tenant="acme"),
    "unknown tenant": RecordFilter(tenant="nobody"),
    "one state": RecordFilter(states=frozenset({"paused"})),
    "two states": RecordFilter(states=frozenset({"paused", "ended"})),
    "template": RecordFilter(template="node"),
    "owner": RecordFilter(owner="o-1"),
    "metadata": RecordFilter(metadata={"team": "red"}),
    "metadata, two pairs": RecordFilter(metadata={"team": "red", 'odd" $.key': "%_'\\"}),
    "metadata, value of another name": RecordFilter(metadata={"team": "%_'\\"}),
    "metadata, beginning of a value": RecordFilter(metadata={"team": "re"}),
    "metadata, long value": RecordFilter(metadata={"note": "ü" * 5000}),
    "all at once": RecordFilter(
        tenant="acme",
        states=frozenset({"running", "paused"}),
        template="python",
        owner="o-2",
        metadata={"team": "red"},
        before=(START + timedelta(seconds=13), "sb-40"),
    ),
}

FIND_NOTHING = {
    "unknown tenant",
    "metadata, value of another name",
    "metadata, beginning of a value",
}


def _passes(record, which):
    return (
        which.tenant in ("", record.tenant)
        and (not which.states or record.state in which.states)
        and which.template in ("", record.template)
        and which.owner in ("", record.owner)
        and which.metadata.items() <= record.metadata.items()
        and (which.before is None or (record.create_time, record.sandbox_id) < which.before)
    )


@pytest.mark.parametrize("name", FILTERS)
async def test_a_filter_lets_through_what_fits_all_of_it(store, name):
    """Compared with the same rules written in Python, over every mix of values."""
    metadata = [
        {},
        {"team": "red"},
        {"team": "blue", 'odd" $.key': "%_'\\"},
        {"team": "red", 'odd" $.key': "%_'\\"},
        {"team": "red", "note": "ü" * 5000},
    ]
    records = [
        a_record(
            f"sb-{number:02}",
            tenant=("acme", "other")[number % 2],
            state=list(SandboxState)[number % 3 + 2],
            template=("python", "node")[number // 2 % 2],
            owner=("o-1", "o-2")[number // 4 % 2],
            metadata=metadata[number % 5],
            create_time=START + timedelta(seconds=number // 3),
        )
        for number in range(60)
    ]
    for record in records:
        await store.put(record)
    which = FILTERS[name]
    expected = [record for record in reversed(records) if _passes(record, which)]

    assert bool(expected) == (name not in FIND_NOTHING)
    assert await store.list(which, 100) == expected
    assert await store.list(which, 3) == expected[:3]


async def test_fifty_claims_of_one_key_have_one_winner(store):
    """Two winners would be two sandboxes for one request."""
    claims = [an_intent(instance=f"instance-{number}") for number in range(50)]
    held = await asyncio.gather(*(store.claim_intent(claim) for claim in claims))
    winners = [claim for claim, holder in zip(claims, held, strict=True) if holder is claim]

    assert len(winners) == 1
    assert all(holder == winners[0] for holder in held)


async def test_claims_through_two_stores_have_one_winner(url):
    """Instances of the service share a database, not memory."""
    stores = [await open_store(url) for _ in range(2)]
    try:
        claims = [an_intent(instance=f"instance-{number}") for number in range(20)]
        held = await asyncio.gather(
            *(stores[number % 2].claim_intent(claim) for number, claim in enumerate(claims))
        )
    finally:
        for store in stores:
            await store.aclose()

    assert sum(holder is claim for claim, holder in zip(claims, held, strict=True)) == 1
    assert len({holder.instance for holder in held}) == 1


async def test_the_same_key_of_another_tenant_is_another_key(store):
    """A tenant must not even learn that another uses a key."""
    mine, other = an_intent(), an_intent(tenant="other")

    assert await store.claim_intent(mine) is mine
    assert await store.claim_intent(other) is other


async def test_an_intent_has_one_successor(store):
    """Two that take over the work of one that died would both do it."""
    left = await store.claim_intent(an_intent())
    taken = await asyncio.gather(
        *(store.take_over_intent(left, f"instance-{number}") for number in range(20))
    )
    holder = await store.claim_intent(an_intent())

    assert sum(taken) == 1
    assert holder.instance == f"instance-{taken.index(True)}"
    assert replace(holder, instance="instance-a") == an_intent()


@pytest.mark.parametrize("meanwhile", ["completed", "freed", "claimed again"])
async def test_an_intent_that_has_changed_is_not_taken_over(store, meanwhile):
    """What was read is no longer so: there is nothing left to do, or somebody does it."""
    left = await store.claim_intent(an_intent())
    if meanwhile == "completed":
        await store.complete_intent("acme", "key-1", "sb-1")
    else:
        await store.free_intent("acme", "key-1")
    if meanwhile == "claimed again":
        await store.claim_intent(an_intent(create_time=START + timedelta(seconds=1)))

    assert not await store.take_over_intent(left, "instance-b")


async def test_a_freed_key_can_be_claimed_again(store):
    """A Create that failed must be repeatable with its key."""
    await store.claim_intent(an_intent())
    await store.free_intent("acme", "key-1")
    again = an_intent(instance="instance-b", request_digests={"template": "b" * 64})

    assert await store.claim_intent(again) is again


async def test_completing_or_freeing_an_unknown_key_does_nothing(store):
    """Clean-up is repeated after errors, and must not fail for having succeeded."""
    await store.complete_intent("acme", "none", "sb-1")
    await store.free_intent("acme", "none")
    mine = an_intent("none")

    assert await store.claim_intent(mine) is mine


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


async def test_puts_at_once_all_arrive(store):
    """Writers wait for one another instead of failing."""
    await asyncio.gather(*(store.put(a_record(f"sb-{number:03}")) for number in range(60)))
    read = await asyncio.gather(*(store.get(f"sb-{number:03}") for number in range(60)))

    assert [record.sandbox_id for record in read] == [f"sb-{number:03}" for number in range(60)]


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
