"""Programs in a machine's guests, run and read to their end; what the server has open meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox_service.e2b_local.machine import Guest, GuestProcess, SpawnSpec


@dataclass(frozen=True)
class Outcome:
    """How a program ended, and what it said."""

    status: int
    out: bytes
    err: bytes

    @property
    def code(self) -> int:
        return os.waitstatus_to_exitcode(self.status)


async def read_all(descriptor: int) -> bytes:
    """Read a non-blocking descriptor to its end, and close it."""
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    try:
        while True:
            try:
                part = os.read(descriptor, 65536)
            except BlockingIOError:
                ready = loop.create_future()
                loop.add_reader(descriptor, ready.set_result, None)
                await ready
                loop.remove_reader(descriptor)
                continue
            except OSError as error:
                if error.errno != errno.EIO:  # A terminal that nobody holds any more.
                    raise
                break
            if not part:
                break
            parts.append(part)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return b"".join(parts)


async def finish(process: GuestProcess) -> Outcome:
    if process.pty is not None:
        return Outcome(await process.exit, await read_all(process.pty), b"")
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = await asyncio.gather(read_all(process.stdout), read_all(process.stderr))
    return Outcome(await process.exit, out, err)


async def run(guest: Guest, *argv: str, **spec) -> Outcome:
    return await finish(await guest.spawn(SpawnSpec(argv=argv, **spec)))


async def sh(guest: Guest, command: str, **spec) -> str:
    """Run a shell command that must succeed and be silent on stderr."""
    outcome = await run(guest, "/bin/bash", "-l", "-c", command, **spec)
    assert (outcome.code, outcome.err) == (0, b"")
    return outcome.out.decode()


async def read_line(descriptor: int) -> bytes:
    """Read the first line of a pipe that stays open."""
    line = b""
    loop = asyncio.get_running_loop()
    while not line.endswith(b"\n"):
        ready = loop.create_future()
        loop.add_reader(descriptor, ready.set_result, None)
        await ready
        loop.remove_reader(descriptor)
        line += os.read(descriptor, 1)
    return line


async def until(condition: Callable[[], object]) -> None:
    """Return when something has become true, soon."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the condition has no event of its own
            await asyncio.sleep(0)


def exists(path: Path | str) -> bool:
    return Path(path).exists()


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
