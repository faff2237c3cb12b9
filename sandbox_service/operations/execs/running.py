"""One exec from start to end: it drains the program into a journal and knows why it ended.

Draining is a task of its own. A reader that comes, goes, or is slow changes
nothing for it but the room in the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from sandbox_service.domain.errors import (
    BackendUnavailableError,
    DrainingError,
    SandboxEndedError,
    SandboxError,
)
from sandbox_service.domain.exec_errors import ExecNotRunningError, NotATerminalError
from sandbox_service.domain.execs import (
    Cause,
    ExecSpec,
    ExecState,
    ExecSummary,
    Exited,
    GapCause,
    OnOutputLimit,
    PtySize,
    Retention,
)
from sandbox_service.domain.ports import Clock
from sandbox_service.domain.processes import Process, ProcessEnd, ProcessGap, ProcessOutput
from sandbox_service.operations.execs.input import ExecInput
from sandbox_service.operations.execs.journal import Journal
from sandbox_service.operations.execs.readers import Readers, comes_back
from sandbox_service.operations.execs.reconnecting import reconnected
from sandbox_service.operations.execs.result import ExecResult, observed, shown
from sandbox_service.operations.execs.spool import Spool
from sandbox_service.operations.execs.stop import ExecStop
from sandbox_service.operations.execs.terms import Effective, started_event
from sandbox_service.telemetry.metrics import Metrics

_LAST_WORDS_S: Final = 2.0
"""How long the stream of a sandbox that is gone may take to say so itself."""

_log = structlog.get_logger(__name__)


async def _never_gone() -> bool:
    return False


class RunningExec:
    """An exec whose program has been started.

    Args:
        process: The program.
        spec: What was asked for.
        effective: What it runs with.
        journal: Where its output goes.
        result: Where it is counted and timed.
        start_time: When it started.
        end_time: When it ended, if that was before it was adopted.
        alive: Whether it ran when it was started or adopted.
        metrics: Where its end is counted.
        on_end: Told once how it ended.
        is_gone: Asks whether the sandbox is gone.
        spool: What its sandbox keeps of its output. None: nothing.
        complete: Adds to its result what can be told only when it has ended.

    Attributes:
        started: The event that opens the stream.
        digests: What its caller sent, by field.
        readers: Who reads it.
        input: What its program reads.
        disconnect_time: Since when the backend cannot be reached. None: it can.
        exited: How it ended. None while it runs.
    """

    def __init__(
        self,
        process: Process,
        spec: ExecSpec,
        effective: Effective,
        journal: Journal,
        result: ExecResult,
        *,
        start_time: datetime,
        end_time: datetime | None = None,
        alive: bool = True,
        clock: Clock,
        metrics: Metrics,
        on_end: Callable[[RunningExec], None],
        is_gone: Callable[[], Awaitable[bool]] = _never_gone,
        spool: Spool | None = None,
        complete: Callable[[Exited], Awaitable[Exited]] | None = None,
    ) -> None:
        self.started = started_event(spec, effective, process.pid, start_time, journal.limit)
        self.digests = spec.request_digests
        self.journal = journal
        self.spool = spool
        self.disconnect_time: datetime | None = None
        self.exited: Exited | None = None
        self.input = ExecInput(process, effective.exec_id, spec)
        self.readers = Readers(
            journal,
            spec.reader_grace if spec.retention is Retention.ATTACHED else None,
            pty=spec.pty is not None,
            keep=comes_back(spec),
            on_absence=self._abandoned,
        )
        self._process: Process | None = process
        self._program = shown(spec.program)
        self._wanted_timeout = spec.timeout
        self._result = result
        self._clock = clock
        self._metrics = metrics
        self._on_end = on_end
        self._is_gone = is_gone
        self._complete = complete
        self._stop = ExecStop(
            effective.exec_id,
            effective.kill_grace,
            journal,
            result,
            lambda: self.disconnect_time is not None,
        )
        self._signals: set[str] = set()
        self._lost_cause = Cause.SANDBOX_LOST
        self._lost = False
        self._loss_timer: asyncio.TimerHandle | None = None
        self._end_time = end_time
        self._timer: asyncio.TimerHandle | None = None
        if alive:
            self._arm(effective.timeout - timedelta(seconds=result.ran_s))
        self._over: asyncio.Future[Exited] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(process))
        self._running = asyncio.create_task(self._run(process))
        self._running.add_done_callback(self._settle)

    @property
    def exec_id(self) -> str:
        """Its id, unique in its sandbox."""
        return self.started.exec_id

    @property
    def durable(self) -> bool:
        """Whether any instance can serve it."""
        return self.started.retention is Retention.DURABLE

    @property
    def summary(self) -> ExecSummary:
        """What to say of it in a list."""
        return ExecSummary(
            exec_id=self.exec_id,
            state=ExecState.RUNNING if self.exited is None else ExecState.EXITED,
            program=self._program,
            pid=self.started.pid,
            start_time=self.started.start_time,
            retention=self.started.retention,
            pty=self.started.pty is not None,
            position=self.journal.position,
            readers=self.readers.count,
            exited=self.exited,
        )

    def stop(self, cause: Cause, message: str = "") -> None:
        """End the program and all it started, because of `cause`. The first cause stays."""
        if self._stop.cause is not None or self._process is None:
            return
        # The end of its output would otherwise wait for somebody to read it.
        self.readers.expect_no_more()
        self._stop.begin(cause, message, self._process, self._reading)

    async def signal(self, name: str) -> bool:
        """Send a signal to all of its processes. Returns False when it has ended.

        Args:
            name: Without SIG.
        """
        if self._process is None:
            return False
        self._signals.add(name)
        return await self._process.signal(name)

    async def resize(self, size: PtySize) -> None:
        """Change the size of its terminal.

        Raises:
            NotATerminalError: It has none.
            ExecNotRunningError: It has ended.
        """
        data = {"exec_id": self.exec_id}
        if self.started.pty is None:
            raise NotATerminalError(
                f"The exec {self.exec_id!r} has no terminal. Start it with one.", metadata=data
            )
        if self._process is None:
            raise ExecNotRunningError(
                f"The exec {self.exec_id!r} has ended. Read its result with Attach.", metadata=data
            )
        await self._process.resize(size)
        self.started = replace(self.started, pty=size)

    def lifetime_extended(self, left: timedelta) -> None:
        """Let the program run on, if only the sandbox's lifetime limited it.

        Args:
            left: The sandbox's lifetime from now.
        """
        if self._stop.cause is not None or self._process is None:
            return
        wanted = self._wanted_timeout
        if wanted is not None:
            if not self.started.timeout_clamped:
                return
            left = min(left, wanted - timedelta(seconds=self._result.ran_s))
        self._arm(left)

    def expect_loss(self) -> None:
        """Note that a caller is about to end the sandbox, and the program with it."""
        self._lost_cause = Cause.CANCELLED

    def sandbox_gone(self) -> None:
        """Note that the sandbox has ended: its stream has a moment to say so itself."""
        if self._loss_timer is None and self._process is not None:
            loop = asyncio.get_running_loop()
            self._loss_timer = loop.call_later(_LAST_WORDS_S, self._lose)

    def let_go(self) -> None:
        """Stop following the program, which goes on; nothing is told of its end."""
        self.readers.dismiss()
        self.input.let_go()
        self._running.cancel()
        self._reading.cancel()

    async def wait(self) -> Exited:
        """Wait until it has ended."""
        try:
            return await asyncio.shield(self._over)
        except asyncio.CancelledError:
            if self._over.cancelled():
                raise DrainingError(
                    "This instance is shutting down, and the exec goes on. Attach again."
                ) from None
            raise

    async def closed(self) -> None:
        """Wait until it has ended and let go of its program, or was let go."""
        await asyncio.wait([self._running])

    def _abandoned(self) -> None:
        """End it, for nobody has read it for as long as it may live without."""
        self.readers.expect_no_more()
        self.stop(Cause.CANCELLED)

    def _lose(self) -> None:
        self._lost = True
        self._reading.cancel()

    def _arm(self, timeout: timedelta | None) -> None:
        """Let it run for so long from now. None: nothing limits it any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if timeout is not None:
            seconds = max(timeout.total_seconds(), 0.0)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self.stop, Cause.TIMEOUT)

    async def _run(self, process: Process) -> None:
        try:
            exited = await self._end(process)
            if self._complete is not None:
                exited = await self._complete(exited)
            self.exited = exited
            self._over.set_result(exited)
            self._metrics.execs_ended.labels(exited.cause.value, exited.fault.value).inc()
            self.journal.close()
            self._on_end(self)
        finally:
            # Nobody who waits for the result waits for this.
            await process.aclose()

    async def _end(self, process: Process) -> Exited:
        """Wait for the end of the program and of what ends it, and say how it ended."""
        try:
            exited = await self._outcome(process)
            await self._stop.finished()
            return replace(exited, survivors=self._stop.survivors)
        finally:
            self._arm(None)
            if self._loss_timer is not None:
                self._loss_timer.cancel()
            self.input.close()
            self.readers.close()
            # It knows its program and environment, and this may be kept for long.
            self._process = None

    def _settle(self, running: asyncio.Task[None]) -> None:
        """Tell who waits for an end that nothing will say any more."""
        if self._over.done():
            return
        error = None if running.cancelled() else running.exception()
        if error is None:
            self._over.cancel()
        else:
            self._over.set_exception(error)

    async def _outcome(self, process: Process) -> Exited:
        try:
            return self._ended(await self._reading, process)
        except SandboxEndedError:
            return self._result.exited(self._lost_cause, self._clock.now())
        except SandboxError as error:
            _log.warning("exec.contact_lost", exec_id=self.exec_id, reason=error.reason)
            self.stop(Cause.BACKEND)
            return self._result.exited(Cause.BACKEND, self._clock.now())
        except asyncio.CancelledError:
            if self._lost:
                return self._result.exited(self._lost_cause, self._clock.now())
            # Either this exec's own killer gave up, or the process ends.
            if self._stop.cause is None or not self._reading.cancelled():
                raise
            return self._ended(None, process)

    async def _read(self, process: Process) -> ProcessEnd:
        while True:
            try:
                async for event in process.events():
                    if isinstance(event, ProcessEnd):
                        return event
                    if isinstance(event, ProcessGap):
                        limited = event.spool_limit
                        cause = GapCause.SPOOL_LIMIT if limited else GapCause.DISCONNECTED
                        self.journal.hole(event.stream, cause)
                    else:
                        await self._take(event)
                lost = BackendUnavailableError("The backend ended the stream early.")
            except BackendUnavailableError as error:
                lost = error
            await self._reconnect(process, lost)

    async def _reconnect(self, process: Process, lost: BackendUnavailableError) -> None:
        """Make contact anew, or raise `lost` when that takes too long."""
        self.disconnect_time = self._clock.now()
        self.journal.nudge()
        _log.info("exec.reconnecting", exec_id=self.exec_id, cause=str(lost))
        limit_s = self.started.reconnect_limit.total_seconds()
        try:
            if not await reconnected(process, self._result, limit_s, self._is_gone):
                raise lost
        finally:
            self.disconnect_time = None
            self.journal.nudge()

    async def _take(self, output: ProcessOutput) -> None:
        """Keep a piece of output, as much as the limit allows."""
        data = self._result.take(output)
        if data:
            await self.journal.write(output.stream, data)
        if self._result.truncated and self.started.on_output_limit is OnOutputLimit.KILL:
            self.stop(Cause.OUTPUT_LIMIT)

    def _ended(self, end: ProcessEnd | None, process: Process) -> Exited:
        """Say how it ended. None: it was killed, and the backend never reported its end."""
        if end is None:
            end = ProcessEnd(None, "")
        cause = self._stop.cause or observed(end, self._signals)
        now, message = self._end_time or self._clock.now(), self._stop.message
        return self._result.exited(cause, now, end, process.usage(), message)
