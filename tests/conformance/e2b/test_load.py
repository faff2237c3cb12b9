"""Many streams at once, and readers that stop reading."""

from __future__ import annotations

import asyncio

from e2b.envd.process import process_pb
from protobuf import Oneof

from tests.conformance.e2b.wire import Box
from tests.support.connect_wire import output_of, selector, until
from tests.support.processes import resident_bytes

LISTING = "/process.Process/List", process_pb.ListRequest(), process_pb.ListResponse


async def test_a_reader_that_stops_stops_the_program_and_not_the_memory(own_box, local):
    """A stalled client costs neither memory nor its program's output."""
    box = own_box
    command = "for i in $(seq 64); do head -c 1048576 /dev/zero; echo $i >> progress; done"
    async with box.start(command) as stream:
        await anext(stream)
        before = resident_bytes(local.pid)
        seen = ["", "-"]

        async def stalled():
            seen.append((await box.request("GET", "/files?path=progress")).text)
            await asyncio.sleep(0.3)
            return seen[-1] == seen[-2]

        await until(stalled)
        grown = resident_bytes(local.pid) - before
        progress = len(seen[-1].split())
        size = sum([len(output_of(event)) async for event in stream])

    assert progress < 32
    assert grown < 24 * 1024**2
    assert size == 64 * 1024**2


async def test_a_stalled_reader_does_not_stop_its_neighbours(own_box):
    """Another program of the same sandbox goes on."""
    async with own_box.start("cat /dev/zero") as stalled:
        pid = (await anext(stalled)).value.pid
        async with asyncio.timeout(20):
            outputs = await asyncio.gather(*(own_box.run("seq 20000 | wc -l") for _ in range(10)))
        killing = process_pb.SendSignalRequest(
            process=selector(pid), signal=process_pb.Signal.SIGKILL
        )
        await own_box.call("/process.Process/SendSignal", killing, process_pb.SendSignalResponse)

    assert outputs == ["20000\n"] * 10


async def test_two_hundred_and_fifty_streams_are_live_at_once(endpoint, own_box):
    """Each has its output, and unary calls are not stuck behind them."""
    ready, release = [], asyncio.Event()
    # Several, for the time that httpx takes grows with the square of a pool's size.
    clients = [endpoint.client() for _ in range(25)]

    async def one(number):
        mine = Box(type(own_box.wire)(endpoint, clients[number % 25]), own_box.created)
        async with mine.start(f"echo {number}; read x; echo $x", stdin=True) as stream:
            pid = (await anext(stream)).value.pid
            assert output_of(await anext(stream)) == b"%d\n" % number
            ready.append(pid)
            await release.wait()
            given = process_pb.ProcessInput(input=Oneof("stdin", b"go\n"))
            request = process_pb.SendInputRequest(process=selector(pid), input=given)
            await mine.call("/process.Process/SendInput", request, process_pb.SendInputResponse)
            return b"".join([output_of(event) async for event in stream])

    async with asyncio.timeout(90):
        tasks = [asyncio.create_task(one(number)) for number in range(250)]

        async def all_ready():
            return len(ready) == 250

        await until(all_ready, 60)
        found = [it.pid for it in (await own_box.call(*LISTING)).processes]
        release.set()
        outputs = await asyncio.gather(*tasks)
    for client in clients:
        await client.aclose()

    assert set(ready) <= set(found)
    assert set(outputs) == {b"go\n"}
