"""Starting a program in a sandbox, and finding one again that was started before."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.exec_errors import ExecLostError, ExecOnOtherInstanceError
from sandbox_service.domain.execs import ExecSpec, Exited, Position, SourceCode
from sandbox_service.domain.limits import KIB, Limits
from sandbox_service.domain.ports import Clock, SandboxProvider
from sandbox_service.domain.processes import Durable, FoundExec, Process, ProcessSpec
from sandbox_service.domain.sandboxes import Language, SandboxRecord
from sandbox_service.operations.artifact_search import ArtifactSearch, Globs, sandbox_time
from sandbox_service.operations.execs.journal import Journal
from sandbox_service.operations.execs.readers import comes_back
from sandbox_service.operations.execs.record import Remembered, record_of
from sandbox_service.operations.execs.registry import ExecRegistry
from sandbox_service.operations.execs.result import ExecResult
from sandbox_service.operations.execs.running import RunningExec
from sandbox_service.operations.execs.spool import Spool
from sandbox_service.operations.execs.terms import Effective, effective_terms
from sandbox_service.telemetry.metrics import Metrics

_BACKSTOP: Final = timedelta(seconds=30)
"""How much later than this service the backend kills, should this service be gone."""

_AHEAD_BYTES: Final = 256 * KIB
"""How far the output of a program that runs may be ahead of its spool."""


@dataclass(frozen=True, slots=True)
class ThisInstance:
    """Who this process is among the instances of the deployment.

    Attributes:
        name: Different at every start.
        address: Where other instances' callers reach it. Empty: nowhere.
    """

    name: str = ""
    address: str = ""


class ExecStarter:
    """Makes running execs, and puts them into the registry.

    Args:
        provider: Where programs run.
        registry: Where they are kept.
        limits: How much output is kept.
        instance: Who runs them.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        registry: ExecRegistry,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        instance: ThisInstance,
    ) -> None:
        self._provider = provider
        self._registry = registry
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._instance = instance

    def terms(self, record: SandboxRecord, spec: ExecSpec, exec_id: str) -> Effective:
        """Return what an exec would run with in a sandbox."""
        left = record.expire_time - self._clock.now()
        return effective_terms(spec, exec_id, left, self._limits, self._instance.address)

    async def start(
        self,
        record: SandboxRecord,
        spec: ExecSpec,
        effective: Effective,
        language: Language | None,
        began: float,
    ) -> RunningExec:
        """Start a program whose place was taken; gives the place back when it does not start."""
        asked = time.monotonic()
        try:
            since = await self._since(record.sandbox_id, spec)
            process = await self._process(record, spec, effective, language, since)
        except BaseException:
            # It never ran, so its id may be used again.
            self._registry.give_back(record.sandbox_id, effective.exec_id)
            raise
        result = ExecResult(
            effective.exec_id,
            spec,
            self._metrics,
            queued_s=asked - began,
            started_s=time.monotonic() - asked,
        )
        journal = Journal(
            self._limits.journal_bytes,
            block=spec.block,
            keep=comes_back(spec),
            budget=self._registry.budget,
        )
        running = self._running(record.sandbox_id, process, spec, effective, journal, result, since)
        self._registry.add(record.sandbox_id, running)
        return running

    async def adopt(
        self, sandbox_id: str, found: FoundExec, fallback: Effective, position: Position
    ) -> RunningExec:
        """Go on with a spooled exec that is not this process's own yet.

        Args:
            sandbox_id: Where it is.
            found: What the sandbox knows of it.
            fallback: What it runs with as far as its record does not tell.
            position: Where the first reader wants to begin.
        """
        remembered = Remembered(found)
        spec, effective = remembered.spec(), remembered.effective(fallback)
        begin = position if _is_beyond(found, position) else Position()
        process = await self._provider.adopt(sandbox_id, found, begin)
        until = found.end_time or self._clock.now()
        result = ExecResult(
            found.exec_id,
            spec,
            self._metrics,
            queued_s=0.0,
            started_s=0.0,
            ran_s=max((until - found.start_time).total_seconds(), 0.0),
        )
        # What is read comes from the spool: waiting for readers holds nobody up.
        journal = Journal(
            self._limits.journal_bytes,
            block=False,
            keep=True,
            wait_for_readers=True,
            budget=self._registry.budget,
        )
        journal.begin_at(begin)
        result.begin_at(begin)
        ahead = _AHEAD_BYTES if found.alive else 0
        journal.promise(Position(found.stdout_bytes + ahead, found.stderr_bytes + ahead))
        since = remembered.artifacts_since
        running = self._running(sandbox_id, process, spec, effective, journal, result, since, found)
        self._registry.add(sandbox_id, running, adopted=True)
        return running

    def elsewhere(self, sandbox_id: str, found: FoundExec) -> SandboxError:
        """Return why an exec cannot be read here of which only its id was kept."""
        address = Remembered(found).address
        data = {"sandbox_id": sandbox_id, "exec_id": found.exec_id}
        other = found.instance != self._instance.name and address != self._instance.address
        if address and other and found.alive:
            return ExecOnOtherInstanceError(
                f"Another instance runs the exec {found.exec_id!r}. Attach there.",
                metadata={**data, "instance": address},
            )
        return lost(sandbox_id, found.exec_id)

    def _running(
        self,
        sandbox_id: str,
        process: Process,
        spec: ExecSpec,
        effective: Effective,
        journal: Journal,
        result: ExecResult,
        artifacts_since: str,
        found: FoundExec | None = None,
    ) -> RunningExec:
        return RunningExec(
            process,
            spec,
            effective,
            journal,
            result,
            start_time=self._clock.now() if found is None else found.start_time,
            end_time=None if found is None else found.end_time,
            alive=found is None or found.alive,
            clock=self._clock,
            metrics=self._metrics,
            on_end=lambda it: self._registry.has_ended(sandbox_id, it),
            is_gone=self._looking(sandbox_id),
            spool=self._spool(sandbox_id, effective),
            complete=self._searching(sandbox_id, spec, artifacts_since),
        )

    async def _since(self, sandbox_id: str, spec: ExecSpec) -> str:
        """Return from when on files are artifacts of a program that is about to start."""
        if not spec.artifact_globs:
            return ""
        return await sandbox_time(self._provider, sandbox_id, spec.user)

    def _searching(
        self, sandbox_id: str, spec: ExecSpec, since: str
    ) -> Callable[[Exited], Awaitable[Exited]] | None:
        """Return what looks for an exec's artifacts. None: there is nothing to look for."""
        if not spec.artifact_globs or not since:
            return None
        globs = Globs.of(spec.artifact_globs)
        search = ArtifactSearch(globs=globs, since=since, cwd=spec.cwd, user=spec.user)
        return partial(search.complete, self._provider, sandbox_id)

    def _spool(self, sandbox_id: str, effective: Effective) -> Spool | None:
        if effective.spool_limit_bytes is None:
            return None
        return Spool(self._provider, sandbox_id, effective.exec_id)

    def _looking(self, sandbox_id: str) -> Callable[[], Awaitable[bool]]:
        async def is_gone() -> bool:
            return await self._provider.get(sandbox_id) is None

        return is_gone

    async def _process(
        self,
        record: SandboxRecord,
        spec: ExecSpec,
        effective: Effective,
        language: Language | None,
        artifacts_since: str,
    ) -> Process:
        marker = secrets.token_hex(8)
        path = ""
        if language is not None and isinstance(spec.program, SourceCode):
            path = f"/tmp/.sandbox-exec/{marker}/main{language.extension}"  # noqa: S108
            await self._provider.write_file(record.sandbox_id, path, spec.program.code, spec.user)
        durable = None
        if spec.exec_id or comes_back(spec):
            # So that the sandbox itself knows the id, whoever asks for it later.
            durable = Durable(
                exec_id=effective.exec_id,
                spool_limit_bytes=effective.spool_limit_bytes or 0,
                record=record_of(spec, effective, artifacts_since),
            )
        return await self._provider.start(
            record.sandbox_id,
            ProcessSpec(
                marker=marker,
                program=spec.program,
                cwd=spec.cwd,
                env=spec.env,
                user=spec.user,
                stdin=spec.stdin is not None or spec.stdin_open,
                backstop=_backstop(spec.timeout, effective.kill_grace),
                language=language,
                source_path=path,
                exec_id=effective.exec_id,
                instance=self._instance.name,
                instance_address=self._instance.address,
                pty=spec.pty,
                durable=durable,
            ),
        )


def _is_beyond(found: FoundExec, position: Position) -> bool:
    """Return whether a position lies behind what a full spool holds."""
    limit = found.spool_limit_bytes
    return any(
        wanted > held >= limit
        for wanted, held in (
            (position.stdout_offset, found.stdout_bytes),
            (position.stderr_offset, found.stderr_bytes),
        )
    )


def lost(sandbox_id: str, exec_id: str) -> ExecLostError:
    """Return the error for an exec that ran, and whose output and result nobody has any more."""
    return ExecLostError(
        f"The exec {exec_id!r} ran, and its output and result are not known any more. "
        "Run it again under another id if that is harmless.",
        metadata={"sandbox_id": sandbox_id, "exec_id": exec_id},
    )


def _backstop(timeout: timedelta | None, grace: timedelta) -> timedelta | None:
    """Return when the backend is to kill; never where the lifetime, which may grow, decides."""
    return None if timeout is None else timeout + grace + _BACKSTOP


class Starting:
    """An exec that is being started, and those who wait for it."""

    def __init__(self, task: asyncio.Task[RunningExec]) -> None:
        self.task = task
        self._waiting = 0

    async def started(self) -> RunningExec:
        """Wait until it has started. A caller that leaves meanwhile counts as a reader that left.

        A program whose pid nobody knows could not be killed: the start itself
        always runs to its end.
        """
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        except asyncio.CancelledError:
            self.task.add_done_callback(self._left)
            raise
        finally:
            self._waiting -= 1

    def _left(self, task: asyncio.Task[RunningExec]) -> None:
        if not self._waiting and not task.cancelled() and task.exception() is None:
            task.result().readers.nobody()
