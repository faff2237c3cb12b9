"""Programs in sandboxes, as the backend's border sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from sandbox_service.domain.execs import Position, ProcessUsage, Program, PtySize, Stream
from sandbox_service.domain.sandboxes import Language


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """What is kept in the sandbox, so that an exec can be found and read again.

    Attributes:
        exec_id: Unique in its sandbox: a second start with it is refused by
            the sandbox itself, whoever asks.
        spool_limit_bytes: How many of the first bytes of each stream are kept.
            0: none, and the program runs as if it were not durable; what is
            kept is that its id was used, and by whom.
        record: Whatever the caller wants to find again. JSON, at most 64 KiB
            when it is written down.
    """

    exec_id: str
    spool_limit_bytes: int
    record: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A program to start, with everything decided.

    Attributes:
        marker: A value that every process of this exec carries in its
            environment, so that all of them can be found again. Unique among
            all execs of a sandbox: a running program is also addressed by it.
        exec_id: Its exec's, by which any instance of the service can reach it.
        instance: Which instance of the service runs it. Also carried by every
            process, so that what a crash left behind can be found.
        instance_address: Where other instances reach that one. Empty: nowhere.
        program: What to run. Source code has been written to `source_path`.
        stdin: Whether it has an input. A program with a terminal always has.
        pty: The size of its terminal. None: it has none, but two streams.
        durable: What is kept of it in the sandbox. None: nothing.
        language: How to run source code. None for other programs.
        backstop: When the backend itself should kill the program, should
            this service not be there to do it. None: never.
    """

    marker: str
    program: Program
    cwd: str
    env: Mapping[str, str] = field(repr=False)
    user: str
    stdin: bool
    backstop: timedelta | None
    language: Language | None = None
    source_path: str = ""
    exec_id: str = ""
    instance: str = ""
    instance_address: str = ""
    pty: PtySize | None = None
    durable: Durable | None = None


@dataclass(frozen=True, slots=True)
class ProcessOutput:
    """Bytes that a process wrote."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class ProcessGap:
    """Output of a stream may be missing here. How much, nobody knows.

    Attributes:
        spool_limit: It is missing because the spool holds no more; otherwise
            because contact was lost.
    """

    stream: Stream
    spool_limit: bool = False


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """How a process ended.

    Attributes:
        exit_code: None when a signal ended it.
        signal: The signal's name without SIG, or empty.
        output_still_open: Another process keeps its output open.
        drain_s: Seconds from its end until this was known.
        oom: It, or the child whose exit it passed on, was killed by KILL, and
            the sandbox's memory ran out while it ran. Never a guess.
    """

    exit_code: int | None
    signal: str
    output_still_open: bool = False
    drain_s: float = 0.0
    oom: bool = False


ProcessEvent = ProcessOutput | ProcessGap | ProcessEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundExec:
    """An exec that was started with `ProcessSpec.durable`, found in its sandbox.

    Attributes:
        record: What its starter gave.
        instance: Which instance of the service started it.
        spool_limit_bytes: 0: nothing of its output is kept.
        alive: Whether its program runs.
        restarted: Its sandbox has been started anew since, so it cannot be alive.
        end: How it ended. None while it is alive, and when nobody knows: the
            program was killed, or replaced its supervisor, or `restarted`.
        end_time: None when `end` is.
        stdout_bytes, stderr_bytes: How much of each stream the spool holds.
        usage: What it used. None while it is alive or when not known.
        handle: What the provider needs to adopt it. Opaque.
    """

    exec_id: str
    record: Mapping[str, object]
    instance: str
    spool_limit_bytes: int
    pid: int
    start_time: datetime
    alive: bool
    restarted: bool = False
    end: ProcessEnd | None = None
    end_time: datetime | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    usage: ProcessUsage | None = None
    handle: Mapping[str, str] = field(default_factory=dict, repr=False)


class ProcessHandle(Protocol):
    """A program that runs in a sandbox, as whoever acts on it sees it."""

    @property
    def pid(self) -> int:
        """Its process id inside the sandbox; also its process group."""
        ...

    @property
    def has_terminal(self) -> bool:
        """Whether it has a terminal; else it has pipes."""
        ...

    @property
    def instance_address(self) -> str:
        """Where the instance that reads it is reached: host:port. Empty: not known."""
        ...

    async def write_stdin(self, data: bytes) -> None:
        """Write to the program or its terminal, waiting until it has room.

        Not for a program whose input is counted; see `Process.counts_input`.

        Raises:
            InputClosedError: It has ended, or has no input any more.
        """
        ...

    async def close_stdin(self) -> None:
        """End the program's input; on a terminal, type the end of input."""
        ...

    async def signal(self, name: str) -> bool:
        """Send a signal to all of its processes.

        Args:
            name: Without SIG, such as INT.

        Returns:
            False when none of them is left.
        """
        ...

    async def resize(self, size: PtySize) -> None:
        """Change the size of its terminal. Nothing happens when it has ended."""
        ...

    async def kill(self, grace: timedelta) -> Sequence[int]:
        """End the whole tree: TERM, then KILL after `grace`.

        Returns:
            The ids of its processes that are still there.
        """
        ...


class Process(ProcessHandle, Protocol):
    """A program that runs in a sandbox, as its one reader sees it."""

    @property
    def counts_input(self) -> bool:
        """Whether its sandbox counts what it is given: a durable program's does.

        Such a program is given its input by `put_input` alone.
        """
        ...

    async def put_input(self, offset: int, data: bytes, *, end: bool) -> int:
        """Give a program what of `data` it has not been given before, by whomever.

        Repeating a call never repeats a byte, whatever became of the first one.
        It waits while the program does not read. What was given can be asked
        for when the program has ended, too.

        Args:
            offset: How many bytes of input come before `data`.
            end: Whether nothing comes after it. It is sent once, and where
                more was given than `data`, not at all.

        Returns:
            How many bytes it has been given in all. Less than `offset`: bytes
            before it are missing, and nothing was done.

        Raises:
            InputClosedError: It has ended, or has no input any more.
            DiskFullError: The sandbox has no room for it; part of it may be given.
            BackendUnavailableError: Contact was lost; it may have been given.
            SandboxEndedError: The sandbox is gone.
        """
        ...

    def events(self) -> AsyncIterator[ProcessEvent]:
        """Yield output as it is written, and last how the process ended.

        Not asking for the next event makes the program wait, once the pipes
        between are full.

        Raises:
            SandboxEndedError: The sandbox is gone.
            BackendUnavailableError: Contact was lost; the program may still
                run. `reconnect`, and ask for `events` again.
            ExecLostError: It has ended, and nobody knows how.
        """
        ...

    async def reconnect(self, position: Position) -> None:
        """Make contact anew after `events` raised BackendUnavailableError.

        Afterwards `events` can be asked for again. A durable program's output
        goes on exactly behind `position`, as far as the spool holds it. Any
        other begins with a ProcessGap per stream, and what was written
        meanwhile is lost.

        Args:
            position: How much of each stream was taken from `events` so far.

        Raises:
            BackendUnavailableError: Still no contact. Try again later.
            SandboxEndedError: The sandbox is gone.
            ExecLostError: It has ended, and nobody knows how.
        """
        ...

    def usage(self) -> ProcessUsage | None:
        """Return what it used, once it has ended. None: not known."""
        ...

    async def aclose(self) -> None:
        """Stop reading. The program goes on."""
        ...
