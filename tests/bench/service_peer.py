"""A client of this service. `python -m tests.bench.service_peer GRPC_ADDRESS ECHO_ADDRESS`."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb
from miosa.sandbox.v1 import sandbox_service_pb2_grpc

from tests.bench import loads
from tests.bench.canned import LINE
from tests.bench.crowd import METADATA as _METADATA
from tests.bench.crowd import Crowd, walls
from tests.bench.peers import obey

_TOGETHER_BYTES = 256 * 1024
"""Small files travel together, as the client of the project sends them."""


class ServicePeer:
    """A client with a sandbox of its own."""

    def __init__(
        self,
        stub: Any,
        echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes],
        crowd: Crowd,
        sandbox_id: str,
    ) -> None:
        self._stub = stub
        self._echo = echo
        self._crowd = crowd
        self._sandbox_id = sandbox_id

    def _exec(self, command: str, *, durable: bool = False) -> Any:
        request = pb.ExecRequest(
            sandbox_id=self._sandbox_id,
            program=pb.Program(shell_command=command),
            retention=pb.RETENTION_DURABLE if durable else pb.RETENTION_UNSPECIFIED,
        )
        return self._stub.Exec(request, metadata=_METADATA)

    async def _timed(self, command: str, *, durable: bool = False) -> float:
        began = time.perf_counter()
        last = None
        async for response in self._exec(command, durable=durable):
            last = response.event
        took = time.perf_counter() - began
        if last is None or last.exited.cause != pb.CAUSE_EXIT or last.exited.exit_code != 0:
            raise RuntimeError(f"{command}: {last}")
        return took

    async def true(self, count: int) -> list[float]:
        """Run `true` one after another; seconds each."""
        return [await self._timed("true") for _ in range(count)]

    async def walls(self, command: str, count: int, *, durable: bool) -> list[float]:
        """Run a command one after another; seconds each."""
        return [await self._timed(command, durable=durable) for _ in range(count)]

    async def lines(self, count: int) -> None:
        """Read a flood of lines, of which each came in a frame of its own."""
        received = 0
        async for response in self._exec(f"lines {count}"):
            received += len(response.event.output.data)
        if received != count * len(LINE):
            raise RuntimeError(f"{received} bytes came of {count} lines")

    async def burst(self, count: int, at_once: int) -> float:
        """Run `true` `count` times, `at_once` at a time; runs per second."""
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                await self._timed("true")

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        return count / (time.perf_counter() - began)

    async def stream(self, size: int) -> float:
        """Read a flood of `size` bytes, and check each; bytes per second."""
        received = 0
        exited = None
        began = time.perf_counter()
        async for response in self._exec(loads.stream_command(size)):
            event = response.event
            if event.HasField("output"):
                output = event.output
                if output.offset != received or not loads.is_stream_part(output.data, received):
                    raise RuntimeError(f"wrong bytes at {received}")
                received += len(output.data)
            elif event.HasField("exited"):
                exited = event.exited
        took = time.perf_counter() - began
        if received != size or exited is None or exited.exit_code != 0:
            raise RuntimeError(f"{received} bytes came of {size}: {exited}")
        return size / took

    async def frames(self, size: int) -> int:
        """Read a flood of `size` bytes; how many messages carried it."""
        count = 0
        async for response in self._exec(loads.stream_command(size)):
            count += response.event.HasField("output")
        return count

    async def first_byte(self, count: int) -> list[float]:
        """Seconds from the call to the first output, each time."""
        walls = []
        for _ in range(count):
            began = time.perf_counter()
            seen = None
            async for response in self._exec("echo x"):
                if seen is None and response.event.HasField("output"):
                    seen = time.perf_counter()
            if seen is None:
                raise RuntimeError("no output came")
            walls.append(seen - began)
        return walls

    async def files(self, count: int, seed: int) -> float:
        """Sync `count` small files into a folder that is new; seconds, hashing included."""
        content = loads.small_files(count, seed)

        async def parts() -> AsyncIterator[pb.SyncFilesRequest]:
            header = pb.SyncFilesHeader(sandbox_id=self._sandbox_id, root=f"/home/user/ours-{seed}")
            yield pb.SyncFilesRequest(header=header)
            together, size = pb.SyncEntries(), 0
            for path, data in content.items():
                digest = hashlib.sha256(data).digest()
                file = pb.SyncFileHeader(path=path, size=len(data), sha256=digest)
                together.entries.append(pb.SyncEntry(file=file, data=data))
                size += len(data)
                if size >= _TOGETHER_BYTES:
                    yield pb.SyncFilesRequest(entries=together)
                    together, size = pb.SyncEntries(), 0
            yield pb.SyncFilesRequest(entries=together)

        began = time.perf_counter()
        answer = await self._stub.SyncFiles(parts(), metadata=_METADATA)
        took = time.perf_counter() - began
        if answer.added < count:  # Folders count too.
            raise RuntimeError(f"{answer.added} files were added of {count}")
        return took

    async def status(self, count: int, at_once: int) -> None:
        """Ask for the status `count` times."""
        request = pb.StatusRequest(sandbox_id=self._sandbox_id)
        await _many(
            lambda: self._stub.Status(request, metadata=_METADATA), count=count, at_once=at_once
        )

    async def check(self, code: str, count: int) -> list[float]:
        """Ask what the code policy says of a Python program; seconds each."""
        program = pb.Program(source=pb.SourceCode(language="python", code=code))
        request = pb.CheckProgramRequest(program=program)
        walls = []
        for _ in range(count):
            began = time.perf_counter()
            await self._stub.CheckProgram(request, metadata=_METADATA)
            walls.append(time.perf_counter() - began)
        return walls

    async def status_walls(self, count: int) -> list[float]:
        """Ask for the status `count` times, one after another; seconds each."""
        request = pb.StatusRequest(sandbox_id=self._sandbox_id)
        return await walls(lambda: self._stub.Status(request, metadata=_METADATA), count)

    async def stall(self, size: int) -> None:
        """Let a flood of `size` bytes go unread, in a sandbox that others use too."""
        await self._crowd.stall(self._sandbox_id, size)

    async def echo(self, count: int, at_once: int) -> None:
        """Send what Status sends to the bare server."""
        request = pb.StatusRequest(sandbox_id=self._sandbox_id).SerializeToString()
        await _many(lambda: self._echo(request, metadata=_METADATA), count=count, at_once=at_once)

    async def holder(self) -> None:
        """Start a program that the canned backend holds until it is killed."""
        await self._left_running("hold")

    async def sleeper(self) -> tuple[str, int]:
        """Start a program that sleeps; its sandbox and pid."""
        return await self._left_running("sleep 600")

    async def _left_running(self, command: str) -> tuple[str, int]:
        self._sleeping = self._exec(command)
        async for response in self._sleeping:
            if response.event.HasField("started"):
                return self._sandbox_id, response.event.started.pid
        raise RuntimeError("the program did not start")

    async def leave(self) -> float:
        """Cancel the sleeper's call; when, on the clock that all processes share."""
        self._sleeping.cancel()
        return time.clock_gettime(time.CLOCK_MONOTONIC)


async def _many(call: Any, *, count: int, at_once: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(work() for _ in range(at_once)))


async def main(address: str, echo_address: str) -> None:
    """Make a sandbox, obey, end the sandbox."""
    async with (
        grpc.aio.insecure_channel(address) as channel,
        grpc.aio.insecure_channel(echo_address) as echo_channel,
    ):
        stub = sandbox_service_pb2_grpc.SandboxServiceStub(channel)
        created = await stub.Create(
            pb.CreateRequest(template="base", lifetime=Duration(seconds=3600)), metadata=_METADATA
        )
        sandbox_id = created.sandbox.sandbox_id
        crowd = Crowd(stub, echo_channel.unary_stream("/bench.Echo/Hold"))
        peer = ServicePeer(stub, echo_channel.unary_unary("/bench.Echo/Echo"), crowd, sandbox_id)
        deeds: dict[str, Any] = {
            name: getattr(peer, name)
            for name in (
                *("true", "walls", "burst", "stream", "lines", "frames", "first_byte", "files"),
                *("status", "status_walls", "check", "stall", "echo"),
                *("sleeper", "holder", "leave"),
            )
        }
        deeds |= {
            "rooms": crowd.rooms,
            "open": crowd.open,
            "hold": crowd.hold,
            "cancelled": lambda count, at_once: crowd.cancelled(sandbox_id, count, at_once),
            "cancelled_holds": crowd.cancelled_holds,
            "disperse": crowd.leave,
            "close_rooms": crowd.close,
        }
        try:
            await obey(deeds)
        finally:
            await stub.Destroy(pb.DestroyRequest(sandbox_id=sandbox_id), metadata=_METADATA)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2]))
