"""The unmodified SDK on the local backend. `python -m tests.bench.local_sdk_peer`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import uvloop
from e2b import AsyncSandbox

from tests.bench.loads import stream_command
from tests.bench.peers import obey
from tests.bench.sdk_peer import SdkPeer


class LocalSdkPeer(SdkPeer):
    """A client of the SDK, which also moves files and makes sandboxes."""

    async def make_file(self, path: str, size: int) -> None:
        """Make a file of text."""
        await self._sandbox.commands.run(f"{stream_command(size)} > {path}")

    async def cat(self, path: str, size: int) -> float:
        """Read a file through the output of `cat`, keeping nothing; bytes per second."""
        return await self._flood(f"cat {path}", size)

    async def write(self, size: int, count: int) -> list[float]:
        """Write a file of that size; seconds each."""
        data = b"x" * size
        walls = []
        for _ in range(count):
            began = time.perf_counter()
            await self._sandbox.files.write(f"/home/user/bench-{size}", data)
            walls.append(time.perf_counter() - began)
        return walls

    async def read(self, size: int, count: int) -> list[float]:
        """Read the file that was written; seconds each."""
        walls = []
        for _ in range(count):
            began = time.perf_counter()
            data = await self._sandbox.files.read(f"/home/user/bench-{size}", format="bytes")
            walls.append(time.perf_counter() - began)
            if len(data) != size:
                raise RuntimeError(f"{len(data)} bytes came of {size}")
        return walls

    async def create(self, count: int) -> list[float]:
        """Make a sandbox; seconds each, without its end."""
        walls = []
        for _ in range(count):
            began = time.perf_counter()
            sandbox = await AsyncSandbox.create("base", timeout=60)
            walls.append(time.perf_counter() - began)
            await sandbox.kill()
        return walls

    async def create_at_once(self, count: int) -> list[float]:
        """Make sandboxes at once; seconds from the beginning until each was there."""
        began = time.perf_counter()

        async def work() -> tuple[AsyncSandbox, float]:
            sandbox = await AsyncSandbox.create("base", timeout=60)
            return sandbox, time.perf_counter() - began

        made = await asyncio.gather(*(work() for _ in range(count)))
        await asyncio.gather(*(sandbox.kill() for sandbox, _ in made))
        return [wall for _, wall in made]


async def main() -> None:
    """Make a sandbox, obey, end the sandbox."""
    sandbox = await AsyncSandbox.create("base", timeout=3600)
    peer = LocalSdkPeer(sandbox)
    names = ("true", "burst", "make_file", "cat", "write", "read", "create", "create_at_once")
    deeds: dict[str, Any] = {name: getattr(peer, name) for name in names}
    try:
        await obey(deeds)
    finally:
        await sandbox.kill()


if __name__ == "__main__":
    uvloop.run(main())
