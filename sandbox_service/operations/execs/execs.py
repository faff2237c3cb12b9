"""Programs in sandboxes: started, followed, and ended with all they started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import structlog

from sandbox_service.domain import paths
from sandbox_service.domain.errors import DrainingError
from sandbox_service.domain.exec_errors import (
    ExecIdReusedError,
    ExecLostError,
    ExecNotFoundError,
    ExecOnOtherInstanceError,
)
from sandbox_service.domain.execs import (
    ExecSpec,
    ExecSummary,
    Exited,
    Output,
    Position,
    Positioned,
    PtySize,
    ShellCommand,
)
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.policy import Verdict
from sandbox_service.domain.ports import Catalogue, Clock, Peers, SandboxProvider
from sandbox_service.domain.processes import FoundExec
from sandbox_service.domain.sandboxes import SandboxRecord
from sandbox_service.operations.execs.admission import ExecAdmission
from sandbox_service.operations.execs.drain import end_all
from sandbox_service.operations.execs.elsewhere import ExecElsewhere
from sandbox_service.operations.execs.following import follow
from sandbox_service.operations.execs.record import Remembered
from sandbox_service.operations.execs.registry import ExecRegistry, require_same
from sandbox_service.operations.execs.running import RunningExec
from sandbox_service.operations.execs.start import ExecStarter, Starting, ThisInstance, lost
from sandbox_service.operations.execs.vigil import Vigil
from sandbox_service.operations.languages import language_of
from sandbox_service.operations.policy.code_policy import CodePolicy
from sandbox_service.telemetry.metrics import Metrics

_NOBODYS_PROGRAM = ExecSpec(program=ShellCommand(""))
_BEGINNING = Position()

_log = structlog.get_logger(__name__)


class Execs:
    """Every exec that this process runs, and those of others that it can serve.

    Args:
        provider: Where programs run.
        catalogue: How source code of a language is run.
        limits: How many may run, and how much output is kept.
        instance: Who this process is.
        policy: Asked about every program. None: nobody is.
        peers: The other instances. None: they cannot be called.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        catalogue: Catalogue,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        instance: ThisInstance | None = None,
        policy: CodePolicy | None = None,
        peers: Peers | None = None,
    ) -> None:
        self._provider = provider
        self._catalogue = catalogue
        self._clock = clock
        self._metrics = metrics
        self._registry = ExecRegistry(limits, metrics, Vigil(provider).watch)
        self._admission = ExecAdmission(self._registry, catalogue, policy)
        self._instance = instance or ThisInstance()
        self._peers = peers
        self._starter = ExecStarter(
            provider, self._registry, limits, clock, metrics, self._instance
        )
        self._starting: dict[tuple[str, str], Starting] = {}
        self._draining = False

    async def run(self, record: SandboxRecord, spec: ExecSpec) -> AsyncGenerator[Positioned, None]:
        """Run a program and yield its events as they happen.

        The first event is `Started`, the last `Exited`. A program that fails
        is a result. With the id of an exec that the same request has started,
        that one is read along, from the beginning. Closing the generator means
        that this reader leaves, so wrap the call in `contextlib.aclosing`.

        Raises:
            DirectoryNotFoundError, UserNotFoundError, LanguageNotSupportedError:
                It cannot start like that.
            PolicyDeniedError: The code policy denies it.
            ExecIdReusedError: Another request used that id in this sandbox.
            ExecLostError, ExecOnOtherInstanceError: The id's exec is not here.
            TooManyExecsError: As many run as may run at once.
            SandboxEndedError: The sandbox is gone.
        """
        running, reused = await self._started_or_found(record, spec)
        events = follow(
            running, self._clock, heartbeat_interval=spec.heartbeat_interval, reused=reused
        )
        async with aclosing(events):
            async for event in events:
                yield event

    async def attach(
        self,
        record: SandboxRecord,
        exec_id: str,
        position: Position | None = None,
        heartbeat_interval: timedelta | None = None,
    ) -> AsyncGenerator[Positioned, None]:
        """Read an exec along that another call has started; see `run`.

        Args:
            position: Where to begin. None: at the beginning.
            heartbeat_interval: The longest silence. None: the exec's own.

        Raises:
            ExecNotFoundError: The sandbox has had no such exec.
            ExecLostError, ExecOnOtherInstanceError: It is not here.
            PositionOutOfRangeError: Its output has not come that far.
        """
        running = await self._found(record, exec_id, position=position or Position())
        events = follow(
            running,
            self._clock,
            position=position,
            heartbeat_interval=heartbeat_interval,
            reused=True,
        )
        async with aclosing(events):
            async for event in events:
                yield event

    async def run_to_end(
        self, record: SandboxRecord, spec: ExecSpec, tail_bytes: int
    ) -> tuple[Exited, bytes]:
        """Run a program whose id was never used, and wait for its end.

        Returns:
            How it ended, and the last `tail_bytes` of what it wrote.
        """
        return await self.to_end(await self.start(record, spec), tail_bytes)

    async def to_end(self, running: RunningExec, tail_bytes: int) -> tuple[Exited, bytes]:
        """Read a program along that has just been started; see `run_to_end`."""
        tail = b""
        async with aclosing(follow(running, self._clock, reused=False)) as events:
            async for positioned in events:
                match positioned.event:
                    case Output(data=data):
                        tail = (tail + data)[-tail_bytes:]
                    case Exited() as exited:
                        return exited, tail
                    case _:
                        continue
        raise RuntimeError("an exec ended without saying how")

    async def start(self, record: SandboxRecord, spec: ExecSpec) -> RunningExec:
        """Start a program whose id was never used; see `run`.

        A caller that is cancelled meanwhile is a reader that left.
        """
        began = time.monotonic()
        if self._draining:
            raise DrainingError("This instance is shutting down. Repeat the call.")
        sandbox_id = record.sandbox_id
        if spec.verdict is None:
            spec = await self.checked(record.tenant, spec)
        exec_id = spec.exec_id or self._registry.used.choose(sandbox_id)
        effective = self._starter.terms(record, spec, exec_id)
        language = language_of(spec.program, record.template, self._catalogue)
        if spec.cwd:
            spec = replace(spec, cwd=paths.absolute(spec.cwd, "cwd"))
        if spec.exec_id:
            self._registry.require_unused(sandbox_id, exec_id)
        self._registry.take(sandbox_id, exec_id, spec.request_digests)
        work = self._starter.start(record, spec, effective, language, began)
        starting = self._starting_of(sandbox_id, exec_id, asyncio.create_task(work))
        return await starting.started()

    async def checked(self, tenant: str, spec: ExecSpec, what: str = "the program") -> ExecSpec:
        """See `ExecAdmission.checked`."""
        return await self._admission.checked(tenant, spec, what)

    async def verdict(self, tenant: str, spec: ExecSpec) -> Verdict:
        """See `ExecAdmission.verdict`."""
        return await self._admission.verdict(tenant, spec)

    def check(self, record: SandboxRecord, spec: ExecSpec) -> None:
        """See `ExecAdmission.check`."""
        self._admission.check(record, spec)

    async def admitted(self, record: SandboxRecord, spec: ExecSpec) -> ExecSpec:
        """See `ExecAdmission.admitted`."""
        return await self._admission.admitted(record, spec)

    async def send_input(
        self,
        caller: Caller,
        record: SandboxRecord,
        exec_id: str,
        offset: int,
        data: bytes,
        *,
        end: bool,
    ) -> int:
        """Write to a program's input; see `ExecInput.send`. Returns the next offset.

        Raises:
            ExecOnOtherInstanceError: The instance that counts what it has been
                given does not answer.
        """
        exec_ = await self._acted_on(record, exec_id)
        if isinstance(exec_, ExecElsewhere):
            here = self._instance.address
            return await exec_.send_input(self._peers, caller, here, offset, data, end=end)
        return await exec_.input.send(offset, data, end=end)

    async def signal(self, record: SandboxRecord, exec_id: str, name: str) -> bool:
        """Send a signal to all processes of an exec. Returns False when it has ended."""
        return await (await self._acted_on(record, exec_id)).signal(name)

    async def resize(self, record: SandboxRecord, exec_id: str, size: PtySize) -> None:
        """Change the size of an exec's terminal; see `RunningExec.resize`."""
        await (await self._acted_on(record, exec_id)).resize(size)

    async def list(self, record: SandboxRecord) -> Sequence[ExecSummary]:
        """Return what runs or ran in a sandbox, also at other instances if it is durable."""
        sandbox_id = record.sandbox_id
        here = [*self._registry.running(sandbox_id), *self._registry.ended(sandbox_id)]
        summaries = [it.summary for it in here]
        known = {it.exec_id for it in summaries}
        for found in await self._provider.exec_records(sandbox_id):
            if found.exec_id not in known:
                summaries.append(Remembered(found).summary(self._metrics))
        return summaries

    def running(self, sandbox_id: str) -> Sequence[ExecSummary]:
        """Return what runs in a sandbox, oldest first."""
        return [running.summary for running in self._registry.running(sandbox_id)]

    def lifetime_extended(self, record: SandboxRecord) -> None:
        """Let what only the sandbox's lifetime limited run on."""
        left = record.expire_time - self._clock.now()
        for running in self._registry.running(record.sandbox_id):
            running.lifetime_extended(left)

    def expect_loss(self, sandbox_id: str) -> None:
        """Note, before a caller ends a sandbox, that what ends with it was cancelled."""
        for running in self._registry.running(sandbox_id):
            running.expect_loss()

    def forget(self, sandbox_id: str) -> None:
        """Drop what is remembered of a sandbox that ended, and wait for nothing in it."""
        for running in self._registry.running(sandbox_id):
            running.sandbox_gone()
        self._registry.forget(sandbox_id)

    async def recover(self, record: SandboxRecord, predecessors: Sequence[str]) -> None:
        """Take over a sandbox from instances that are gone.

        What they ran is ended, except what is durable: that is followed from
        now on, so that its timeout holds.
        """
        for instance in predecessors:
            ended = await self._provider.end_leftovers(record.sandbox_id, instance)
            if ended:
                _log.info("execs.leftovers_ended", sandbox_id=record.sandbox_id, count=ended)
        for found in await self._provider.exec_records(record.sandbox_id):
            if found.alive and found.instance in predecessors:
                await self._adopted(record, found)

    async def drain(self, limit_s: float) -> None:
        """Refuse new execs, end those that run but for durable ones, and wait for them."""
        self._draining = True
        if self._starting:
            tasks = [it.task for it in self._starting.values()]
            await asyncio.wait(tasks, timeout=limit_s)
        await end_all(self._registry.all_running(), limit_s)

    def _starting_of(
        self, sandbox_id: str, exec_id: str, task: asyncio.Task[RunningExec]
    ) -> Starting:
        key = (sandbox_id, exec_id)
        starting = self._starting[key] = Starting(task)
        task.add_done_callback(lambda _: self._starting.pop(key, None))
        return starting

    async def _started_or_found(
        self, record: SandboxRecord, spec: ExecSpec
    ) -> tuple[RunningExec, bool]:
        """Return the exec that a request asks for, and whether it had been started before."""
        sandbox_id, exec_id = record.sandbox_id, spec.exec_id
        known = exec_id and self._registry.used.has(sandbox_id, exec_id)
        if spec.verdict is None and not known:
            # Before the look that counts: another call may take the id meanwhile.
            spec = await self.checked(record.tenant, spec)
        if exec_id and self._registry.used.has(sandbox_id, exec_id):
            first = self._registry.used.digests(sandbox_id, exec_id)
            require_same(sandbox_id, exec_id, first, spec.request_digests)
            return self._repeated(await self._found(record, exec_id), spec), True
        try:
            return await self.start(record, spec), False
        except ExecIdReusedError:
            # The sandbox knows the id: another instance used it, or this one before a restart.
            return self._repeated(await self._found(record, exec_id, spec), spec), True

    def _repeated(self, running: RunningExec, spec: ExecSpec) -> RunningExec:
        """Return an exec that is asked for again, with all input that comes with the request."""
        if running.durable:
            running.input.begin(spec)
        return running

    async def _acted_on(self, record: SandboxRecord, exec_id: str) -> RunningExec | ExecElsewhere:
        """Return an exec to act on, also one that cannot be read here."""
        try:
            return await self._found(record, exec_id)
        except (ExecLostError, ExecNotFoundError, ExecOnOtherInstanceError) as unread:
            return await ExecElsewhere.reach(self._provider, record.sandbox_id, exec_id, unread)

    async def _found(
        self,
        record: SandboxRecord,
        exec_id: str,
        spec: ExecSpec | None = None,
        position: Position = _BEGINNING,
    ) -> RunningExec:
        """Return an exec, wherever it has been started.

        Args:
            spec: A request that has to be the one that started it.
            position: Where a reader wants to begin.
        """
        sandbox_id = record.sandbox_id
        starting = self._starting.get((sandbox_id, exec_id))
        if starting is not None:
            return await starting.started()
        running = self._registry.find(sandbox_id, exec_id)
        if running is not None:
            return running
        found = await self._provider.find_exec(sandbox_id, exec_id)
        if found is None:
            if self._registry.used.has(sandbox_id, exec_id):
                raise lost(sandbox_id, exec_id)
            raise ExecNotFoundError(
                f"The sandbox has had no exec {exec_id!r}. Start it, if it should run.",
                metadata={"sandbox_id": sandbox_id, "exec_id": exec_id},
            )
        if spec is not None:
            first = Remembered(found).digests
            require_same(sandbox_id, exec_id, first, spec.request_digests)
        if not found.spool_limit_bytes:
            raise self._starter.elsewhere(sandbox_id, found)
        return await self._adopted(record, found, position)

    async def _adopted(
        self, record: SandboxRecord, found: FoundExec, position: Position = _BEGINNING
    ) -> RunningExec:
        """Return a durable exec, followed here from now on; once, whoever asks for it."""
        sandbox_id, exec_id = record.sandbox_id, found.exec_id
        running = self._registry.find(sandbox_id, exec_id)
        if running is not None:
            return running
        starting = self._starting.get((sandbox_id, exec_id))
        if starting is None:
            if self._draining:
                raise DrainingError("This instance is shutting down. Repeat the call.")
            terms = self._starter.terms(record, _NOBODYS_PROGRAM, exec_id)
            work = self._starter.adopt(sandbox_id, found, terms, position)
            starting = self._starting_of(sandbox_id, exec_id, asyncio.create_task(work))
        return await starting.started()
