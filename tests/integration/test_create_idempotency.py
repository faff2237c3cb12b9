"""Create with an idempotency key: one sandbox, however often the call is made."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb

from tests.support.calls import failure, program, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIVE = [pb.SANDBOX_STATE_CREATING, pb.SANDBOX_STATE_SETTING_UP, pb.SANDBOX_STATE_RUNNING]


def step(what):
    return pb.SetupStep(program=program(what))


async def live(client):
    return [it.sandbox_id for it in (await client.list(states=LIVE)).sandboxes]


async def test_a_retry_gets_the_same_sandbox_and_is_told_so(client):
    """A lost answer costs nothing."""
    fields = {"idempotency_key": "job-1", "template": "python", "metadata": {"a": "b", "c": "d"}}
    first = await client.create(**fields)
    again = await client.create(**fields)

    assert not first.reused
    assert again.reused
    assert again.sandbox.sandbox_id == first.sandbox.sandbox_id
    assert again.sandbox.preview == first.sandbox.preview
    assert await live(client) == [first.sandbox.sandbox_id]


async def test_concurrent_calls_with_a_key_join_one_work(client):
    """Two replicas of an orchestrator that both retry."""
    answers = await asyncio.gather(
        *(
            client.create(idempotency_key="job-1", setup_steps=[step("sleep 0.3; mktemp -d")])
            for _ in range(6)
        )
    )

    assert len({it.sandbox.sandbox_id for it in answers}) == 1
    assert sorted(it.reused for it in answers) == [False] + [True] * 5
    assert len(await live(client)) == 1


async def test_a_key_with_another_request_says_what_differs(client):
    """Rather than a sandbox that is not what was asked for."""
    await client.create(idempotency_key="job-1", template="python", env={"A": "1"})
    error = await failure(
        client.create(
            idempotency_key="job-1",
            template="base",
            env={"A": "1"},
            lifetime=Duration(seconds=60),
        )
    )

    assert error.seen == ("ALREADY_EXISTS", "IDEMPOTENCY_KEY_REUSED")
    assert error.metadata["differs"] == "lifetime,template"
    assert len(await live(client)) == 1


async def test_a_key_with_another_request_is_refused_while_the_first_is_under_way(client):
    """Joining is for the same request only."""
    first = asyncio.ensure_future(
        client.create(idempotency_key="job-1", setup_steps=[step("sleep 0.5")])
    )
    await until(lambda: live(client))
    error = await failure(client.create(idempotency_key="job-1", template="python"))
    await first

    assert error.seen == ("ALREADY_EXISTS", "IDEMPOTENCY_KEY_REUSED")
    assert set(error.metadata["differs"].split(",")) == {"setup_steps", "template"}


async def test_maps_are_the_same_in_whatever_order_they_come(client):
    """Encoders may order a map's entries as they like."""
    names = [f"K{number}" for number in range(20)]
    first = await client.create(idempotency_key="job-1", env=dict.fromkeys(names, "x"))
    again = await client.create(idempotency_key="job-1", env=dict.fromkeys(names[::-1], "x"))

    assert again.sandbox.sandbox_id == first.sandbox.sandbox_id


async def test_the_key_of_a_sandbox_that_ended_never_makes_a_second_one(client):
    """Whoever retries late must not start the work again."""
    first = await client.create(idempotency_key="job-1")
    await client.destroy(first.sandbox.sandbox_id)
    error = await failure(client.create(idempotency_key="job-1"))

    assert error.seen == ("FAILED_PRECONDITION", "SANDBOX_ENDED")
    assert error.metadata["sandbox_id"] == first.sandbox.sandbox_id
    assert await live(client) == []


async def test_a_failed_create_frees_its_key(client):
    """The corrected request may use it."""
    failed = await failure(client.create(idempotency_key="job-1", setup_steps=[step("exit 1")]))
    missing = await failure(client.create(idempotency_key="job-1", template="pyhton"))
    made = await client.create(idempotency_key="job-1", setup_steps=[step("true")])

    assert failed.reason == "SETUP_FAILED"
    assert missing.reason == "TEMPLATE_NOT_FOUND"
    assert not made.reused
    assert await live(client) == [made.sandbox.sandbox_id]


async def test_those_who_joined_a_create_that_failed_are_told_the_same(client):
    """Nobody waits for ever."""
    errors = await asyncio.gather(
        *(
            failure(
                client.create(
                    idempotency_key="job-1", setup_steps=[step("sleep 0.3; echo boom; exit 7")]
                )
            )
            for _ in range(4)
        )
    )

    assert {it.reason for it in errors} == {"SETUP_FAILED"}
    assert {it.details["SetupFailure"].exit_code for it in errors} == {7}
    assert await live(client) == []


async def test_a_cancelled_create_with_a_key_goes_on_and_a_retry_joins_it(client):
    """An orchestrator that restarts finds its work done."""
    fields = {"idempotency_key": "job-1", "setup_steps": [step("sleep 0.6; echo x > ~/done")]}
    call = client.call("Create", pb.CreateRequest(**fields))
    waiting = asyncio.ensure_future(_awaited(call))
    (before,) = await until(lambda: live(client))
    call.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    again = await client.create(**fields)

    assert again.reused
    assert again.sandbox.sandbox_id == before
    assert again.sandbox.state == pb.SANDBOX_STATE_RUNNING
    assert await live(client) == [before]


async def test_a_cancelled_create_without_a_key_leaves_nothing(client, service):
    """Nobody could ever find it."""
    call = client.call("Create", pb.CreateRequest(setup_steps=[step("sleep 77")]))
    waiting = asyncio.ensure_future(_awaited(call))
    (sandbox_id,) = await until(lambda: live(client))
    call.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    async def ended():
        return (await client.status(sandbox_id)).sandbox.state == pb.SANDBOX_STATE_ENDED

    await until(ended)
    assert await live(client) == []
    assert [it for it in service.family().left() if "sleep 77" in it] == []


async def test_the_tombstone_of_a_cancelled_create_says_so_whoever_looks_meanwhile(client):
    """A look at a sandbox must not decide why it ended."""
    call = client.call("Create", pb.CreateRequest(setup_steps=[step("sleep 79")]))
    waiting = asyncio.ensure_future(_awaited(call))
    (sandbox_id,) = await until(lambda: live(client))
    call.cancel()

    async def ended():
        status = await client.status(sandbox_id)
        return status.sandbox.end if status.sandbox.HasField("end") else None

    end = await until(ended, pause_s=0.001)
    await asyncio.gather(waiting, return_exceptions=True)

    assert end.cause == pb.END_CAUSE_CREATE_CANCELLED
    assert end.fault == pb.FAULT_CALLER


async def test_a_create_cancelled_at_any_moment_leaves_nothing(client):
    """Also while the backend is being asked; and nothing is listed that is not there."""
    waiting = []
    for pause in (0.0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05):
        call = client.call("Create", pb.CreateRequest(metadata={"cut": "short"}))
        task = asyncio.ensure_future(_awaited(call))
        await asyncio.wait({task}, timeout=pause)
        if not task.done():
            call.cancel()
        waiting.append(task)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    made = {it.sandbox.sandbox_id for it in answers if isinstance(it, pb.CreateResponse)}
    client.created += list(made)

    async def settled():
        return set(await live(client)) == made

    await until(settled, limit_s=5)


async def test_a_deadline_that_passes_without_a_key_leaves_nothing(client):
    """It is a cancel like any other."""
    error = await failure(
        client.call("Create", pb.CreateRequest(setup_steps=[step("sleep 78")]), timeout=1.0)
    )

    async def empty():
        return not await live(client)

    assert error.code.name == "DEADLINE_EXCEEDED"
    await until(empty)


async def test_a_key_is_the_tenants_own(client):
    """Keys of two tenants never meet."""
    other = client.other()
    first = await client.create(idempotency_key="job-1")
    second = await other.create(idempotency_key="job-1")
    await other.destroy_all()

    assert first.sandbox.sandbox_id != second.sandbox.sandbox_id
    assert not second.reused


async def _awaited(call):
    return await call
