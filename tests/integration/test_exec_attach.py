"""Attach: another call reads on where the first one left, byte for byte."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import Ran, events, failure, first_output, unlikely, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

DETACHED = pb.RETENTION_DETACHED
MIB = 1 << 20


def name() -> str:
    """An id that no other test uses in the shared sandbox."""
    return f"exec-{secrets.token_hex(4)}"


def attach(box, exec_id, position=None, **fields):
    """Call Attach; nobody has read its events yet."""
    request = pb.AttachRequest(
        sandbox_id=box.sandbox_id, exec_id=exec_id, position=position, **fields
    )
    return box.client.call("Attach", request)


async def attached(box, exec_id, position=None, **fields) -> Ran:
    """Attach and read to the end."""
    return Ran(await events(attach(box, exec_id, position, **fields)))


async def test_a_reader_goes_on_after_the_last_event_it_dealt_with(box):
    """Wherever the connection broke, no byte is lost and none comes twice."""
    exec_id = name()
    script = "for i in $(seq 300); do echo out $i; echo err $i >&2; done"
    whole = await box.run(script, exec_id=exec_id, retention=DETACHED)

    assert whole.text == "".join(f"out {it}\n" for it in range(1, 301))
    for event in whole.events[:-1]:
        again = await attached(box, exec_id, event.position)
        at = event.position
        assert again.kinds()[0] == "started"
        assert again.started.reused
        assert again.stdout == whole.stdout[at.stdout_offset :]
        assert again.stderr == whole.stderr[at.stderr_offset :]
        assert again.exited.cause == pb.CAUSE_EXIT
        assert "gap" not in again.kinds()


async def test_a_reader_that_left_finds_the_program_and_its_output(box):
    """The call was cancelled in the middle of it."""
    exec_id = name()
    call = box.exec("echo one; read -t 30 _ < <(sleep 1); echo two", exec_id=exec_id, retention=2)
    seen = await first_output(call)
    call.cancel()

    ran = await attached(box, exec_id, seen.position)

    assert seen.output.data == b"one\n"
    assert ran.stdout == b"two\n"
    assert ran.outcome == ("EXIT", 0)


async def test_the_same_request_reads_along_and_runs_once(box):
    """A retry needs no thought."""
    exec_id = name()
    script = f"echo ran >> /tmp/{exec_id}; sleep 0.5; cat /tmp/{exec_id}"
    fields = {"exec_id": exec_id, "retention": DETACHED}
    first, second = await asyncio.gather(*(box.run(script, **fields) for _ in range(2)))
    third = await box.run(script, **fields)

    assert [it.stdout for it in (first, second, third)] == [b"ran\n"] * 3
    assert sorted([first.started.reused, second.started.reused]) == [False, True]
    assert third.started.reused
    assert len({it.started.pid for it in (first, second, third)}) == 1


async def test_another_request_with_the_same_id_names_what_differs(box):
    """Values may be secrets, so it does not tell them."""
    exec_id = name()
    await box.run("true", exec_id=exec_id, cwd="/tmp", env={"A": "1"})
    error = await failure(box.run("false", exec_id=exec_id, env={"A": "1"}))

    assert error.seen == ("ALREADY_EXISTS", "EXEC_ID_REUSED")
    assert error.metadata["differs"] == "cwd,program"


async def test_an_exec_that_never_was_is_not_found(box):
    """Starting it is then safe."""
    error = await failure(attach(box, name()).read())

    assert error.seen == ("NOT_FOUND", "EXEC_NOT_FOUND")


async def test_a_position_in_the_future_is_out_of_range(box):
    """It is none that an event has named."""
    exec_id = name()
    await box.run("echo x", exec_id=exec_id, retention=DETACHED)
    call = attach(box, exec_id, pb.Position(stdout_offset=3))
    error = await failure(call.read())

    assert error.seen == ("OUT_OF_RANGE", "POSITION_OUT_OF_RANGE")
    assert error.metadata["field"] == "position.stdout_offset"
    assert (error.metadata["requested"], error.metadata["actual"]) == ("3", "2")


async def test_a_position_that_is_no_longer_kept_opens_with_a_gap(box):
    """The program wrote more than the journal holds, and nobody read it."""
    exec_id = name()
    call = box.exec("echo first; head -c 20000000 /dev/zero", exec_id=exec_id, retention=DETACHED)
    seen = await first_output(call)
    call.cancel()
    await attached(box, exec_id)

    ran = await attached(box, exec_id, seen.position)

    gap = ran.events[1].gap
    assert ran.kinds()[:3] == ["started", "gap", "output"]
    assert gap.cause == pb.GAP_CAUSE_EVICTED
    assert gap.offset == seen.position.stdout_offset
    assert gap.offset + gap.missing_bytes + len(ran.stdout) == 20_000_006
    assert 7 * MIB < len(ran.stdout) <= 8 * MIB + 256 * 1024


async def test_a_slow_reader_slows_no_other_reader_of_the_same_exec(box):
    """It gets a gap when it has fallen behind too far."""
    exec_id = name()
    slow = box.exec("head -c 33554432 /dev/zero", exec_id=exec_id, reader_grace={"seconds": 30})
    seen = await events(slow, 1)
    fast = await asyncio.wait_for(attached(box, exec_id), 20)
    late = Ran(seen + await events(slow)).check()

    missed = sum(it.gap.missing_bytes for it in late.events if it.HasField("gap"))
    assert len(fast.stdout) == 32 * MIB
    assert missed
    assert len(late.stdout) + missed == 32 * MIB
    (total,) = [it for it in late.exited.totals if it.stream == pb.OUTPUT_STREAM_STDOUT]
    assert (total.produced_bytes, total.delivered_bytes) == (32 * MIB, len(late.stdout))


async def test_events_of_two_readers_are_in_one_order(box):
    """`seq` belongs to the journal, not to the call."""
    exec_id = name()
    script = "echo a; sleep 0.2; echo b >&2; sleep 0.2; echo c"
    first = await box.run(script, exec_id=exec_id, retention=DETACHED)
    second = await attached(box, exec_id, first.events[1].position)

    def numbered(ran):
        return {it.output.data: it.seq for it in ran.events if it.HasField("output")}

    assert numbered(second)
    assert numbered(second).items() <= numbered(first).items()


async def test_an_exec_without_grace_can_be_read_along_while_it_runs(box):
    """The promise is for those with grace; but there is no reason to refuse."""
    exec_id = name()
    call = box.exec("echo x; sleep 1; echo y", exec_id=exec_id)
    seen = await events(call, 2)
    other = asyncio.create_task(attached(box, exec_id, seen[-1].position))
    first = Ran(seen + await events(call)).check()

    assert first.stdout == b"x\ny\n"
    assert (await other).stdout == b"y\n"


async def test_a_setup_step_can_be_read_along_while_create_waits(client):
    """Its id is known before."""
    tag = name()
    creating = asyncio.create_task(
        client.create(
            metadata={"tag": tag},
            setup_steps=[{"program": {"shell_command": "echo installing; sleep 1.5"}}],
        )
    )

    async def listed():
        found = (await client.list(metadata={"tag": tag})).sandboxes
        return found and found[0].state == pb.SANDBOX_STATE_SETTING_UP and found[0].sandbox_id

    sandbox_id = await until(listed)
    request = pb.AttachRequest(sandbox_id=sandbox_id, exec_id="setup-1")

    async def read():
        try:
            return Ran(await events(client.call("Attach", request)))
        except Exception:  # It starts a moment after the state was written.
            return None

    ran = await until(read)
    created = await creating

    assert ran.stdout == b"installing\n"
    assert created.sandbox.sandbox_id == sandbox_id


async def test_another_tenants_exec_is_not_there(box):
    """Nor is its sandbox."""
    exec_id = name()
    await box.run("true", exec_id=exec_id, retention=DETACHED)
    request = pb.AttachRequest(sandbox_id=box.sandbox_id, exec_id=exec_id)
    error = await failure(box.client.other().call("Attach", request).read())

    assert error.seen == ("NOT_FOUND", "SANDBOX_NOT_FOUND")


async def test_the_execs_of_a_sandbox_that_ended_are_gone(client):
    """As is all that was kept of them."""
    box = await client.sandbox()
    await box.run("true", exec_id="one", retention=DETACHED)
    await client.destroy(box.sandbox_id)
    error = await failure(attach(box, "one").read())

    assert error.seen == ("FAILED_PRECONDITION", "SANDBOX_ENDED")


async def test_a_reader_of_a_reader_that_is_killed_is_undisturbed(box):
    """Whoever leaves, the others read on."""
    exec_id, mark = name(), unlikely()
    call = box.exec(
        f"sleep {mark} & echo x; sleep 1; echo y", exec_id=exec_id, reader_grace={"seconds": 60}
    )
    seen = await first_output(call)
    second = attach(box, exec_id)
    await first_output(second)
    call.cancel()
    rest = await attached(box, exec_id, seen.position)
    second_rest = await events(second)
    await box.run(f"pkill -f 'sleep {mark}'; true")

    assert rest.stdout == b"y\n"
    assert [it.output.data for it in second_rest if it.HasField("output")] == [b"y\n"]
