"""The bare SDK: what a service would do without this one. `python -m tests.bench.sdk_peer`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import uvloop
from e2b import AsyncSandbox
from e2b.sandbox.filesystem.filesystem import WriteEntry

from tests.bench import loads
from tests.bench.canned import LINE
from tests.bench.peers import obey


class SdkPeer:
    """A client of the SDK, with a sandbox of its own. The environment says where E2B is."""

    def __init__(self, sandbox: AsyncSandbox) -> None:
        self._sandbox = sandbox

    async def _timed(self, command: str) -> float:
        began = time.perf_counter()
        result = await self._sandbox.commands.run(command)
        took = time.perf_counter() - began
        if result.exit_code != 0:
            raise RuntimeError(f"{command}: exit {result.exit_code}")
        return took

    async def true(self, count: int) -> list[float]:
        """Run `true` one after another; seconds each."""
        return [await self._timed("true") for _ in range(count)]

    async def naive(self, count: int) -> list[float]:
        """Run `true` as a bridge that keeps nothing would: connect, then run; seconds each."""
        walls = []
        for _ in range(count):
            began = time.perf_counter()
            sandbox = await AsyncSandbox.connect(self._sandbox.sandbox_id, timeout=3600)
            result = await sandbox.commands.run("true")
            walls.append(time.perf_counter() - began)
            if result.exit_code != 0:
                raise RuntimeError(f"exit {result.exit_code}")
        return walls

    async def lines(self, count: int) -> float:
        """Read a flood of lines, of which each comes in a frame of its own; bytes per second."""
        return await self._flood(f"lines {count}", count * len(LINE))

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
        """Read a flood of `size` bytes; bytes per second."""
        return await self._flood(loads.stream_command(size), size)

    async def _flood(self, command: str, size: int) -> float:
        received = 0

        def on_stdout(text: str) -> None:
            nonlocal received
            received += len(text)

        began = time.perf_counter()
        await self._sandbox.commands.run(
            command, on_stdout=on_stdout, retain_output=False, timeout=600
        )
        took = time.perf_counter() - began
        if received != size:
            raise RuntimeError(f"{received} bytes came of {size}")
        return size / took

    async def first_byte(self, count: int) -> list[float]:
        """Seconds from the call to the first output, each time."""
        walls = []
        for _ in range(count):
            seen: list[float] = []
            began = time.perf_counter()
            await self._sandbox.commands.run(
                "echo x", on_stdout=lambda _, seen=seen: seen.append(time.perf_counter())
            )
            walls.append(seen[0] - began)
        return walls

    async def files(self, count: int, seed: int) -> float:
        """Write `count` small files into a folder that is new; seconds."""
        entries = [
            WriteEntry(path=f"/home/user/sdk-{seed}/{path}", data=content)
            for path, content in loads.small_files(count, seed).items()
        ]
        began = time.perf_counter()
        written = await self._sandbox.files.write_files(entries, request_timeout=300)
        took = time.perf_counter() - began
        if len(written) != count:
            raise RuntimeError(f"{len(written)} files were written of {count}")
        return took

    async def until_gone(self, sandbox_id: str, pid: int) -> float:
        """Wait in a sandbox until a process is gone; the time of the clock all processes share."""
        sandbox = await AsyncSandbox.connect(sandbox_id, timeout=3600)
        await sandbox.commands.run(f"tail -f /dev/null -s 0.002 --pid={pid}", timeout=60)
        return time.clock_gettime(time.CLOCK_MONOTONIC)


async def main() -> None:
    """Make a sandbox, obey, end the sandbox."""
    sandbox = await AsyncSandbox.create("base", timeout=3600)
    peer = SdkPeer(sandbox)
    deeds: dict[str, Any] = {
        name: getattr(peer, name)
        for name in (
            *("true", "naive", "burst", "stream", "lines"),
            *("first_byte", "files", "until_gone"),
        )
    }
    try:
        await obey(deeds)
    finally:
        await sandbox.kill()


if __name__ == "__main__":
    uvloop.run(main())
