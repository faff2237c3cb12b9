"""A program's streams as the SDK does not show them: exact bytes, back-pressure, many at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import httpx
import pytest
from protobuf import Oneof

from sandbox_service.e2b_local.envd.messages import process_pb
from tests.integration.e2b_wire import connected, new_box, output_of, until
from tests.support.connect_wire import StreamError

# Every byte value, no valid UTF-8, and a size that is no multiple of anything.


@pytest.fixture
async def client(backend):
    async with connected(backend) as client:
        yield client


@pytest.fixture
async def box(client):
    box = await new_box(client, timeout=60)
    yield box
    await client.delete(f"/sandboxes/{box.id}")


def resident_bytes(pid):
    return 4096 * int(Path(f"/proc/{pid}/statm").read_text().split()[1])


async def test_a_flood_that_nobody_reads_slows_no_neighbour(box, backend):
    """Two gigabytes are written in one sandbox, and commands of another go on meanwhile."""
    other = await new_box(box.client, timeout=60)

    async def round_trips():
        async with other.start("cat", stdin=True) as stream:
            pid = (await anext(stream)).value.pid
            for number in range(200):
                await other.call(
                    "SendInput",
                    process_pb.SendInputRequest(
                        process=process_pb.ProcessSelector(selector=Oneof("pid", pid)),
                        input=process_pb.ProcessInput(input=Oneof("stdin", b"%d\n" % number)),
                    ),
                    process_pb.SendInputResponse,
                )
                assert output_of(await anext(stream)) == b"%d\n" % number

    async def seconds_of(work):
        began = time.perf_counter()
        await work
        return time.perf_counter() - began

    quiet = await seconds_of(round_trips())
    before = resident_bytes(backend.status["pid"])
    async with contextlib.AsyncExitStack() as floods:
        # Three, of which nobody reads more than the beginning.
        for _ in range(3):
            stream = await floods.enter_async_context(box.start("head -c 2G /dev/zero"))
            await anext(stream)
            await anext(stream)
        beside_stalled = await seconds_of(round_trips())
        grown_bytes = resident_bytes(backend.status["pid"]) - before
        # And one whose output is read and thrown away, for its reader has left.
        async with box.start("head -c 2G /dev/zero") as stream:
            await anext(stream)
        beside_running = await seconds_of(round_trips())
        most_bytes = resident_bytes(backend.status["pid"]) - before
    await box.client.delete(f"/sandboxes/{other.id}")

    assert grown_bytes < 16 * 1024**2
    assert most_bytes < 32 * 1024**2
    assert beside_stalled < 10 * quiet + 1
    # It has a core for itself, which the others must share where there are only two.
    assert beside_running < 30 * quiet + 2


@pytest.mark.parametrize("size", [200_000, 3_000_000])
async def test_a_command_that_is_too_long_is_the_callers_fault(box, size):
    """The kernel takes 128 KiB for one argument; repeating it is no use."""
    with pytest.raises(StreamError, match=r"invalid_argument: .*Argument list too long"):
        async with box.start(f"echo {'x' * size}") as stream:
            await anext(stream)


async def test_a_fork_bomb_is_one_sandboxs_trouble_and_can_be_killed(box):
    """Others go on at once, and a signal still reaches its leader."""
    bomb = "ulimit -u 40; :(){ :|:& };: ; sleep 60"
    async with box.start(bomb) as stream:
        pid = (await anext(stream)).value.pid
        other = await new_box(box.client, timeout=30)
        async with other.start("echo fine") as other_stream:
            others_output = b"".join([output_of(event) async for event in other_stream])
        await box.client.delete(f"/sandboxes/{other.id}")
        await box.call(
            "SendSignal",
            process_pb.SendSignalRequest(
                process=process_pb.ProcessSelector(selector=Oneof("pid", pid)),
                signal=process_pb.Signal.SIGKILL,
            ),
            process_pb.SendSignalResponse,
        )
        last = [event async for event in stream][-1]

    assert others_output == b"fine\n"
    assert last.value.status == "signal: killed"


async def test_a_paused_program_goes_on_with_the_time_it_had_left(box):
    """Its stream is cut, it is found again, and its time limit did not run meanwhile."""
    async with box.start("echo begun; sleep 60", **{"connect-timeout-ms": "1500"}) as stream:
        pid = (await anext(stream)).value.pid
        await anext(stream)
        paused = await box.client.post(f"/sandboxes/{box.id}/pause")
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(stream)
    # Longer than its limit: the passing of time is what this is about.
    await asyncio.sleep(2)
    resumed = await box.client.post(f"/v2/sandboxes/{box.id}/connect", json={"timeout": 60})
    listed = await box.call("List", process_pb.ListRequest(), process_pb.ListResponse)

    async def killed():
        running = await box.call("List", process_pb.ListRequest(), process_pb.ListResponse)
        return not running.processes

    await until(killed)
    assert (paused.status_code, resumed.status_code) == (204, 201)
    assert [process.pid for process in listed.processes] == [pid]
