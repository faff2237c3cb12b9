"""Listing: filters, order, pages."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import e2b
import pytest
from e2b import SandboxQuery, SandboxState

from tests.conformance.e2b.sdk import pages
from tests.support.connect_wire import until

LISTED_FIELDS = {
    "templateID",
    "sandboxID",
    "clientID",
    "startedAt",
    "endAt",
    "cpuCount",
    "memoryMB",
    "diskSizeMB",
    "state",
    "envdVersion",
}


async def make_three(sdk, name, **options):
    """Make three in order of age; returns their ids, oldest first."""
    return [(await sdk.create(metadata={"of": name}, **options)).sandbox_id for _ in range(3)]


async def listed(sdk, **query):
    found = await pages(sdk.list(query=SandboxQuery(**query)))
    return [info.sandbox_id for info in found]


async def test_metadata_finds_those_that_have_all_of_it(sdk, name):
    """Whatever characters it is made of."""
    both = {"of": name, "odd": "a=b&c d/ü%"}
    one = await sdk.create(metadata=both)
    await sdk.create(metadata={"of": name})
    found = await pages(sdk.list(query=SandboxQuery(metadata=both)))

    assert [info.sandbox_id for info in found] == [one.sandbox_id]
    assert found[0].metadata == both
    assert await listed(sdk, metadata={"of": name, "odd": "a"}) == []


async def test_the_newest_comes_first_unless_asked(sdk, name):
    """Order is one of the whole, not of a page."""
    made = await make_three(sdk, name)
    query = SandboxQuery(metadata={"of": name})
    descending = await pages(sdk.list(query=query, limit=2))
    ascending = await pages(sdk.list(query=query, limit=2, order="asc"))

    assert [info.sandbox_id for info in descending] == made[::-1]
    assert [info.sandbox_id for info in ascending] == made


async def test_pages_are_continued_by_a_header(wire, new_box, name):
    """The last page has none."""
    made = [(await new_box(metadata={"of": name})).id for _ in range(3)]
    query = {"metadata": f"of={name}", "limit": "2"}
    first = await wire.api("GET", "/v2/sandboxes", params=query)
    token = first.headers["x-next-token"]
    second = await wire.api("GET", "/v2/sandboxes", params={**query, "nextToken": token})

    assert [one["sandboxID"] for one in first.json()] == made[:0:-1]
    assert [one["sandboxID"] for one in second.json()] == made[:1]
    assert not second.headers.get("x-next-token")


async def test_a_page_stays_where_it_was_when_newer_ones_come(sdk, name):
    """A sweep must see each sandbox once, whatever happens meanwhile."""
    made = await make_three(sdk, name)
    paginator = sdk.list(query=SandboxQuery(metadata={"of": name}), limit=2)
    first = await paginator.next_items()
    newer = await sdk.create(metadata={"of": name})
    second = await paginator.next_items()

    assert [info.sandbox_id for info in [*first, *second]] == made[::-1]
    assert newer.sandbox_id not in {info.sandbox_id for info in second}
    assert not paginator.has_next


async def test_the_template_finds_its_own(sdk, name):
    """By the name that was asked for."""
    (made,) = [await sdk.create(metadata={"of": name})]
    info = await made.get_info()

    assert await listed(sdk, metadata={"of": name}, template=info.template_id) == [made.sandbox_id]
    assert await listed(sdk, metadata={"of": name}, template="no-such-template") == []


async def test_only_those_started_after_a_time(sdk, name):
    """With a zone, in whatever form the client writes it."""
    made = await sdk.create(metadata={"of": name})
    started = (await made.get_info()).started_at
    query = {"metadata": {"of": name}}

    assert await listed(sdk, **query, started_after=started - timedelta(seconds=1)) == [
        made.sandbox_id
    ]
    assert await listed(sdk, **query, started_after=datetime.now(UTC) + timedelta(hours=1)) == []


async def test_states_are_told_apart(sdk, name):
    """Both are listed unless one is asked for."""
    running, paused = await asyncio.gather(
        sdk.create(metadata={"of": name}), sdk.create(metadata={"of": name})
    )
    await paused.pause()
    query = {"metadata": {"of": name}}

    assert await listed(sdk, **query, state=[SandboxState.RUNNING]) == [running.sandbox_id]
    assert await listed(sdk, **query, state=[SandboxState.PAUSED]) == [paused.sandbox_id]
    assert set(await listed(sdk, **query)) == {running.sandbox_id, paused.sandbox_id}


async def test_the_first_version_lists_what_runs(wire, new_box, name):
    """Without pages, and without those that are paused."""
    one, other = await new_box(metadata={"of": name}), await new_box(metadata={"of": name})
    paused = await wire.api("POST", f"/sandboxes/{other.id}/pause")
    response = await wire.api("GET", "/sandboxes", params={"metadata": f"of={name}"})

    assert paused.status_code == 204
    assert [it["sandboxID"] for it in response.json()] == [one.id]
    assert response.json()[0].keys() >= LISTED_FIELDS
    assert "envdAccessToken" not in response.json()[0]


@pytest.mark.parametrize(
    "query", [{"nextToken": "nonsense"}, {"limit": "0"}, {"limit": "101"}, {"limit": "x"}]
)
async def test_a_page_that_cannot_be_is_refused(wire, query):
    """With the document that clients parse."""
    response = await wire.api("GET", "/v2/sandboxes", params=query)

    assert response.status_code == 400
    assert response.json()["code"] == 400


async def test_the_sdk_says_that_a_page_cannot_be(sdk):
    """400 has a class of its own."""
    with pytest.raises(e2b.SandboxException):
        await sdk.list(next_token="nonsense").next_items()


async def test_one_that_is_gone_is_listed_no_more(sdk, name):
    """At once after a kill, and after its time."""
    killed, ending = (
        await sdk.create(metadata={"of": name}),
        await sdk.create(metadata={"of": name}),
    )
    await killed.kill()

    assert await listed(sdk, metadata={"of": name}) == [ending.sandbox_id]

    await ending.set_timeout(0)

    async def none_left():
        return await listed(sdk, metadata={"of": name}) == []

    await until(none_left)
