"""What a reader's absence means: ATTACHED with a grace, DETACHED, DURABLE."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import Box, Client, Ran, events, failure, first_output, unlikely, until
from tests.support.local import backend
from tests.support.service import Service, served, state_folder

pytestmark = pytest.mark.asyncio(loop_scope="session")

DETACHED, DURABLE = pb.RETENTION_DETACHED, pb.RETENTION_DURABLE


def name() -> str:
    return f"exec-{secrets.token_hex(4)}"


async def attached(box, exec_id, position=None) -> Ran:
    request = pb.AttachRequest(sandbox_id=box.sandbox_id, exec_id=exec_id, position=position)
    return Ran(await events(box.client.call("Attach", request)))


async def readers(box, exec_id) -> int:
    found = (await box.client.status(box.sandbox_id)).running_execs
    return next((it.readers for it in found if it.exec_id == exec_id), -1)


async def test_defaults_follow_the_retention(box):
    """BLOCK where one reader has to get every byte, GAP where the program must not wait."""
    ran = {
        retention: (await box.run("true", retention=retention)).started
        for retention in (pb.RETENTION_UNSPECIFIED, DETACHED, DURABLE)
    }

    assert ran[0].retention == pb.RETENTION_ATTACHED
    assert [it.overflow for it in ran.values()] == [
        pb.OVERFLOW_BLOCK,
        pb.OVERFLOW_GAP,
        pb.OVERFLOW_GAP,
    ]
    assert [it.HasField("spool_limit") for it in ran.values()] == [False, False, True]


async def test_a_program_lives_on_for_its_grace_and_no_longer(box):
    """A browser that is reloaded is back within seconds; one that was closed is not."""
    mark = unlikely()
    exec_id = name()
    call = box.exec(f"echo x; sleep {mark}", exec_id=exec_id, reader_grace={"seconds": 1})
    await first_output(call)
    call.cancel()

    async def gone():
        return not await box.having(mark)

    async def left():
        return await readers(box, exec_id) == 0

    await until(left)
    there = await box.having(mark)
    await until(gone)
    ran = await attached(box, exec_id)

    assert there
    assert ran.stdout == b"x\n"
    assert ran.outcome[0] == "CANCELLED"
    assert ran.started.reader_grace.seconds == 1


async def test_a_reader_within_the_grace_keeps_the_program(box):
    """The one who attaches counts like the first."""
    exec_id = name()
    call = box.exec("echo x; sleep 2.5; echo y", exec_id=exec_id, reader_grace={"seconds": 1})
    seen = await first_output(call)
    call.cancel()

    ran = await attached(box, exec_id, seen.position)

    assert ran.stdout == b"y\n"
    assert ran.outcome == ("EXIT", 0)


@pytest.mark.parametrize("retention", [DETACHED, DURABLE], ids=["DETACHED", "DURABLE"])
async def test_who_need_not_be_read_runs_on_and_ends_by_itself(box, retention):
    """Its result waits for whoever asks."""
    exec_id = name()
    call = box.exec("echo x; sleep 1; echo y; exit 3", exec_id=exec_id, retention=retention)
    await events(call, 1)
    call.cancel()

    async def ended():
        return await readers(box, exec_id) == -1

    await until(ended)
    ran = await attached(box, exec_id)

    assert ran.stdout == b"x\ny\n"
    assert ran.outcome == ("EXIT", 3)


async def test_a_program_that_nobody_reads_does_not_wait(box):
    """GAP: it writes more than the journal holds, and ends."""
    exec_id = name()
    call = box.exec("head -c 30000000 /dev/zero; echo done", exec_id=exec_id, retention=DETACHED)
    await events(call, 1)
    call.cancel()

    async def ended():
        return await readers(box, exec_id) == -1

    await until(ended)
    ran = await attached(box, exec_id)
    gap = ran.events[1].gap

    assert gap.offset == 0
    assert gap.missing_bytes + len(ran.stdout) == 30_000_005
    assert ran.stdout.endswith(b"done\n")


async def test_what_is_durable_is_read_whole_though_the_journal_holds_less(box):
    """What was evicted comes from the sandbox, whoever asks for it and however late."""
    exec_id = name()
    line = "head -c 12000000 /dev/urandom | tee /tmp/whole; echo err >&2; sha256sum </tmp/whole >&2"
    call = box.exec(line, exec_id=exec_id, retention=DURABLE)
    await events(call, 1)
    call.cancel()

    async def ended():
        return await readers(box, exec_id) == -1

    await until(ended)
    ran = await attached(box, exec_id)
    later = await attached(box, exec_id, pb.Position(stdout_offset=5, stderr_offset=4))

    assert ran.check().stderr.split()[1].decode() == hashlib.sha256(ran.stdout).hexdigest()
    assert later.stdout == ran.stdout[5:]
    assert "gap" not in ran.kinds() + later.kinds()


async def test_a_timeout_holds_without_readers(box):
    """It is the program's, not the call's."""
    mark = unlikely()
    exec_id = name()
    call = box.exec(f"sleep {mark}", exec_id=exec_id, retention=DETACHED, timeout={"seconds": 1})
    await events(call, 1)
    call.cancel()
    await box.gone(mark)

    assert (await attached(box, exec_id)).outcome[0] == "TIMEOUT"


@asynccontextmanager
async def client_of(service: Service, tenant: str) -> AsyncIterator[Client]:
    async with Client.connected(service.grpc_address, tenant) as client:
        yield client


@pytest.fixture
def lasting():
    """The environment of services on a backend that outlives them, and their state folder."""
    state = state_folder()
    with backend() as env:
        yield {"env": env, "state": state}
    shutil.rmtree(state)


NUMBERS = "for i in $(seq 1 100); do echo line $i; echo err $i >&2; sleep 0.03; done; exit 4"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["crash", "stop"])
async def test_a_durable_exec_outlives_the_service(lasting, how):
    """Whoever attaches after the restart gets what follows the last event, to the byte."""
    with served("--drain-seconds=0", **lasting) as service:
        async with client_of(service, "acme") as client:
            box = await client.sandbox()
            call = box.exec(NUMBERS, exec_id="durable", retention=DURABLE)
            seen = [await first_output(call)]
            seen += [it for it in await events(call, 10) if it.HasField("output")]
            ended = await stopped(service, how, call)
    with served(**lasting) as service:
        async with client_of(service, "acme") as client:
            box = Box(client, box.sandbox_id)
            again = await box.run(NUMBERS, exec_id="durable", retention=DURABLE)
            ran = await attached(box, "durable", seen[-1].position)
            whole = await attached(box, "durable")
            listed = await client.call("ListExecs", pb.ListExecsRequest(sandbox_id=box.sandbox_id))
            await client.destroy_all()
            await client.destroy(box.sandbox_id)

    at = seen[-1].position
    out = "".join(f"line {it}\n" for it in range(1, 101)).encode()
    err = "".join(f"err {it}\n" for it in range(1, 101)).encode()
    assert ended is grpc.StatusCode.UNAVAILABLE
    assert (whole.stdout, whole.stderr) == (out, err)
    assert (again.stdout, again.stderr) == (out, err)
    assert (ran.stdout, ran.stderr) == (out[at.stdout_offset :], err[at.stderr_offset :])
    assert again.started.reused
    assert ran.outcome == whole.outcome == ("EXIT", 4)
    assert {"gap"} & set(whole.kinds() + ran.kinds()) == set()
    (exec_,) = listed.execs
    assert (exec_.exec_id, exec_.state) == ("durable", pb.EXEC_STATE_EXITED)


async def test_a_durable_exec_that_ended_while_no_service_was_there_is_told(lasting):
    """Its result waits in the sandbox."""
    with served("--drain-seconds=0", **lasting) as service:
        async with client_of(service, "acme") as client:
            box = await client.sandbox()
            call = box.exec("sleep 0.5; echo done; exit 9", exec_id="alone", retention=DURABLE)
            await events(call, 1)
            await stopped(service, signal.SIGKILL, call)
    await asyncio.sleep(1)
    with served(**lasting) as service:
        async with client_of(service, "acme") as client:
            box = Box(client, box.sandbox_id)
            request = pb.ListExecsRequest(sandbox_id=box.sandbox_id)
            (listed,) = (await client.call("ListExecs", request)).execs
            ran = await attached(box, "alone")
            await client.destroy(box.sandbox_id)

    assert listed.state == pb.EXEC_STATE_EXITED
    assert listed.exited.exit_code == 9
    assert listed.program == "sleep 0.5; echo done; exit 9"
    assert ran.stdout == b"done\n"
    assert ran.outcome == ("EXIT", 9)


async def test_what_a_crash_left_running_is_ended_and_never_run_again(lasting):
    """Its output is lost; the caller is told so, and decides."""
    marks = [unlikely() for _ in range(3)]
    with served(**lasting) as service:
        async with client_of(service, "acme") as client:
            box = await client.sandbox()
            calls = [
                box.exec(f"sleep {marks[0]} & setsid sleep {marks[0]}", exec_id="attached"),
                box.exec(f"sleep {marks[1]}", exec_id="detached", retention=DETACHED),
                box.exec(f"sleep {marks[2]}", exec_id="durable", retention=DURABLE),
            ]
            for call in calls:
                await events(call, 1)
            await stopped(service, signal.SIGKILL, *calls)
    with served(**lasting) as service:
        async with client_of(service, "acme") as client:
            box = Box(client, box.sandbox_id)
            for mark in marks[:2]:
                await box.gone(mark)
            errors = [
                await failure(box.run(f"sleep {marks[1]}", exec_id="detached", retention=DETACHED)),
                await failure(attached(box, "attached")),
            ]
            other = await failure(box.run("true", exec_id="detached"))
            there = await box.having(marks[2])
            which = {"sandbox_id": box.sandbox_id, "exec_id": "durable"}
            sent = await client.call("Signal", pb.SignalRequest(**which, signal="KILL"))
            ran = await attached(box, "durable")
            await client.destroy(box.sandbox_id)

    assert [it.seen for it in errors] == [("DATA_LOSS", "EXEC_LOST")] * 2
    assert other.seen == ("ALREADY_EXISTS", "EXEC_ID_REUSED")
    assert len(there) == 1
    assert sent.delivered
    assert ran.outcome[0] == "CANCELLED"


async def test_a_durable_execs_timeout_holds_over_a_restart(lasting):
    """Though nobody attaches."""
    mark = unlikely()
    with served("--drain-seconds=0", **lasting) as service:
        async with client_of(service, "acme") as client:
            box = await client.sandbox()
            call = box.exec(
                f"sleep {mark}", exec_id="timed", retention=DURABLE, timeout={"seconds": 6}
            )
            await events(call, 1)
            await stopped(service, signal.SIGKILL, call)
    with served(**lasting) as service:
        async with client_of(service, "acme") as client:
            box = Box(client, box.sandbox_id)
            await box.gone(mark)
            ran = await attached(box, "timed")
            await client.destroy(box.sandbox_id)

    assert ran.outcome[0] == "TIMEOUT"


async def stopped(service: Service, how: signal.Signals, *calls: Any) -> grpc.StatusCode:
    """End a service under its readers; returns with which code the first call failed."""
    service.signal(how)
    codes = []
    for call in calls:
        with suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        codes.append(await call.code())
    await asyncio.to_thread(service.wait)
    return codes[0]
