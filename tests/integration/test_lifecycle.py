"""A sandbox's life as callers see it: Status, List, ExtendLifetime, Destroy."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from miosa.sandbox import v1 as pb

from tests.support.calls import failure, unlikely, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


def at(time, **later):
    """Return a Timestamp some time after another one."""
    result = Timestamp()
    result.FromDatetime(time.ToDatetime(UTC) + timedelta(**later))
    return result


def extend(client, sandbox_id, time, **fields):
    request = pb.ExtendLifetimeRequest(sandbox_id=sandbox_id, expire_time=time, **fields)
    return client.call("ExtendLifetime", request)


async def ended(client, sandbox_id):
    """Wait until a sandbox has ended; returns its status then."""

    async def look():
        status = await client.status(sandbox_id)
        return status if status.sandbox.state == pb.SANDBOX_STATE_ENDED else None

    return await until(look)


# Status


async def test_status_tells_what_a_sandbox_is_and_uses(box):
    """One call for a dashboard."""

    async def measured():
        status = await box.client.status(box.sandbox_id)
        return status if status.HasField("usage") else None

    status = await until(measured)
    usage = status.usage

    assert status.sandbox.state == pb.SANDBOX_STATE_RUNNING
    assert status.health == pb.HEALTH_HEALTHY
    assert 0 < usage.memory_used_bytes <= usage.memory_total_bytes
    assert 0 <= usage.disk_used_bytes <= usage.disk_total_bytes
    assert 0 <= usage.cpu_utilization <= 1
    assert usage.sample_time.ToSeconds() > 1_700_000_000
    assert 0 < status.lifetime_left.seconds <= 3600
    assert abs(status.observe_time.ToSeconds() - datetime.now(UTC).timestamp()) < 10
    assert status.preview_state == pb.PREVIEW_STATE_NOT_LISTENING


async def test_status_never_extends_a_lifetime(client):
    """Whoever watches must not keep alive."""
    answer = await client.create(lifetime=Duration(seconds=60))
    first = await client.status(answer.sandbox.sandbox_id)
    ends = set()

    async def a_second_less():
        status = await client.status(answer.sandbox.sandbox_id)
        ends.add(status.sandbox.expire_time.ToMilliseconds())
        left = status.lifetime_left.ToMilliseconds()
        return left < first.lifetime_left.ToMilliseconds() - 1000

    await until(a_second_less)

    assert max(ends) - min(ends) <= 2


async def test_a_lifetime_that_ends_is_a_tombstone_that_says_so(client, service):
    """Not just NOT_FOUND; and nothing of it is left."""
    answer = await client.create(lifetime=Duration(seconds=1))
    status = await ended(client, answer.sandbox.sandbox_id)
    end = status.sandbox.end

    assert end.cause == pb.END_CAUSE_LIFETIME_ENDED
    assert end.fault == pb.FAULT_UNSPECIFIED
    assert abs(end.end_time.ToSeconds() - answer.sandbox.expire_time.ToSeconds()) <= 1
    assert end.expire_time.ToSeconds() - end.end_time.ToSeconds() == 24 * 3600
    assert end.archive.state == pb.ARCHIVE_STATE_NONE
    assert status.health == pb.HEALTH_UNSPECIFIED
    assert not status.HasField("usage")


async def test_a_tombstone_says_in_a_sentence_what_happened(client):
    """For people."""
    answer = await client.create()
    ended = await client.destroy(answer.sandbox.sandbox_id)

    assert ended.end.message


async def test_a_tombstone_has_no_end_before_it_and_no_lifetime_left(client):
    """What is unset is not zero."""
    answer = await client.create()
    await client.destroy(answer.sandbox.sandbox_id)
    status = await client.status(answer.sandbox.sandbox_id)

    assert not status.sandbox.HasField("expire_time")
    assert not status.HasField("lifetime_left")
    assert not status.sandbox.HasField("preview")


# Destroy


async def test_destroy_ends_a_sandbox_and_all_that_runs_in_it(client, service):
    """The last step of the loop."""
    box = await client.sandbox()
    await box.run("sleep 12321 & setsid sleep 12321 & echo")
    inside = [it for it in service.family().left() if "12321" in it]
    answer = await client.destroy(box.sandbox_id)
    status = await client.status(box.sandbox_id)

    assert len(inside) >= 2
    assert not answer.already_ended
    assert answer.end.cause == pb.END_CAUSE_DESTROYED
    assert answer.archive.state == pb.ARCHIVE_STATE_NONE
    assert status.sandbox.state == pb.SANDBOX_STATE_ENDED
    assert status.sandbox.end == answer.end
    assert [it for it in service.family().left() if "12321" in it] == []


async def test_destroying_again_is_no_error(client):
    """A retry gets the tombstone."""
    box = await client.sandbox()
    first = await client.destroy(box.sandbox_id)
    again = await client.destroy(box.sandbox_id)

    assert again.already_ended
    assert again.end == first.end


async def test_destroying_from_many_sides_at_once_ends_it_once(client):
    """Whoever was first, the cause is the same."""
    box = await client.sandbox()
    answers = await asyncio.gather(*(client.destroy(box.sandbox_id) for _ in range(8)))

    assert {it.end.cause for it in answers} == {pb.END_CAUSE_DESTROYED}
    assert len({it.end.end_time.ToNanoseconds() for it in answers}) == 1


async def test_a_look_while_it_is_destroyed_does_not_change_why_it_ended(client):
    """A dashboard that polls."""
    causes = set()
    for _ in range(5):
        box = await client.sandbox()
        ending = asyncio.ensure_future(client.destroy(box.sandbox_id))
        while not ending.done():
            await client.status(box.sandbox_id)
        causes.add((await ending).end.cause)
        causes.add((await client.status(box.sandbox_id)).sandbox.end.cause)

    assert causes == {pb.END_CAUSE_DESTROYED}


async def test_destroying_what_never_was_is_not_found(client):
    """Callers treat it as done."""
    error = await failure(client.destroy("i00000000000000000000"))

    assert error.seen == ("NOT_FOUND", "SANDBOX_NOT_FOUND")


async def test_a_destroy_whose_caller_leaves_goes_on(client):
    """Once begun it goes through."""
    box = await client.sandbox()
    call = client.call("Destroy", pb.DestroyRequest(sandbox_id=box.sandbox_id))
    waiting = asyncio.ensure_future(_awaited(call))
    await asyncio.wait({waiting}, timeout=0.002)
    call.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await client.destroy(box.sandbox_id)
    status = await ended(client, box.sandbox_id)

    assert status.sandbox.end.cause == pb.END_CAUSE_DESTROYED


async def test_destroy_refuses_another_generation(client):
    """Fencing: it may be somebody else's by now."""
    box = await client.sandbox()
    error = await failure(client.destroy(box.sandbox_id, if_generation=7))
    status = await client.status(box.sandbox_id)

    assert error.seen == ("ABORTED", "GENERATION_MISMATCH")
    assert error.metadata["generation"] == "1"
    assert status.sandbox.state == pb.SANDBOX_STATE_RUNNING
    assert (await client.destroy(box.sandbox_id, if_generation=1)).end.cause


async def test_a_required_archive_is_refused_as_long_as_there_are_none(client):
    """Rather than a sandbox destroyed without what was to be kept."""
    box = await client.sandbox()
    error = await failure(client.destroy(box.sandbox_id, archive=pb.ARCHIVE_MODE_REQUIRED))

    assert error.seen == ("UNIMPLEMENTED", "NOT_IMPLEMENTED")
    assert (await client.status(box.sandbox_id)).sandbox.state == pb.SANDBOX_STATE_RUNNING


async def test_calls_on_an_ended_sandbox_say_that_it_has_ended(client):
    """And not that it was never there."""
    box = await client.sandbox()
    await client.destroy(box.sandbox_id)
    header = pb.SyncFilesHeader(sandbox_id=box.sandbox_id, root="app")
    errors = [
        await failure(box.run("true")),
        await failure(client.sync([pb.SyncFilesRequest(header=header)])),
        await failure(client.call("GetPreview", pb.GetPreviewRequest(sandbox_id=box.sandbox_id))),
        await failure(extend(client, box.sandbox_id, at(Timestamp(seconds=2_000_000_000)))),
    ]

    assert {it.seen for it in errors} == {("FAILED_PRECONDITION", "SANDBOX_ENDED")}
    assert {it.metadata["sandbox_id"] for it in errors} == {box.sandbox_id}


async def test_a_sandbox_whose_lifetime_ended_unseen_says_so_to_the_next_call(client, service):
    """Nobody asked Status in between."""
    mark = str(unlikely())
    box = await client.sandbox(lifetime=Duration(seconds=1))
    await box.run(f"sleep {mark} >/dev/null 2>&1 &")
    await until(lambda: not [it for it in service.family().left() if mark in it])
    error = await failure(box.run("true"))

    assert error.seen == ("FAILED_PRECONDITION", "SANDBOX_ENDED")
    assert error.metadata["sandbox_id"] == box.sandbox_id


# ExtendLifetime


async def test_a_lifetime_is_extended_to_the_time_asked_for(client):
    """Later, and exactly so."""
    box = await client.sandbox(lifetime=Duration(seconds=60))
    until_then = at((await client.status(box.sandbox_id)).sandbox.expire_time, seconds=600)
    answer = await extend(client, box.sandbox_id, until_then)
    status = await client.status(box.sandbox_id)

    assert answer.extended
    assert answer.expire_time == until_then
    assert abs(status.sandbox.expire_time.ToSeconds() - until_then.ToSeconds()) <= 1
    assert status.lifetime_left.seconds > 600


async def test_the_same_time_again_is_no_error_whoever_looked_meanwhile(client):
    """A retry of a call whose answer was lost."""
    box = await client.sandbox(lifetime=Duration(seconds=60))
    until_then = at((await client.status(box.sandbox_id)).sandbox.expire_time, seconds=600)
    await extend(client, box.sandbox_id, until_then)
    at_once = await extend(client, box.sandbox_id, until_then)
    looked = (await client.status(box.sandbox_id)).observe_time

    async def looked_again():
        return (await client.status(box.sandbox_id)).observe_time != looked

    await until(looked_again)
    afterwards = await extend(client, box.sandbox_id, until_then)

    assert not at_once.extended
    assert not afterwards.extended
    assert afterwards.expire_time == until_then


async def test_a_lifetime_is_never_cut(client):
    """Later, never sooner."""
    box = await client.sandbox(lifetime=Duration(seconds=600))
    expire = (await client.status(box.sandbox_id)).sandbox.expire_time
    error = await failure(extend(client, box.sandbox_id, at(expire, seconds=-300)))
    status = await client.status(box.sandbox_id)

    assert error.seen == ("FAILED_PRECONDITION", "LIFETIME_NOT_EXTENDED")
    assert status.sandbox.expire_time.ToSeconds() == expire.ToSeconds()


async def test_a_lifetime_beyond_the_ceiling_is_refused(client):
    """From the creation on, as GetCapabilities says it."""
    box = await client.sandbox()
    created = (await client.status(box.sandbox_id)).sandbox.create_time
    error = await failure(extend(client, box.sandbox_id, at(created, hours=24, seconds=30)))

    assert error.seen == ("INVALID_ARGUMENT", "LIFETIME_TOO_LONG")
    assert error.metadata["max_seconds"] == "86400"


async def test_extending_refuses_another_generation(client):
    """Fencing."""
    box = await client.sandbox()
    expire = (await client.status(box.sandbox_id)).sandbox.expire_time
    error = await failure(extend(client, box.sandbox_id, at(expire, hours=1), if_generation=2))

    assert error.seen == ("ABORTED", "GENERATION_MISMATCH")


# List


async def test_a_list_goes_on_over_pages_newest_first(client):
    """Nothing twice, nothing left out."""
    made = [(await client.create()).sandbox.sandbox_id for _ in range(5)]
    seen, token, pages = [], "", 0
    while pages == 0 or token:
        page = await client.list(page_size=2, page_token=token)
        seen += [it.sandbox_id for it in page.sandboxes]
        token, pages = page.next_page_token, pages + 1

    assert seen == made[::-1]
    assert pages == 3


async def test_a_list_is_filtered_by_state_template_metadata_and_owner(client):
    """All filters at once mean all of them."""
    a = (await client.create(metadata={"team": "a", "x": "1"}, owner="one")).sandbox.sandbox_id
    b = (await client.create(template="python", metadata={"team": "a"})).sandbox.sandbox_id
    c = (await client.create(metadata={"team": "c", "x": "1"})).sandbox.sandbox_id
    await client.destroy(c)

    async def ids(**fields):
        return {it.sandbox_id for it in (await client.list(**fields)).sandboxes}

    assert await ids() == {a, b}
    assert await ids(states=[pb.SANDBOX_STATE_ENDED]) == {c}
    assert await ids(states=[pb.SANDBOX_STATE_ENDED, pb.SANDBOX_STATE_RUNNING]) == {a, b, c}
    assert await ids(states=[pb.SANDBOX_STATE_PAUSED]) == set()
    assert await ids(template="python") == {b}
    assert await ids(metadata={"team": "a"}) == {a, b}
    assert await ids(metadata={"team": "a", "x": "1"}) == {a}
    assert await ids(metadata={"team": "a"}, template="python", owner="one") == set()
    assert await ids(owner="one") == {a}


async def test_a_list_leaves_secrets_out(client):
    """Headers of previews are told one by one."""
    await client.create()
    (it,) = (await client.list()).sandboxes

    assert dict(it.preview.headers) == {}
    assert dict(it.preview.direct_headers) == {}


async def test_a_list_tells_where_each_preview_is(client):
    """A dashboard shows links without a call for each."""
    answer = await client.create()
    (it,) = (await client.list()).sandboxes

    assert it.preview.url == answer.sandbox.preview.url


@pytest.mark.parametrize("token", ["x", "!!!", "W10=", "WyJhIiwgImIiXQ==", "ä"])
async def test_a_page_token_that_is_none_is_refused(client, token):
    """Rather than the first page, which would never end."""
    error = await failure(client.list(page_token=token))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


async def test_a_page_token_of_other_filters_is_refused(client):
    """A page of another list would hide sandboxes."""
    for _ in range(2):
        await client.create(metadata={"a": "b"})
    page = await client.list(page_size=1)
    error = await failure(
        client.list(page_size=1, page_token=page.next_page_token, metadata={"a": "b"})
    )

    assert page.next_page_token
    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


async def _awaited(call):
    return await call
