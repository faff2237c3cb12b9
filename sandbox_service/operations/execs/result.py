"""What is counted and timed while an exec runs, and the result that comes of it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sandbox_service.domain.execs import (
    NO_BYTES,
    Argv,
    Cause,
    ExecSpec,
    Exited,
    Fault,
    OutputCount,
    Phases,
    Position,
    ProcessUsage,
    Program,
    ShellCommand,
    SourceCode,
    Stream,
)
from sandbox_service.domain.processes import ProcessEnd, ProcessOutput
from sandbox_service.telemetry.metrics import Metrics

_SHOWN: Final = 256
_KILLED: Final = 128 + 9
_SURVIVORS_MAX: Final = 64

_FAULTS: Final = {
    Cause.EXIT: Fault.USER,
    Cause.SIGNAL: Fault.USER,
    Cause.TIMEOUT: Fault.USER,
    Cause.OOM: Fault.USER,
    Cause.OUTPUT_LIMIT: Fault.USER,
    Cause.CANCELLED: Fault.CALLER,
    Cause.SANDBOX_LOST: Fault.INFRA,
    Cause.BACKEND: Fault.INFRA,
}

_MESSAGES: Final = {
    Cause.SIGNAL: "A signal ended the program.",
    Cause.TIMEOUT: "The program ran longer than it may, and was killed.",
    Cause.OOM: "The sandbox ran out of memory, and the program was killed for it.",
    Cause.OUTPUT_LIMIT: "The program wrote more than it may, and was killed.",
    Cause.CANCELLED: "The program was ended because its caller left, or ended it or the sandbox.",
    Cause.SANDBOX_LOST: "The sandbox ended under the program.",
    Cause.BACKEND: "Contact with the backend was lost; what became of the program is not known.",
}

TERMINAL: Final = (Stream.PTY,)
PIPES: Final = (Stream.STDOUT, Stream.STDERR)


class ExecResult:
    """What comes of one exec.

    Args:
        exec_id: Whose.
        spec: How much it may write, and whether it has a terminal.
        metrics: Where its output is counted.
        queued_s: Seconds from the call to the request to the backend.
        started_s: Seconds from there until the program ran.
        ran_s: Seconds that it has run already.

    Attributes:
        truncated: More was written than may be.
    """

    def __init__(
        self,
        exec_id: str,
        spec: ExecSpec,
        metrics: Metrics,
        *,
        queued_s: float,
        started_s: float,
        ran_s: float = 0.0,
    ) -> None:
        self.truncated = False
        self._exec_id = exec_id
        self._limit = spec.output_limit_bytes
        self._streams: Sequence[Stream] = TERMINAL if spec.pty else PIPES
        # A look-up of labels takes longer than to count.
        self._output_bytes = {
            it: metrics.exec_output_bytes.labels(it.name.lower()) for it in self._streams
        }
        self._queued_s = queued_s
        self._started_s = started_s
        self._began = time.monotonic() - ran_s
        self._first_byte_s: float | None = None
        self._produced = dict(NO_BYTES)
        self._kept = dict(NO_BYTES)

    @property
    def ran_s(self) -> float:
        """Seconds since the program's start."""
        return time.monotonic() - self._began

    @property
    def produced(self) -> Position:
        """How much the program has written."""
        seen = self._produced
        return Position(seen[Stream.STDOUT] + seen[Stream.PTY], seen[Stream.STDERR])

    def begin_at(self, position: Position) -> None:
        """Count output that was read before as written and kept."""
        for counts in (self._produced, self._kept):
            counts[Stream.STDOUT] = position.stdout_offset
            counts[Stream.STDERR] = position.stderr_offset

    def take(self, output: ProcessOutput) -> bytes:
        """Count a piece of output; returns as much of it as the limit allows."""
        if self._first_byte_s is None:
            self._first_byte_s = self.ran_s
        stream, data = output.stream, output.data
        self._produced[stream] += len(data)
        self._output_bytes[stream].inc(len(data))
        if self._limit is not None:
            left = self._limit - sum(self._kept.values())
            if len(data) > left:
                data = data[:left]
                self.truncated = True
        self._kept[stream] += len(data)
        return data

    def exited(
        self,
        cause: Cause,
        end_time: datetime,
        end: ProcessEnd | None = None,
        usage: ProcessUsage | None = None,
        message: str = "",
    ) -> Exited:
        """Return how it ended. `end` None: the backend never reported it."""
        well = cause is Cause.EXIT and end is not None and end.exit_code == 0
        drained = 0.0 if end is None else end.drain_s
        return Exited(
            exec_id=self._exec_id,
            cause=cause,
            fault=Fault.NONE if well else _FAULTS[cause],
            exit_code=None if end is None else end.exit_code,
            signal="" if end is None else end.signal,
            output_still_open=end is not None and end.output_still_open,
            truncated=self.truncated,
            message=message or _MESSAGES.get(cause, ""),
            end_time=end_time,
            counts={
                stream: OutputCount(self._produced[stream], self._kept[stream])
                for stream in self._streams
            },
            phases=Phases(
                queued=self._queued_s,
                started=self._started_s,
                first_byte=self._first_byte_s,
                ran=max(self.ran_s - drained, 0.0),
                drained=drained,
            ),
            usage=usage,
        )


def observed(end: ProcessEnd, signals: Collection[str]) -> Cause:
    """Return why a program ended that this service did not end.

    Args:
        end: How it ended.
        signals: Which callers have sent it, without SIG.
    """
    if end.oom:
        return Cause.OOM
    if end.signal in signals:
        return Cause.CANCELLED
    if "KILL" in signals and end.exit_code == _KILLED:
        # A shell that dies of it too may still tell how its command ended.
        return Cause.CANCELLED
    return Cause.SIGNAL if end.signal else Cause.EXIT


def survivors(pids: Sequence[int]) -> tuple[int, ...]:
    """Return as many of the processes that outlived a kill as a result tells."""
    return tuple(pids[:_SURVIVORS_MAX])


def shown(program: Program) -> str:
    """Return the beginning of a program, for people who look at a list."""
    match program:
        case ShellCommand(line):
            text = line
        case Argv(args):
            text = shlex.join(args)
        case SourceCode(language, code):
            text = f"{language}: {code[:_SHOWN].decode(errors='replace')}"
    return text[:_SHOWN]
