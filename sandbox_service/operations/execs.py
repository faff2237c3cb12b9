"""Programs in sandboxes: started, followed, and ended with all they started."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from sandbox_service.domain import paths
from sandbox_service.domain.digests import differing
from sandbox_service.domain.errors import (
    DrainingError,
    ExecIdReusedError,
    TooManyExecsError,
)
from sandbox_service.domain.execs import (
    Cause,
    ExecSpec,
    ExecSummary,
    Exited,
    Heartbeat,
    Output,
    Positioned,
    SourceCode,
    Stream,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.ports import Catalogue, Clock, Process, ProcessSpec, SandboxProvider
from sandbox_service.domain.sandboxes import Language, SandboxRecord
from sandbox_service.operations.journal import Journal
from sandbox_service.operations.languages import language_of
from sandbox_service.operations.running_exec import Effective, RunningExec
from sandbox_service.telemetry.metrics import Metrics

_BACKSTOP = timedelta(seconds=30)
"""How much later than this service the backend kills, should this service be gone."""

_log = structlog.get_logger(__name__)


class Execs:
    """Every exec that this process runs.

    Args:
        provider: Where programs run.
        catalogue: How source code of a language is run.
        limits: How many may run, and how much output is kept.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        catalogue: Catalogue,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._provider = provider
        self._catalogue = catalogue
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._by_sandbox: defaultdict[str, dict[str, RunningExec]] = defaultdict(dict)
        # Every id that was ever used in a sandbox, so that none is run twice.
        self._used: defaultdict[str, dict[str, Mapping[str, str]]] = defaultdict(dict)
        self._starting: set[asyncio.Task[RunningExec]] = set()
        self._slots: Counter[str] = Counter()
        self._draining = False

    async def run(self, record: SandboxRecord, spec: ExecSpec) -> AsyncGenerator[Positioned, None]:
        """Run a program and yield its events as they happen.

        The first event is `Started`, the last `Exited`. A program that fails
        is a result. The program and everything it started is killed when the
        generator is closed early, so wrap the call in `contextlib.aclosing`.

        Raises:
            DirectoryNotFoundError, UserNotFoundError, LanguageNotSupportedError:
                It cannot start like that.
            ExecIdReusedError: That id was used in this sandbox.
            TooManyExecsError: As many run as may run at once.
            SandboxEndedError: The sandbox is gone.
        """
        running = await self.start(record, spec)
        reader = running.journal.reader()
        idle_s = running.effective.heartbeat_interval.total_seconds()
        try:
            yield Positioned(running.started, reader.position, running.start_time)
            while (frames := await reader.frames(idle_s)) is not None:
                now = self._clock.now()
                for frame in frames:
                    yield Positioned(frame, reader.position, now)
                if not frames:
                    yield Positioned(Heartbeat(), reader.position, now)
            exited = await running.wait()
            exited = replace(
                exited,
                stdout=reader.count(Stream.STDOUT, exited.stdout),
                stderr=reader.count(Stream.STDERR, exited.stderr),
            )
            yield Positioned(exited, reader.position, exited.end_time)
        finally:
            reader.leave()
            running.stop(Cause.CANCELLED)
            # Nobody can come back for it in this version.
            running.journal.discard()

    async def run_to_end(
        self, record: SandboxRecord, spec: ExecSpec, tail_bytes: int
    ) -> tuple[Exited, bytes]:
        """Run a program and wait for its end.

        Returns:
            How it ended, and the last `tail_bytes` of what it wrote.
        """
        tail = b""
        events = self.run(record, spec)
        try:
            async for positioned in events:
                match positioned.event:
                    case Output(data=data):
                        tail = (tail + data)[-tail_bytes:]
                    case Exited() as exited:
                        return exited, tail
                    case _:
                        continue
        finally:
            await events.aclose()
        raise RuntimeError("an exec ended without saying how")

    async def start(self, record: SandboxRecord, spec: ExecSpec) -> RunningExec:
        """Start a program; see `run`. It is killed when the caller is cancelled meanwhile."""
        began = time.monotonic()
        if self._draining:
            raise DrainingError("This instance is shutting down. Repeat the call.")
        effective = self._effective(record, spec)
        language = language_of(spec.program, record.template, self._catalogue)
        if spec.cwd:
            spec = replace(spec, cwd=paths.absolute(spec.cwd, "cwd"))
        self._take_slot(record.sandbox_id, effective.exec_id, spec.request_digests)
        starting = asyncio.create_task(self._start(record, spec, effective, language, began))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        try:
            # A program whose pid nobody knows could not be killed: the start
            # itself always runs to its end.
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_stop_when_started)
            raise

    def check(self, record: SandboxRecord, spec: ExecSpec) -> None:
        """Refuse what `start` would refuse of a program's language and id; start nothing.

        Raises:
            LanguageNotSupportedError: The template does not run it.
            ExecIdReusedError: That id was used in this sandbox.
        """
        language_of(spec.program, record.template, self._catalogue)
        self._require_unused(record.sandbox_id, spec.exec_id, spec.request_digests)

    def running(self, sandbox_id: str) -> Sequence[ExecSummary]:
        """Return what runs in a sandbox, oldest first."""
        return [running.summary for running in self._by_sandbox.get(sandbox_id, {}).values()]

    def lifetime_extended(self, record: SandboxRecord) -> None:
        """Let what only the sandbox's lifetime limited run on."""
        left = record.expire_time - self._clock.now()
        for running in self._by_sandbox.get(record.sandbox_id, {}).values():
            running.lifetime_extended(left)

    def expect_loss(self, sandbox_id: str) -> None:
        """Note, before a caller ends a sandbox, that what ends with it was cancelled."""
        for running in self._by_sandbox.get(sandbox_id, {}).values():
            running.expect_loss()

    def forget(self, sandbox_id: str) -> None:
        """Drop what is remembered of a sandbox that ended."""
        self._used.pop(sandbox_id, None)

    async def drain(self, limit_s: float) -> None:
        """Refuse new execs, end those that run, and wait for them."""
        self._draining = True
        if self._starting:
            await asyncio.wait(self._starting, timeout=limit_s)
        running = [it for execs in self._by_sandbox.values() for it in execs.values()]
        for it in running:
            it.stop(Cause.CANCELLED)
        if running:
            waits = [asyncio.create_task(it.wait()) for it in running]
            _, late = await asyncio.wait(waits, timeout=limit_s)
            for task in late:
                task.cancel()
            if late:
                _log.warning("execs.left_running", count=len(late))

    async def _start(
        self,
        record: SandboxRecord,
        spec: ExecSpec,
        effective: Effective,
        language: Language | None,
        began: float,
    ) -> RunningExec:
        asked = time.monotonic()
        try:
            process = await self._process(record, spec, effective, language)
        except BaseException:
            # It never ran, so its id may be used again.
            self._used[record.sandbox_id].pop(effective.exec_id, None)
            self._count(record.sandbox_id, -1)
            raise
        kept = self._metrics.exec_journal_bytes
        running = RunningExec(
            process,
            spec,
            effective,
            Journal(self._limits.journal_bytes, block=spec.block, on_size=kept.inc),
            clock=self._clock,
            metrics=self._metrics,
            queued_s=asked - began,
            started_s=time.monotonic() - asked,
            on_end=lambda it: self._ended(record.sandbox_id, it),
        )
        self._by_sandbox[record.sandbox_id][effective.exec_id] = running
        return running

    async def _process(
        self,
        record: SandboxRecord,
        spec: ExecSpec,
        effective: Effective,
        language: Language | None,
    ) -> Process:
        marker = secrets.token_hex(8)
        path = ""
        if language is not None and isinstance(spec.program, SourceCode):
            path = f"/tmp/.sandbox-exec/{marker}/main{language.extension}"  # noqa: S108
            await self._provider.write_file(record.sandbox_id, path, spec.program.code, spec.user)
        return await self._provider.start(
            record.sandbox_id,
            ProcessSpec(
                marker=marker,
                program=spec.program,
                cwd=spec.cwd,
                env=spec.env,
                user=spec.user,
                stdin=spec.stdin is not None,
                backstop=_backstop(spec.timeout, effective.kill_grace),
                language=language,
                source_path=path,
            ),
        )

    def _ended(self, sandbox_id: str, running: RunningExec) -> None:
        self._count(sandbox_id, -1)
        execs = self._by_sandbox[sandbox_id]
        execs.pop(running.effective.exec_id, None)
        if not execs:
            del self._by_sandbox[sandbox_id]

    def _require_unused(self, sandbox_id: str, exec_id: str, digests: Mapping[str, str]) -> None:
        data = {"sandbox_id": sandbox_id, "exec_id": exec_id}
        first = self._used.get(sandbox_id, {}).get(exec_id)
        if first is not None:
            differs = ",".join(differing(first, digests))
            raise ExecIdReusedError(
                f"An exec {exec_id!r} ran or runs in the sandbox, and is never run twice. "
                "Choose another id.",
                metadata={**data, "differs": differs} if differs else data,
            )

    def _take_slot(self, sandbox_id: str, exec_id: str, digests: Mapping[str, str]) -> None:
        self._require_unused(sandbox_id, exec_id, digests)
        full = self._slots[sandbox_id] >= self._limits.execs_per_sandbox
        if full or self._slots.total() >= self._limits.execs:
            limit = self._limits.execs_per_sandbox if full else self._limits.execs
            raise TooManyExecsError(
                "As many execs run as may run at once. Repeat the call when one has ended.",
                retry_after=timedelta(seconds=1),
                metadata={
                    "sandbox_id": sandbox_id,
                    "limit": str(limit),
                    "scope": "sandbox" if full else "instance",
                },
            )
        self._used[sandbox_id][exec_id] = digests
        self._count(sandbox_id, +1)

    def _count(self, sandbox_id: str, by: int) -> None:
        self._slots[sandbox_id] += by
        if not self._slots[sandbox_id]:
            del self._slots[sandbox_id]
        self._metrics.execs_running.inc(by)

    def _effective(self, record: SandboxRecord, spec: ExecSpec) -> Effective:
        left = max(record.expire_time - self._clock.now(), timedelta(seconds=1))
        wanted = left if spec.timeout is None else spec.timeout
        return Effective(
            exec_id=spec.exec_id or f"x-{secrets.token_hex(8)}",
            timeout=min(wanted, left),
            timeout_clamped=wanted > left,
            kill_grace=self._limits.kill_grace if spec.kill_grace is None else spec.kill_grace,
            heartbeat_interval=spec.heartbeat_interval or self._limits.heartbeat_interval,
        )


def _backstop(timeout: timedelta | None, grace: timedelta) -> timedelta | None:
    """Return when the backend is to kill; never where the lifetime, which may grow, decides."""
    return None if timeout is None else timeout + grace + _BACKSTOP


def _stop_when_started(starting: asyncio.Task[RunningExec]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().stop(Cause.CANCELLED)
