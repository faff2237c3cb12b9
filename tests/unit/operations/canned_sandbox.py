"""A sandbox whose programs have written what they are told to have written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.execs import Argv, Stream
from sandbox_service.domain.processes import ProcessEnd, ProcessOutput, ProcessSpec

DIGEST = "ab" * 32
ANSWER = (
    b"4 1500\0=changes\0./a\0\t./b\0=deleted\0./c\xff\0=phases\0unpack\x002000\0"
    b"=end\0/r\0%b\0user\0closed\0"
    b"0\0" % DIGEST.encode()
)

Event = ProcessOutput | ProcessEnd


def out(data: bytes) -> ProcessOutput:
    return ProcessOutput(Stream.STDOUT, data)


class CannedProcess:
    """A program that has written what it is told to have written."""

    pid = 1

    def __init__(self, events: Iterable[Event | Exception], until: asyncio.Event | None) -> None:
        self._events = list(events)
        self._until = until
        self.killed = False
        self.closed = False

    async def events(self) -> AsyncIterator[Event]:
        if self._until is not None:
            await self._until.wait()
        for event in self._events:
            if isinstance(event, Exception):
                raise event
            yield event

    async def write_stdin(self, data: bytes) -> None:
        raise AssertionError

    async def close_stdin(self) -> None:
        raise AssertionError

    async def kill(self, grace: timedelta) -> int:
        self.killed = True
        return 0

    async def aclose(self) -> None:
        self.closed = True


class CannedSandbox:
    """The two methods of a provider that a sync uses."""

    def __init__(self, *events: Event | Exception) -> None:
        self.events = events or (out(ANSWER[:20]), out(ANSWER[20:]), ProcessEnd(0, ""))
        self.until: asyncio.Event | None = None
        self.processes: list[CannedProcess] = []
        self.programs: list[tuple[str, ...]] = []
        self.files: dict[str, bytes] = {}
        self.start_error: SandboxError | None = None
        self.write_error: Exception | None = None

    async def start(self, sandbox_id: str, spec: ProcessSpec) -> CannedProcess:
        assert isinstance(spec.program, Argv)
        self.programs.append(spec.program.args)
        if self.start_error is not None:
            raise self.start_error
        process = CannedProcess(self.events, self.until)
        self.processes.append(process)
        return process

    async def write_file(
        self, sandbox_id: str, path: str, content: bytes | AsyncIterator[bytes], user: str = ""
    ) -> None:
        if isinstance(content, bytes):
            self.files[path] = content
            return
        try:
            self.files[path] = b"".join([piece async for piece in content])
        except SandboxError:
            if self.write_error is not None:
                raise self.write_error from None
            raise
        if self.write_error is not None:
            raise self.write_error

    @property
    def applied(self) -> int:
        """How often the script was started."""
        return sum("mirror" in program or "patch" in program for program in self.programs)


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(100):
        await asyncio.sleep(0)
