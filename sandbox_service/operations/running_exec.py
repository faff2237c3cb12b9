"""One exec from start to end: it drains the program into a journal and knows why it ended.

Draining is a task of its own. A reader that comes, goes, or is slow changes
nothing for it but the room in the journal.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from sandbox_service.domain.errors import BackendUnavailableError, SandboxEndedError, SandboxError
from sandbox_service.domain.execs import (
    Argv,
    Cause,
    ExecSpec,
    ExecSummary,
    Exited,
    Fault,
    OnOutputLimit,
    OutputCount,
    Phases,
    Program,
    ShellCommand,
    SourceCode,
    Started,
    Stream,
)
from sandbox_service.domain.ports import Clock, Process, ProcessEnd, ProcessOutput
from sandbox_service.operations.journal import Journal
from sandbox_service.telemetry.metrics import Metrics

_END_AFTER_KILL_S: Final = 5.0
"""How long the backend may take to report the end of a program that was killed."""

_SHOWN: Final = 256

_FAULTS: Final = {
    Cause.EXIT: Fault.USER,
    Cause.SIGNAL: Fault.USER,
    Cause.TIMEOUT: Fault.USER,
    Cause.OUTPUT_LIMIT: Fault.USER,
    Cause.CANCELLED: Fault.CALLER,
    Cause.SANDBOX_LOST: Fault.INFRA,
    Cause.BACKEND: Fault.INFRA,
}

_MESSAGES: Final = {
    Cause.SIGNAL: "A signal ended the program.",
    Cause.TIMEOUT: "The program ran longer than it may, and was killed.",
    Cause.OUTPUT_LIMIT: "The program wrote more than it may, and was killed.",
    Cause.CANCELLED: "The program was ended because its caller left or ended the sandbox.",
    Cause.SANDBOX_LOST: "The sandbox ended under the program.",
    Cause.BACKEND: "Contact with the backend was lost; what became of the program is not known.",
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """What an exec runs with, after defaults and clamping.

    Attributes:
        timeout: From start to kill.
        timeout_clamped: Whether more was asked for than the lifetime leaves.
    """

    exec_id: str
    timeout: timedelta
    timeout_clamped: bool
    kill_grace: timedelta
    heartbeat_interval: timedelta


class RunningExec:
    """An exec whose program has been started.

    Args:
        process: The program.
        spec: What was asked for.
        effective: What it runs with.
        journal: Where its output goes.
        queued_s: Seconds from the call to the request to the backend.
        started_s: Seconds from there until the program ran.
        on_end: Told once how it ended.
    """

    def __init__(
        self,
        process: Process,
        spec: ExecSpec,
        effective: Effective,
        journal: Journal,
        *,
        clock: Clock,
        metrics: Metrics,
        queued_s: float,
        started_s: float,
        on_end: Callable[[RunningExec], None],
    ) -> None:
        self.effective = effective
        self.journal = journal
        self.start_time: datetime = clock.now()
        self.exited: Exited | None = None
        self._process = process
        self._spec = spec
        self._clock = clock
        self._metrics = metrics
        self._queued_s = queued_s
        self._started_s = started_s
        self._on_end = on_end
        self._began = time.monotonic()
        self._first_byte_s: float | None = None
        self._stop_cause: Cause | None = None
        self._survivors: tuple[int, ...] = ()
        self._truncated = False
        self._produced = dict.fromkeys(Stream, 0)
        self._kept = dict.fromkeys(Stream, 0)
        self._killer: asyncio.Task[None] | None = None
        self._lost_cause = Cause.SANDBOX_LOST
        self._timer = self._armed(effective.timeout)
        self._reading = asyncio.create_task(self._read())
        self._running = asyncio.create_task(self._run())

    @property
    def started(self) -> Started:
        """The event that opens the stream."""
        it = self.effective
        return Started(
            exec_id=it.exec_id,
            pid=self._process.pid,
            start_time=self.start_time,
            timeout=it.timeout,
            timeout_clamped=it.timeout_clamped,
            kill_grace=it.kill_grace,
            heartbeat_interval=it.heartbeat_interval,
            journal_bytes=self.journal.limit,
            spec=self._spec,
        )

    @property
    def summary(self) -> ExecSummary:
        """What to say of it in a list."""
        return ExecSummary(
            exec_id=self.effective.exec_id,
            program=_shown(self._spec.program),
            pid=self._process.pid,
            start_time=self.start_time,
            stdout_bytes=self._produced[Stream.STDOUT] + self._produced[Stream.PTY],
            stderr_bytes=self._produced[Stream.STDERR],
        )

    def stop(self, cause: Cause) -> None:
        """End the program and all it started, because of `cause`. The first cause stays."""
        if self._stop_cause is not None or self.exited is not None:
            return
        self._stop_cause = cause
        # Whoever waits for room would otherwise wait for a reader that left.
        if cause is Cause.CANCELLED:
            self.journal.discard()
        self._killer = asyncio.create_task(self._kill())

    def lifetime_extended(self, left: timedelta) -> None:
        """Let the program run on, if only the sandbox's lifetime limited it.

        Args:
            left: The sandbox's lifetime from now.
        """
        if self._stop_cause is not None or self.exited is not None:
            return
        wanted = self._spec.timeout
        if wanted is not None:
            ran = timedelta(seconds=time.monotonic() - self._began)
            if not self.effective.timeout_clamped:
                return
            left = min(left, wanted - ran)
        self._timer.cancel()
        self._timer = self._armed(left)

    def expect_loss(self) -> None:
        """Note that a caller is about to end the sandbox, and the program with it."""
        self._lost_cause = Cause.CANCELLED

    async def wait(self) -> Exited:
        """Wait until it has ended."""
        await asyncio.shield(self._running)
        if self.exited is None:
            raise RuntimeError("an exec ended without saying how")
        return self.exited

    def _armed(self, timeout: timedelta) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(
            timeout.total_seconds(), self.stop, Cause.TIMEOUT
        )

    async def _kill(self) -> None:
        """Kill the tree; give up on the backend's report of its end if that does not come."""
        try:
            self._survivors = tuple(await self._process.kill(self.effective.kill_grace))
        except SandboxEndedError:
            # Then there is nothing left to kill.
            pass
        except SandboxError as error:
            _log.warning("exec.kill_failed", exec_id=self.effective.exec_id, reason=error.reason)
        finally:
            await self._give_up_reading()

    async def _give_up_reading(self) -> None:
        """Wait for the end that the backend reports after a kill; not for ever."""
        while not self._reading.done():
            await asyncio.wait({self._reading}, timeout=_END_AFTER_KILL_S)
            # While a reader takes its time over what was written, so do we.
            if not self.journal.full:
                self._reading.cancel()
                return

    async def _run(self) -> None:
        writer = None
        if self._spec.stdin is not None:
            writer = asyncio.create_task(self._write_stdin(self._spec.stdin))
        try:
            exited = await self._outcome()
            if self._killer is not None:
                await self._killer
                exited = replace(exited, survivors=self._survivors)
        finally:
            self._timer.cancel()
            if writer is not None:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
            await self._process.aclose()
        self.exited = exited
        self._metrics.execs_ended.labels(exited.cause.value, exited.fault.value).inc()
        self.journal.close()
        self._on_end(self)

    async def _outcome(self) -> Exited:
        try:
            return self._ended(await self._reading)
        except SandboxEndedError:
            return self._exited(self._lost_cause)
        except SandboxError as error:
            _log.warning("exec.contact_lost", exec_id=self.effective.exec_id, reason=error.reason)
            self.stop(Cause.BACKEND)
            return self._exited(Cause.BACKEND)
        except asyncio.CancelledError:
            # Either this exec's own killer gave up, or the process ends.
            if self._stop_cause is None or not self._reading.cancelled():
                raise
            return self._ended(None)

    async def _read(self) -> ProcessEnd:
        async for event in self._process.events():
            if isinstance(event, ProcessEnd):
                return event
            await self._take(event)
        raise BackendUnavailableError("The backend ended the stream early.")

    async def _take(self, output: ProcessOutput) -> None:
        """Count a piece of output and keep as much of it as the limit allows."""
        if self._first_byte_s is None:
            self._first_byte_s = time.monotonic() - self._began
        stream, data = output.stream, output.data
        self._produced[stream] += len(data)
        self._metrics.exec_output_bytes.labels(stream.name.lower()).inc(len(data))
        limit = self._spec.output_limit_bytes
        if limit is not None:
            left = limit - sum(self._kept.values())
            if len(data) > left:
                data = data[:left]
                self._truncated = True
        if data:
            self._kept[stream] += len(data)
            await self.journal.write(stream, data)
        if self._truncated and self._spec.on_output_limit is OnOutputLimit.KILL:
            self.stop(Cause.OUTPUT_LIMIT)

    async def _write_stdin(self, data: bytes) -> None:
        """Write the program's input beside reading its output, for it may wait for either."""
        try:
            if data:
                await self._process.write_stdin(data)
            await self._process.close_stdin()
        except SandboxError:
            # A program may end, or close its input, without having read it all.
            return

    def _ended(self, end: ProcessEnd | None) -> Exited:
        """Say how it ended. None: it was killed, and the backend never reported its end."""
        if end is None:
            end = ProcessEnd(None, "")
        cause = self._stop_cause or (Cause.SIGNAL if end.signal else Cause.EXIT)
        return self._exited(cause, end)

    def _exited(self, cause: Cause, end: ProcessEnd | None = None) -> Exited:
        well = cause is Cause.EXIT and end is not None and end.exit_code == 0
        ran = time.monotonic() - self._began
        drained = 0.0 if end is None else end.drain_s
        return Exited(
            exec_id=self.effective.exec_id,
            cause=cause,
            fault=Fault.NONE if well else _FAULTS[cause],
            exit_code=None if end is None else end.exit_code,
            signal="" if end is None else end.signal,
            output_still_open=end is not None and end.output_still_open,
            truncated=self._truncated,
            message=_MESSAGES.get(cause, ""),
            end_time=self._clock.now(),
            stdout=self._count(Stream.STDOUT),
            stderr=self._count(Stream.STDERR),
            phases=Phases(
                queued=self._queued_s,
                started=self._started_s,
                first_byte=self._first_byte_s,
                ran=ran - drained,
                drained=drained,
            ),
        )

    def _count(self, stream: Stream) -> OutputCount:
        return OutputCount(self._produced[stream], self._kept[stream])


def _shown(program: Program) -> str:
    """Return the beginning of a program, for people who look at a list."""
    match program:
        case ShellCommand(line):
            text = line
        case Argv(args):
            text = shlex.join(args)
        case SourceCode(language, code):
            text = f"{language}: {code[:_SHOWN].decode(errors='replace')}"
    return text[:_SHOWN]
