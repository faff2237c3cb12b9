"""Execs: programs in a sandbox, what they write and how they end."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sandbox_service.domain.artifacts import ExecArtifacts
from sandbox_service.domain.policy import UNCHECKED, Verdict


class Stream(enum.IntEnum):
    """Where output was written."""

    STDOUT = 1
    STDERR = 2
    PTY = 3


NO_BYTES: Final[Mapping[Stream, int]] = dict.fromkeys(Stream, 0)
"""Nothing of any stream: to be copied, for going through an enum takes long."""


class Cause(enum.StrEnum):
    """What ended an exec. Never one that was not observed."""

    EXIT = "exit"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    OOM = "oom"
    CANCELLED = "cancelled"
    OUTPUT_LIMIT = "output_limit"
    SANDBOX_LOST = "sandbox_lost"
    BACKEND = "backend"


class Fault(enum.StrEnum):
    """Who is responsible for how an exec ended. NONE when nothing went wrong."""

    NONE = "none"
    USER = "user"
    CALLER = "caller"
    POLICY = "policy"
    INFRA = "infra"


class OnOutputLimit(enum.StrEnum):
    """What happens when a program has written as much as it may."""

    TRUNCATE = "truncate"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class PtySize:
    """The size of a terminal, in characters."""

    cols: int
    rows: int


class Retention(enum.StrEnum):
    """What it means for an exec that nobody reads it."""

    ATTACHED = "attached"
    DETACHED = "detached"
    DURABLE = "durable"


class GapCause(enum.StrEnum):
    """Why output is missing."""

    EVICTED = "evicted"
    DISCONNECTED = "disconnected"
    SPOOL_LIMIT = "spool_limit"


class ExecState(enum.StrEnum):
    """Where an exec is in its life."""

    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """A line for `bash -l`."""

    line: str


@dataclass(frozen=True, slots=True)
class Argv:
    """A program and its arguments. No shell reads them."""

    args: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceCode:
    """Source code, run by its language's program from a file in the sandbox."""

    language: str
    code: bytes
    args: tuple[str, ...] = ()


Program = ShellCommand | Argv | SourceCode


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    """What to run.

    Attributes:
        exec_id: Chosen by the caller. Empty: the service chooses.
        request_digests: SHA-256 of each field that the caller sent with an
            `exec_id`, by name: what "the same exec" means.
        cwd: Absolute. Empty: the user's home.
        user: Empty: the template's default user.
        timeout: From start to kill. None: until the lifetime ends.
        stdin: The first bytes of its input. None: no input, unless more is to come.
        stdin_open: More input comes later; else its end follows `stdin`.
        pty: The size of its terminal. None: it has none.
        retention: What it means that nobody reads it.
        reader_grace: How long an ATTACHED exec lives on without a reader.
        kill_grace: Between TERM and KILL. None: the service's default.
        output_limit_bytes: For both streams together. None: no limit.
        block: When nobody reads, the program waits; else the oldest output goes.
        spool_limit_bytes: How many of the first bytes of each stream a DURABLE
            exec keeps in the sandbox. None: the service's default.
        reconnect_limit: How long the backend may be out of reach. None: the
            service's default.
        artifact_globs: Of the files to tell of at its end, relative to `cwd`.
        verdict: What the code policy says. None: it has not been asked yet.
    """

    program: Program
    exec_id: str = ""
    request_digests: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str = ""
    timeout: timedelta | None = None
    stdin: bytes | None = field(default=None, repr=False)
    stdin_open: bool = False
    pty: PtySize | None = None
    retention: Retention = Retention.ATTACHED
    reader_grace: timedelta = timedelta(0)
    kill_grace: timedelta | None = None
    output_limit_bytes: int | None = None
    on_output_limit: OnOutputLimit = OnOutputLimit.TRUNCATE
    block: bool = True
    heartbeat_interval: timedelta | None = None
    spool_limit_bytes: int | None = None
    reconnect_limit: timedelta | None = None
    artifact_globs: tuple[str, ...] = ()
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader has come: bytes of each stream. A PTY counts as stdout."""

    stdout_offset: int = 0
    stderr_offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The program runs, with these effective values.

    Attributes:
        pid: Its process id inside the sandbox.
        reused: An earlier call started it; this one reads along.
        cwd, user: As they were asked for.
        timeout: When it will be killed, counted from the start.
        timeout_clamped: More was asked for than the lifetime leaves.
        journal_bytes: How many of the last bytes of output are kept.
        spool_limit_bytes: Set with DURABLE only.
        instance: Where other instances reach the one that holds the output.
        verdict: What the code policy said of its program.
    """

    exec_id: str
    pid: int
    start_time: datetime
    reused: bool = False
    cwd: str
    user: str
    timeout: timedelta
    timeout_clamped: bool
    retention: Retention
    reader_grace: timedelta
    kill_grace: timedelta
    block: bool
    journal_bytes: int
    spool_limit_bytes: int | None
    output_limit_bytes: int | None
    on_output_limit: OnOutputLimit
    pty: PtySize | None
    heartbeat_interval: timedelta
    reconnect_limit: timedelta
    instance: str = ""
    verdict: Verdict = UNCHECKED


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that the program wrote.

    Attributes:
        stream: Where it wrote them.
        data: The bytes, split at no particular boundary.
        offset: Of the first byte, within its stream.
    """

    stream: Stream
    data: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The exec is alive and has written nothing new.

    Attributes:
        disconnect_time: Since when the backend cannot be reached. None: it can.
    """

    disconnect_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Output that this reader will not see.

    Attributes:
        stream: Whose.
        offset: Of the first missing byte.
        size: How many are missing. None: nobody knows; offsets go on without them.
        cause: Why.
    """

    stream: Stream
    offset: int
    size: int | None
    cause: GapCause = GapCause.EVICTED


@dataclass(frozen=True, slots=True)
class OutputCount:
    """Bytes of one stream: written by the program, and kept for its readers."""

    produced_bytes: int = 0
    delivered_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """What a program's processes used. None: not known.

    Attributes:
        cpu_time: In user and kernel mode.
        max_resident_bytes: The most that one process held. A bash cannot ask what
            its children held, so the supervisor does not tell.
    """

    cpu_time: timedelta | None = None
    max_resident_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Where an exec's time went, in seconds of wall time.

    Attributes:
        queued: From the call to the request to the backend.
        started: From there until the program ran.
        first_byte: From there until its first output. None when it wrote none.
        ran: From start to end.
        drained: From the program's end until all output was read.
        artifacts: How long artifacts were looked for. None: they were not.
    """

    queued: float = 0.0
    started: float = 0.0
    first_byte: float | None = None
    ran: float = 0.0
    drained: float = 0.0
    artifacts: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """How an exec ended. Always the last event.

    Attributes:
        exit_code: The program's. None when it did not exit.
        signal: The signal's name without SIG. Empty when there was none.
        output_still_open: The program ended while another process kept its
            output open; what that one writes is not read.
        truncated: The output limit was reached and more was written.
        survivors: Process ids of this exec that outlived its kill.
        message: One sentence for people, when the cause is not an exit.
        counts: What became of each stream that the program had.
        usage: None: the backend does not tell.
        artifacts: What appeared where its globs look. None: it has none.
    """

    exec_id: str
    cause: Cause
    fault: Fault
    exit_code: int | None = None
    signal: str = ""
    output_still_open: bool = False
    truncated: bool = False
    survivors: tuple[int, ...] = ()
    message: str = ""
    end_time: datetime
    counts: Mapping[Stream, OutputCount]
    phases: Phases = field(default_factory=Phases)
    usage: ProcessUsage | None = None
    artifacts: ExecArtifacts | None = None

    @property
    def produced_bytes(self) -> int:
        """All that the program wrote."""
        return sum(count.produced_bytes for count in self.counts.values())


ExecEvent = Started | Output | Heartbeat | Gap | Exited


@dataclass(frozen=True, slots=True)
class Positioned:
    """An event with the reader's position after it.

    Attributes:
        seq: Orders the events of one journal, also those of different readers.
    """

    event: ExecEvent
    position: Position
    time: datetime
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSummary:
    """An exec at a glance.

    Attributes:
        program: What it runs, shortened for people.
        readers: How many it has now.
        exited: Its result. Set in the state EXITED only.
    """

    exec_id: str
    state: ExecState
    program: str
    pid: int
    start_time: datetime
    retention: Retention
    pty: bool
    position: Position
    readers: int = 0
    exited: Exited | None = None
