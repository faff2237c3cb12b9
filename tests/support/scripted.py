"""A backend in memory, for moments that cannot be brought about for real.

A connection that breaks between two bytes, a program whose end is never
reported, a start that takes as long as the test wants. What it does is what
`domain.ports` promises, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta

from sandbox_service.domain.errors import BackendUnavailableError
from sandbox_service.domain.exec_errors import InputClosedError
from sandbox_service.domain.execs import Position, ProcessUsage, PtySize, Stream
from sandbox_service.domain.processes import (
    FoundExec,
    ProcessEnd,
    ProcessEvent,
    ProcessGap,
    ProcessOutput,
    ProcessSpec,
)
from sandbox_service.domain.sandboxes import (
    InternetAccess,
    PreviewSpec,
    SandboxRecord,
    SandboxState,
)

_DONE = object()


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


class ScriptedProcess:
    """A program that does what the test says, when it says it.

    Attributes:
        kills: The grace of each kill.
        on_kill: What a kill does. Unless set, the program ends by SIGTERM.
        survivors: What a kill reports to be left.
        counts_input: Whether it counts what it is given, as a durable program's sandbox does.
        instance_address: Where its reader says to be.
        stdin: What was written to it.
        stdin_ended, stdin_closed: Whether its end was sent; whether nobody reads it any more.
        signals: Every signal that was sent.
        sizes: Every size that its terminal was given.
        reconnects: The position of each attempt to make contact anew.
        fail_reconnect: Raised by those attempts, while it is set.
        used: What it says to have used.
        taken: How many of its events have been asked for.
        closed: Whether its reader has let go.
    """

    pid = 4711
    has_terminal = False

    def __init__(self) -> None:
        self.kills: list[timedelta] = []
        self.on_kill: Callable[[], None] = lambda: self.ends(signal="TERM")
        self.survivors: Sequence[int] = ()
        self.stdin = b""
        self.stdin_ended = False
        self.stdin_blocks: asyncio.Event | None = None
        self.stdin_closed = False
        self.counts_input = False
        self.instance_address = ""
        self.signals: list[str] = []
        self.sizes: list[PtySize] = []
        self.reconnects: list[Position] = []
        self.fail_reconnect: Exception | None = None
        self.used: ProcessUsage | None = None
        self.taken = 0
        self.closed = False
        self._events: asyncio.Queue[ProcessEvent | Exception | object] = asyncio.Queue()

    def writes(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        self._events.put_nowait(ProcessOutput(stream, data))

    def gap(self, stream: Stream = Stream.STDOUT, *, spool_limit: bool = False) -> None:
        self._events.put_nowait(ProcessGap(stream, spool_limit))

    def ends(
        self,
        code: int | None = None,
        signal: str = "",
        *,
        still_open: bool = False,
        oom: bool = False,
    ) -> None:
        self._events.put_nowait(ProcessEnd(code, signal, still_open, oom=oom))

    def fails(self, error: Exception) -> None:
        self._events.put_nowait(error)

    def stream_stops(self) -> None:
        """The events are over, and none of them said how the program ended."""
        self._events.put_nowait(_DONE)

    async def events(self) -> AsyncIterator[ProcessEvent]:
        while True:
            event = await self._events.get()
            self.taken += 1
            if event is _DONE:
                return
            if isinstance(event, Exception):
                raise event
            assert isinstance(event, ProcessEvent)
            yield event

    async def write_stdin(self, data: bytes) -> None:
        if self.stdin_blocks is not None:
            await self.stdin_blocks.wait()
        self.stdin += data

    async def close_stdin(self) -> None:
        self.stdin_ended = True

    async def put_input(self, offset: int, data: bytes, *, end: bool) -> int:
        if self.stdin_blocks is not None:
            await self.stdin_blocks.wait()
        new = data[len(self.stdin) - offset :]
        if offset <= len(self.stdin):
            if (new and (self.stdin_ended or self.stdin_closed)) or (end and self.stdin_closed):
                raise InputClosedError("Nobody reads it.")
            self.stdin += new
            self.stdin_ended |= end and offset + len(data) == len(self.stdin)
        return len(self.stdin)

    async def signal(self, name: str) -> bool:
        self.signals.append(name)
        return True

    async def resize(self, size: PtySize) -> None:
        self.sizes.append(size)

    async def reconnect(self, position: Position) -> None:
        self.reconnects.append(position)
        if self.fail_reconnect is not None:
            raise self.fail_reconnect

    def usage(self) -> ProcessUsage | None:
        return self.used

    async def kill(self, grace: timedelta) -> Sequence[int]:
        self.kills.append(grace)
        self.on_kill()
        return self.survivors

    async def aclose(self) -> None:
        self.closed = True


class ScriptedProvider:
    """What an exec asks of a provider.

    Attributes:
        next: The program that the next start gives.
        fail_start, fail_write: Raised instead.
        gate: Every start waits for it.
        specs: What was started.
        gone: Whether the sandbox is.
        found: What a sandbox knows of its execs, by their ids.
        adopted: What was adopted, and from where; each is given `next`.
        reached: Programs that other instances read, by their execs' ids.
        spools: What is spooled of each stream of any exec.
        fail_spooled: Raised by the next readings of a spool, one each, behind three bytes.
        spool_away: Whether no spool can be read at all.
        leftovers: Which instances' leftovers were ended.
        fail_leftovers: What the next calls that end some fail with.
        files: What was written, by path.
    """

    def __init__(self) -> None:
        self.next = ScriptedProcess()
        self.fail_start: Exception | None = None
        self.fail_write: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self.specs: list[ProcessSpec] = []
        self.gone = False
        self.found: dict[str, FoundExec] = {}
        self.adopted: list[tuple[FoundExec, Position | None]] = []
        self.reached: dict[str, ScriptedProcess] = {}
        self.spools: dict[Stream, bytes] = {}
        self.fail_spooled: list[Exception] = []
        self.spool_away = False
        self.leftovers: list[str] = []
        self.fail_leftovers: list[Exception] = []
        self.files: dict[str, bytes] = {}

    async def start(self, sandbox_id: str, spec: ProcessSpec) -> ScriptedProcess:
        process = self.next
        self.asked.set()
        await self.gate.wait()
        if self.fail_start is not None:
            raise self.fail_start
        self.specs.append(spec)
        self.next = ScriptedProcess()
        return process

    async def get(self, sandbox_id: str) -> object | None:
        return None if self.gone else object()

    async def healthy(self, sandbox_id: str) -> bool:
        return not self.gone

    async def find_exec(self, sandbox_id: str, exec_id: str) -> FoundExec | None:
        return self.found.get(exec_id)

    async def reach(self, sandbox_id: str, exec_id: str) -> ScriptedProcess | None:
        return self.reached.get(exec_id)

    async def exec_records(self, sandbox_id: str) -> Sequence[FoundExec]:
        return [found for found in self.found.values() if found.spool_limit_bytes]

    async def adopt(
        self, sandbox_id: str, found: FoundExec, position: Position | None = None
    ) -> ScriptedProcess:
        self.adopted.append((found, position))
        process, self.next = self.next, ScriptedProcess()
        return process

    async def spooled(
        self, sandbox_id: str, exec_id: str, stream: Stream, offset: int, size: int
    ) -> AsyncGenerator[bytes, None]:
        if self.spool_away:
            raise BackendUnavailableError("Away.")
        whole = self.spools.get(stream, b"")[offset : offset + size]
        yield whole[:3]
        if self.fail_spooled:
            raise self.fail_spooled.pop(0)
        yield whole[3:]

    async def end_leftovers(self, sandbox_id: str, instance: str) -> int:
        if self.fail_leftovers:
            raise self.fail_leftovers.pop(0)
        self.leftovers.append(instance)
        return 0

    async def write_file(self, sandbox_id: str, path: str, content: bytes, user: str = "") -> None:
        if self.fail_write is not None:
            raise self.fail_write
        self.files[path] = content


def running_record(clock: SetClock, left: timedelta = timedelta(hours=1)) -> SandboxRecord:
    """Return a sandbox that runs, with so much lifetime left."""
    return SandboxRecord(
        sandbox_id="box",
        tenant="tenant",
        user="",
        owner="",
        state=SandboxState.RUNNING,
        template="base",
        backend_template_id="base",
        resources=None,
        metadata={},
        create_time=clock.now(),
        state_time=clock.now(),
        expire_time=clock.now() + left,
        preview=PreviewSpec(),
        internet=InternetAccess.BACKEND_DEFAULT,
    )
