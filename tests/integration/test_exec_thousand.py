"""A thousand programs open at once on one process: all live, and nothing of them is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from miosa.sandbox import v1 as pb

from tests.support.calls import Box, Client, events, until
from tests.support.service import Service, served

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

COUNT = 1000
BOXES = 4
GATE = "/tmp/gate"
WAITS = f"echo up; read -r _ <{GATE}; echo done; exit 3"
"""Forks nothing, and ends when somebody opens the gate: all of them at the same moment."""

IDLE_DESCRIPTORS = 64
"""What a busy process opens now and then."""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One of its own: what is counted is nobody else's."""
    # Connections that nobody uses are kept for minutes; they would look like a leak.
    with served(env={"E2B_KEEPALIVE_EXPIRY": "1"}) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def boxes(service: Service) -> AsyncIterator[list[Box]]:
    async with Client.connected(service.grpc_address) as client:
        found = [await client.sandbox() for _ in range(BOXES)]
        for box in found:
            await box.run(f"mkfifo {GATE}")
        yield found
        await client.destroy_all()


class Stream:
    """One of the thousand, read from the first event to the last."""

    def __init__(self, box: Box) -> None:
        self.up = asyncio.Event()
        self.beats = 0
        self.seen: list[pb.ExecEvent] = []
        self._call = box.exec(WAITS, heartbeat_interval={"seconds": 5})

    async def read(self) -> None:
        async for response in self._call:
            event = response.event
            if event.HasField("heartbeat"):
                self.beats += 1
                continue
            self.seen.append(event)
            if event.HasField("output"):
                self.up.set()

    @property
    def output(self) -> bytes:
        return b"".join(it.output.data for it in self.seen)


async def test_a_thousand_execs_live_at_once_and_leave_nothing(service: Service, boxes: list[Box]):
    """Each is heard of, the service still answers, all end when told, nothing is kept open."""
    client = boxes[0].client
    before = descriptors(service)
    streams = [Stream(boxes[number % BOXES]) for number in range(COUNT)]
    reading = asyncio.gather(*(it.read() for it in streams))
    await asyncio.wait_for(asyncio.gather(*(it.up.wait() for it in streams)), 120)
    for it in streams:
        it.beats = 0
    await until(lambda: all(it.beats for it in streams), 60)
    statuses = [await client.status(box.sandbox_id) for box in boxes]
    listed = [await running(box) for box in boxes]
    open_ = service.metric("sandbox_execs_running")
    for box in boxes:
        await box.run(f": >{GATE}")
    await asyncio.wait_for(reading, 120)
    await until(lambda: service.metric("sandbox_execs_running") == 0)
    await until(lambda: descriptors(service) <= before + IDLE_DESCRIPTORS, 60)
    left = [len((await client.status(box.sandbox_id)).running_execs) for box in boxes]

    assert all(it.running_execs for it in statuses)
    assert sum(listed) == open_ == COUNT
    assert {it.output for it in streams} == {b"up\ndone\n"}
    assert {it.seen[-1].exited.exit_code for it in streams} == {3}
    assert left == [0] * BOXES


async def test_a_thousand_callers_who_leave_end_a_thousand_programs(
    service: Service, boxes: list[Box]
):
    """All at once, as when a gateway in front of the service dies."""
    before = descriptors(service)
    calls = [boxes[number % BOXES].exec(WAITS) for number in range(COUNT)]
    await asyncio.wait_for(asyncio.gather(*(events(it, 2) for it in calls)), 120)
    for call in calls:
        call.cancel()
    await until(lambda: service.metric("sandbox_execs_running") == 0, 120)
    await until(lambda: descriptors(service) <= before + IDLE_DESCRIPTORS, 60)
    left = [
        (await box.run("grep -la '/tmp/gat[e]' /proc/[0-9]*/cmdline; true")).text for box in boxes
    ]

    assert left == [""] * BOXES


async def running(box: Box) -> int:
    """Count the execs that run in a sandbox."""
    request = pb.ListExecsRequest(
        sandbox_id=box.sandbox_id, page_size=1000, state=pb.EXEC_STATE_RUNNING
    )
    return len((await box.client.call("ListExecs", request)).execs)


def descriptors(service: Service) -> int:
    """Count what the service's own process has open."""
    return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
