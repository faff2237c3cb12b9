"""A store's records, whatever database it keeps them in."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from sandbox_service.domain import lifecycle
from sandbox_service.domain.ports import RecordFilter
from sandbox_service.domain.sandboxes import EndCause, SandboxState
from tests.conformance.stores import START, a_record, ids


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


async def test_puts_at_once_all_arrive(store):
    """Writers wait for one another instead of failing."""
    await asyncio.gather(*(store.put(a_record(f"sb-{number:03}")) for number in range(60)))
    read = await asyncio.gather(*(store.get(f"sb-{number:03}") for number in range(60)))

    assert [record.sandbox_id for record in read] == [f"sb-{number:03}" for number in range(60)]
