"""How execs end that do not end by themselves, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import sys
import time

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb

from tests.support.calls import Ran, events, first_output, unlikely, until
from tests.support.service import REPOSITORY, environment

pytestmark = pytest.mark.asyncio(loop_scope="session")


def tree(mark: int) -> str:
    """Return a command that starts processes in every way that eludes a simple kill."""
    return (
        f"sleep {mark} & setsid sleep {mark} & nohup sleep {mark} >/dev/null 2>&1 & "
        f"(setsid sh -c 'sleep {mark} & sleep {mark}' &) ; env -i /bin/sleep {mark} & "
        f"echo started; exec sleep {mark}"
    )


async def started(box, call, mark, count=7):
    """Read until the program has written, and wait until its processes are there."""
    await first_output(call)

    async def all_there():
        return len(await box.having(mark)) >= count

    await until(all_there)


async def test_a_timeout_ends_the_whole_tree(box):
    """Grandchildren in sessions of their own, too."""
    mark = unlikely()
    began = time.monotonic()
    ran = await box.run(tree(mark), timeout=Duration(nanos=700_000_000))
    took = time.monotonic() - began

    assert ran.stdout == b"started\n"
    assert ran.outcome[0] == "TIMEOUT"
    assert ran.exited.fault == pb.FAULT_USER
    assert ran.exited.message
    assert list(ran.exited.survivor_pids) == []
    assert ran.started.timeout.ToMilliseconds() == 700
    assert 0.7 <= took < 4
    assert await box.having(mark) == []


async def test_a_program_may_clean_up_between_term_and_kill(box):
    """That is what the grace is for."""
    ran = await box.run(
        "trap 'echo cleaned; exit 5' TERM; echo ready; while :; do sleep 0.05; done",
        timeout=Duration(nanos=400_000_000),
        kill_grace=Duration(seconds=5),
    )

    assert ran.stdout == b"ready\ncleaned\n"
    assert ran.outcome == ("TIMEOUT", 5)
    assert ran.started.kill_grace.seconds == 5


async def test_a_program_that_ignores_term_is_killed_after_the_grace(box):
    """And not before."""
    began = time.monotonic()
    ran = await box.run(
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
        timeout=Duration(nanos=300_000_000),
        kill_grace=Duration(nanos=800_000_000),
    )
    took = time.monotonic() - began

    assert ran.outcome[0] == "TIMEOUT"
    assert 1.1 <= took < 5


async def test_a_timeout_beyond_the_lifetime_is_clamped_and_told(client):
    """No program outlives its sandbox."""
    box = await client.sandbox(lifetime={"seconds": 60})
    ran = await box.run("true", timeout=Duration(seconds=3600))

    assert ran.started.timeout_clamped
    assert 50 < ran.started.timeout.seconds <= 60


async def test_a_child_in_the_background_does_not_hold_the_result_back(box):
    """`npm start &` is what language models write; the call must not hang for it."""
    mark = unlikely()
    began = time.monotonic()
    ran = await box.run(f"sleep {mark} & echo hi")
    took = time.monotonic() - began

    assert ran.stdout == b"hi\n"
    assert ran.outcome == ("EXIT", 0)
    assert ran.exited.output_still_open
    assert took < 2


async def test_a_child_that_closed_its_output_is_not_told_as_holding_it(box):
    """The flag means what it says."""
    ran = await box.run("sleep 5 >/dev/null 2>&1 </dev/null & echo hi")

    assert ran.stdout == b"hi\n"
    assert not ran.exited.output_still_open


async def test_what_runs_on_in_the_background_ends_with_its_sandbox(client, service):
    """Nothing outlives the sandbox."""
    mark = str(unlikely())
    box = await client.sandbox()
    ran = await box.run(f"sleep {mark} & setsid sleep {mark} & echo hi")
    before = await box.having(int(mark))
    on_host = [it for it in service.family().left() if mark in it]
    await client.destroy(box.sandbox_id)

    assert ran.exited.output_still_open
    assert len(before) == 2
    assert len(on_host) >= 2
    assert [it for it in service.family().left() if mark in it] == []


async def test_a_cancelled_call_leaves_no_process(box):
    """The reader left; ATTACHED means that the whole tree goes."""
    mark = unlikely()
    call = box.exec(tree(mark))
    await started(box, call, mark)
    call.cancel()

    await box.gone(mark)


async def test_a_passed_deadline_leaves_no_process_and_says_so(box):
    """A deadline limits the call; its reader has left like any other."""
    mark = unlikely()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in box.exec(tree(mark), timeout_s=1.0):
            pass

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await box.gone(mark)


async def test_a_client_that_is_killed_in_mid_stream_leaves_no_process(box, service):
    """A crashed orchestrator costs nothing."""
    mark = unlikely()
    reader = await asyncio.create_subprocess_exec(
        sys.executable,
        str(REPOSITORY / "tests/integration/programs/lone_reader.py"),
        service.grpc_address,
        box.client.tenant,
        box.sandbox_id,
        tree(mark),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    said = await reader.stdout.readline()
    there = await until(lambda: box.having(mark))
    reader.kill()
    await reader.communicate()

    assert said == b"reading\n"
    assert there
    await box.gone(mark)


async def test_a_call_cancelled_before_its_program_started_leaves_no_process(box):
    """There is no moment at which a cancel is lost."""
    mark = unlikely()
    calls = []
    for pause in (0.0, 0.001, 0.003, 0.006, 0.01, 0.015, 0.02, 0.03):
        call = box.exec(f"sleep {mark}")
        reading = asyncio.ensure_future(call.read())
        await asyncio.wait({reading}, timeout=pause)
        call.cancel()
        calls.append(reading)
    await asyncio.gather(*calls, return_exceptions=True)

    await until(lambda: _idle(box))
    await box.gone(mark)


async def _idle(box):
    return not (await box.client.status(box.sandbox_id)).running_execs


async def test_a_cancel_ends_a_program_whose_output_nobody_read(box, service):
    """A writer that waits for room in the journal is ended like any other."""
    mark = unlikely()
    before = service.metric("sandbox_exec_journal_bytes")
    call = box.exec(f"sleep {mark} & yes")
    await events(call, 2)
    await until(lambda: service.metric("sandbox_exec_journal_bytes") >= before + (8 << 20))
    call.cancel()

    await box.gone(mark)
    await until(lambda: service.metric("sandbox_exec_journal_bytes") <= before)


async def test_a_sandbox_that_ends_under_a_program_is_told(client):
    """SANDBOX_LOST, and not a broken stream."""
    box = await client.sandbox()
    call = box.exec("echo started; sleep 1000")
    seen = await events(call, 2)
    began = time.monotonic()
    await client.destroy(box.sandbox_id)
    seen += await events(call)
    took = time.monotonic() - began
    ran = Ran(seen).check()

    assert ran.outcome[0] in ("SANDBOX_LOST", "CANCELLED")
    assert took < 10


async def test_a_sandbox_whose_lifetime_ends_under_a_program_ends_the_stream(client):
    """Either as the timeout that it was clamped to, or as the sandbox's end; never silently."""
    box = await client.sandbox(lifetime={"seconds": 2})
    ran = await box.run("echo started; sleep 1000")

    assert ran.stdout == b"started\n"
    assert ran.outcome[0] in ("TIMEOUT", "SANDBOX_LOST")


async def test_a_destroy_is_the_callers_doing(client):
    """CANCELLED is what the contract says of an exec that Destroy ended."""
    box = await client.sandbox()
    call = box.exec("echo started; sleep 1000")
    seen = await events(call, 2)
    await client.destroy(box.sandbox_id)
    seen += await events(call)

    assert Ran(seen).outcome[0] == "CANCELLED"
    assert seen[-1].exited.fault == pb.FAULT_CALLER
