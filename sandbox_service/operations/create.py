"""Create: from a request to a sandbox that is ready, once, or to nothing at all."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from sandbox_service.domain import lifecycle
from sandbox_service.domain.digests import differing
from sandbox_service.domain.errors import (
    IdempotencyKeyReusedError,
    OutcomeUnknownError,
    SandboxError,
    SetupFailedError,
    StoreUnavailableError,
    TemplateNotFoundError,
)
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.ports import (
    BackendSandbox,
    Clock,
    Intent,
    NewSandbox,
    SandboxProvider,
    Store,
)
from sandbox_service.domain.sandboxes import (
    Created,
    CreateSpec,
    EndCause,
    PhaseTiming,
    ReturnWhen,
    SandboxRecord,
    SandboxState,
)
from sandbox_service.operations.execs.execs import Execs
from sandbox_service.operations.planning import Plan, Planner
from sandbox_service.operations.sandboxes import DEPLOYMENT, KEY, TENANT, Sandboxes
from sandbox_service.operations.setup import (
    numbered,
    planned,
    run_setup,
    write_initial_files,
)
from sandbox_service.telemetry.metrics import Metrics

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A keyed Create that is under way in this process."""

    spec: CreateSpec
    task: asyncio.Task[Created]


class Create:
    """Makes sandboxes.

    Args:
        instance: Which instance of the service this is, for intents.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        store: Store,
        sandboxes: Sandboxes,
        execs: Execs,
        planner: Planner,
        clock: Clock,
        metrics: Metrics,
        instance: str,
    ) -> None:
        self._provider = provider
        self._store = store
        self._sandboxes = sandboxes
        self._execs = execs
        self._planner = planner
        self._clock = clock
        self._metrics = metrics
        self._instance = instance
        self._flights: dict[tuple[str, str], _Flight] = {}
        self._setups: set[asyncio.Task[object]] = set()

    async def create(self, caller: Caller, spec: CreateSpec) -> Created:
        """Make a sandbox and set it up.

        With an idempotency key a cancelled call leaves the work running, and a
        retry joins it or finds what it made. Without one, a cancelled call
        leaves nothing.

        Raises:
            SetupFailedError: A setup step failed; nothing is left running.
            PolicyDeniedError: The code policy denies a setup step.
            IdempotencyKeyReusedError: The key belongs to another request.
            SandboxEndedError: What the key made has ended.
            TemplateNotFoundError, ResourcesUnsatisfiableError,
            LifetimeTooLongError, PolicyNotEnforceableError: Not to be had.
        """
        plan = await self._planner.plan(spec)
        spec = await self._checked(caller, spec)
        if spec.validate_only:
            now = self._clock.now()
            record = _record("", caller, spec, plan, now, now + plan.lifetime)
            return Created(record=replace(record, setup_results=planned(spec.setup_steps)))
        if not spec.idempotency_key:
            return await self._make(caller, spec, plan, "")
        flight = self._flights.get((caller.tenant, spec.idempotency_key))
        if flight is not None:
            _require_same(flight.spec, spec)
            return replace(await asyncio.shield(flight.task), reused=True)
        task = asyncio.create_task(self._make_keyed(caller, spec, plan))
        where = (caller.tenant, spec.idempotency_key)
        self._flights[where] = _Flight(spec, task)
        task.add_done_callback(lambda it: self._landed(where, it))
        return await asyncio.shield(task)

    async def _checked(self, caller: Caller, spec: CreateSpec) -> CreateSpec:
        """Return `spec` with what the code policy says of its setup steps."""
        steps = [
            replace(
                step,
                exec=await self._execs.checked(
                    caller.tenant, step.exec, f"setup step {index} {step.name!r}"
                ),
            )
            for index, step in enumerate(numbered(spec.setup_steps))
        ]
        return replace(spec, setup_steps=tuple(steps))

    def _landed(self, where: tuple[str, str], task: asyncio.Task[Created]) -> None:
        self._flights.pop(where, None)
        # Whoever waited may have left; then nobody else looks at how it went.
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.info("create.failed", error=str(error))

    async def drain(self, limit_s: float) -> None:
        """Wait for what is under way, then give it up."""
        tasks = {flight.task for flight in self._flights.values()} | self._setups
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=limit_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _make_keyed(self, caller: Caller, spec: CreateSpec, plan: Plan) -> Created:
        tenant, key = caller.tenant, spec.idempotency_key
        intent = Intent(
            tenant=tenant,
            key=key,
            request_digests=spec.request_digests,
            create_time=self._clock.now(),
            instance=self._instance,
        )
        held = await self._store.claim_intent(intent)
        if held != intent:
            _require_same(replace(spec, request_digests=held.request_digests), spec)
            if held.sandbox_id:
                return await self._found(caller, held)
            await self._take_over(held)
        try:
            created = await self._make(caller, spec, plan, _key_digest(intent))
        except BaseException:
            # Nothing is left of it, so the key can be used again. If that
            # cannot be noted, the next retry clears up instead.
            with suppress(StoreUnavailableError):
                await self._store.free_intent(tenant, key)
            raise
        await self._store.complete_intent(tenant, key, created.record.sandbox_id)
        return created

    async def _found(self, caller: Caller, held: Intent) -> Created:
        """Return what an earlier call with the same key made."""
        record = await self._sandboxes.find(caller, held.sandbox_id)
        record = await self._sandboxes.refreshed(record)
        if record.state is SandboxState.ENDED:
            lifecycle.require_running(record)
        return Created(record=record, reused=True)

    async def _take_over(self, held: Intent) -> None:
        """Clear away what an instance left that died while it worked on the intent."""
        asked = {
            DEPLOYMENT: self._sandboxes.deployment,
            TENANT: held.tenant,
            KEY: _key_digest(held),
        }
        if not await self._store.take_over_intent(held, self._instance):
            raise OutcomeUnknownError(
                "Another instance works on the same idempotency key. Repeat the call.",
                retry_after=timedelta(seconds=1),
            )
        for left in await self._provider.list(asked):
            _log.info("create.cleared_unfinished", sandbox_id=left.sandbox_id)
            await self._provider.destroy(left.sandbox_id)

    async def _make(self, caller: Caller, spec: CreateSpec, plan: Plan, key_digest: str) -> Created:
        timings: list[PhaseTiming] = []
        new = NewSandbox(
            template_id=plan.backend_id,
            lifetime=plan.lifetime,
            env=spec.env,
            metadata={
                **spec.metadata,
                **self._sandboxes.reserved_metadata(caller, key_digest),
            },
            internet=spec.internet,
            preview=spec.preview,
            idempotency_key=key_digest,
        )
        # The request to the backend always runs to its end: a sandbox that was
        # made while nobody listened would be known to nobody.
        asking = asyncio.create_task(self._ask(new))
        try:
            seen = await self._timed(timings, "backend", lambda: asyncio.shield(asking))
        except asyncio.CancelledError:
            asking.add_done_callback(self._destroy_unwanted)
            raise
        record = _record(seen.sandbox_id, caller, spec, plan, seen.start_time, seen.end_time)
        record = replace(
            record,
            resources=seen.resources or plan.resources,
            traffic_token=seen.traffic_token,
        )
        self._metrics.sandboxes_created.labels(plan.template).inc()
        await self._undone_if_it_fails(record, self._sandboxes.put(record))
        record = await self._undone_if_it_fails(record, self._fill(record, spec, timings))
        if spec.return_when is ReturnWhen.READY or not spec.setup_steps:
            record = await self._undone_if_it_fails(record, self._set_up(record, spec, timings))
        else:
            work = self._undone_if_it_fails(record, self._set_up(record, spec, timings))
            setup = asyncio.create_task(work)
            self._setups.add(setup)
            setup.add_done_callback(self._setup_done)
        return Created(record=record, timings=tuple(timings))

    async def _ask(self, new: NewSandbox) -> BackendSandbox:
        try:
            return await self._provider.create(new)
        except TemplateNotFoundError as error:
            error.metadata = {**error.metadata, "template": new.template_id}
            raise

    async def _fill(
        self, record: SandboxRecord, spec: CreateSpec, timings: list[PhaseTiming]
    ) -> SandboxRecord:
        """Write the initial files, and learn what only the backend knows."""
        if record.resources is None:
            record = await self._sandboxes.refreshed(record)
        if spec.initial_files:
            await self._timed(
                timings,
                "files",
                lambda: write_initial_files(self._provider, record, spec.initial_files),
            )
        return record

    async def _set_up(
        self, record: SandboxRecord, spec: CreateSpec, timings: list[PhaseTiming]
    ) -> SandboxRecord:
        """Run the setup steps, and say that the sandbox is ready."""
        if spec.setup_steps:
            results = await self._timed(
                timings, "setup", lambda: run_setup(self._execs, record, spec.setup_steps)
            )
            record = replace(record, setup_results=results)
        ready = lifecycle.moved(record, SandboxState.RUNNING, self._clock.now())
        return await self._sandboxes.put(ready)

    async def _undone_if_it_fails(
        self, record: SandboxRecord, work: Awaitable[SandboxRecord]
    ) -> SandboxRecord:
        """Do a part of the work; when it fails, destroy the sandbox and say why it ended."""
        try:
            return await work
        except BaseException as error:
            await asyncio.shield(asyncio.create_task(self._undo(record, error)))
            raise

    async def _undo(self, record: SandboxRecord, error: BaseException) -> None:
        cause, failure = EndCause.CREATE_FAILED, None
        if isinstance(error, SetupFailedError):
            cause, failure = EndCause.SETUP_FAILED, error.failure
        elif isinstance(error, asyncio.CancelledError):
            cause = EndCause.CREATE_CANCELLED
        self._sandboxes.ending(record.sandbox_id, cause, failure)
        try:
            await self._provider.destroy(record.sandbox_id)
        except SandboxError as failed:
            # Its lifetime ends it then; its metadata says whose it was.
            _log.warning("create.undo_failed", sandbox_id=record.sandbox_id, reason=failed.reason)
        with suppress(StoreUnavailableError):
            await self._sandboxes.gone(record)

    def _destroy_unwanted(self, asking: asyncio.Task[object]) -> None:
        if asking.cancelled() or asking.exception() is not None:
            return
        sandbox_id = getattr(asking.result(), "sandbox_id", "")
        task = asyncio.create_task(self._provider.destroy(sandbox_id))
        self._setups.add(task)
        task.add_done_callback(self._setups.discard)

    def _setup_done(self, setup: asyncio.Task[object]) -> None:
        self._setups.discard(setup)
        if not setup.cancelled() and (error := setup.exception()) is not None:
            _log.info("create.setup_failed_later", error=str(error))

    async def _timed(
        self, timings: list[PhaseTiming], phase: str, work: Callable[[], Awaitable[_T]]
    ) -> _T:
        began = time.monotonic()
        try:
            return await work()
        finally:
            took = time.monotonic() - began
            timings.append(PhaseTiming(phase, timedelta(seconds=took)))
            self._metrics.create_seconds.labels(phase).observe(took)


def _record(
    sandbox_id: str,
    caller: Caller,
    spec: CreateSpec,
    plan: Plan,
    create_time: datetime,
    expire_time: datetime,
) -> SandboxRecord:
    """Return the record of a sandbox that is not ready yet, with its effective values."""
    return SandboxRecord(
        sandbox_id=sandbox_id,
        tenant=caller.tenant,
        user=caller.user,
        owner=spec.owner,
        state=SandboxState.SETTING_UP,
        template=plan.template,
        backend_template_id=plan.backend_id,
        resources=plan.resources,
        metadata=spec.metadata,
        create_time=create_time,
        state_time=create_time,
        expire_time=expire_time,
        preview=spec.preview,
        internet=spec.internet,
        artifact_globs=spec.artifact_globs,
        idempotency_key=spec.idempotency_key,
    )


def _key_digest(intent: Intent) -> str:
    """Return what the backend gets to see of a key: unique to this use of it.

    A key that was freed by a failure and is used again must not find what
    failed.
    """
    used = f"{intent.tenant}\0{intent.key}\0{intent.create_time.isoformat()}"
    return hashlib.sha256(used.encode()).hexdigest()[:48]


def _require_same(first: CreateSpec, second: CreateSpec) -> None:
    names = differing(first.request_digests, second.request_digests)
    if names:
        raise IdempotencyKeyReusedError(
            f"The idempotency key was used for another request; it differs in "
            f"{', '.join(names)}. Choose another key.",
            metadata={"differs": ",".join(names)},
        )
