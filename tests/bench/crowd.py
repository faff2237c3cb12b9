"""Many calls at once, and one that nobody reads, as a client makes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb

METADATA = (("x-miosa-tenant-id", "bench"),)

_BOXES = 4
_LINE = "echo up; read -r _ </tmp/gate"


class Crowd:
    """Streams that are held open.

    Args:
        stub: Of this service.
        hold: Of the bare server: a stream of one message and no end.
    """

    def __init__(self, stub: Any, hold: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]) -> None:
        self._stub = stub
        self._hold = hold
        self._boxes: list[str] = []
        self._calls: list[Any] = []

    async def rooms(self) -> None:
        """Make the sandboxes for it."""
        lifetime = Duration(seconds=3600)
        for _ in range(_BOXES):
            request = pb.CreateRequest(template="base", lifetime=lifetime)
            created = await self._stub.Create(request, metadata=METADATA)
            self._boxes.append(created.sandbox.sandbox_id)
            async for _ in self._exec(self._boxes[-1], "mkfifo /tmp/gate"):
                pass

    async def open(self, count: int) -> None:
        """Start programs that write a line and wait; returns when each has been heard of."""
        calls = [self._exec(self._boxes[it % _BOXES], _LINE) for it in range(count)]
        self._calls = calls
        await asyncio.gather(*map(_first_output, calls))

    async def hold(self, count: int) -> None:
        """Open as many streams to the bare server."""
        self._calls = [self._hold(b"x" * 64, metadata=METADATA) for _ in range(count)]
        await asyncio.gather(*(call.read() for call in self._calls))

    async def leave(self) -> None:
        """Cancel all of them."""
        for call in self._calls:
            call.cancel()
        self._calls = []

    async def close(self) -> None:
        """End the sandboxes."""
        for sandbox_id in self._boxes:
            await self._stub.Destroy(pb.DestroyRequest(sandbox_id=sandbox_id), metadata=METADATA)
        self._boxes = []

    async def stall(self, sandbox_id: str, size: int) -> None:
        """Start a flood, read its first bytes, and then no more."""
        call = self._exec(sandbox_id, f"head -c {size} /dev/zero")
        await _first_output(call)
        self._calls = [call]

    async def cancelled(self, sandbox_id: str, count: int, at_once: int) -> None:
        """Start programs that hold, and cancel each when it has started."""
        await _opened_and_cancelled(lambda: self._exec(sandbox_id, "hold"), count, at_once)

    async def cancelled_holds(self, count: int, at_once: int) -> None:
        """Do the same with streams to the bare server."""
        await _opened_and_cancelled(
            lambda: self._hold(b"x" * 64, metadata=METADATA), count, at_once
        )

    def _exec(self, sandbox_id: str, line: str) -> Any:
        program = pb.Program(shell_command=line)
        request = pb.ExecRequest(sandbox_id=sandbox_id, program=program)
        return self._stub.Exec(request, metadata=METADATA)


async def _opened_and_cancelled(call: Callable[[], Any], count: int, at_once: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            opened = call()
            await opened.read()
            opened.cancel()

    await asyncio.gather(*(work() for _ in range(at_once)))


async def _first_output(call: Any) -> None:
    while (response := await call.read()) is not grpc.aio.EOF:
        if response.event.HasField("output"):
            return
    raise RuntimeError(f"no output came: {await call.details()}")


async def walls(call: Any, count: int) -> list[float]:
    """Make a call `count` times, one after another; seconds each."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - began)
    return taken
