"""The one way from an id to a sandbox, checked for the tenant, and what is known of each."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from weakref import WeakValueDictionary

import structlog

from sandbox_service.domain import lifecycle
from sandbox_service.domain.errors import (
    PermissionDeniedError,
    SandboxEndedError,
    SandboxNotFoundError,
)
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.limits import TOMBSTONE_RETENTION, Limits
from sandbox_service.domain.ports import (
    BackendSandbox,
    Clock,
    RecordFilter,
    SandboxProvider,
    Store,
)
from sandbox_service.domain.sandboxes import (
    EndCause,
    InternetAccess,
    PreviewSpec,
    SandboxRecord,
    SandboxState,
)
from sandbox_service.domain.setup import SetupFailure
from sandbox_service.operations import page_tokens
from sandbox_service.operations.resumption import Resumption
from sandbox_service.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_KEPT: Final = 10_000
_ROUNDING: Final = timedelta(seconds=2)
_SETTLING: Final = timedelta(seconds=10)
"""How new a sandbox may be and still be missing from the backend's list, which lags."""

LIVE: Final = frozenset(SandboxState) - {SandboxState.ENDED}
"""The states of a sandbox that has not ended."""

_PREFIX: Final = "miosa."
DEPLOYMENT: Final = _PREFIX + "deployment"
TENANT: Final = _PREFIX + "tenant"
USER: Final = _PREFIX + "user"
KEY: Final = _PREFIX + "key"
GENERATION: Final = _PREFIX + "generation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which sandboxes to list.

    Attributes:
        page_size: 0 leaves it to the service.
        page_token: Of the page before. Empty: from the newest on.
        states: In one of these. Empty: in none.
        tenant: Only of this tenant; the fleet role may name any.
    """

    page_size: int = 0
    page_token: str = ""
    states: frozenset[SandboxState] = LIVE
    template: str = ""
    owner: str = ""
    tenant: str = ""
    metadata: Mapping[str, str]

    def digest(self, tenant: str) -> str:
        """Return what tells this list from others: a page of one is none of another."""
        filters = [tenant, sorted(self.states), self.template, self.owner]
        text = json.dumps([*filters, sorted(self.metadata.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Sandboxes:
    """Every sandbox that the store knows, and the backend's word on each.

    Args:
        deployment: Tells this deployment's sandboxes from another one's in the
            same account.
        limits: How long one lives that is resumed.
    """

    def __init__(
        self,
        store: Store,
        provider: SandboxProvider,
        clock: Clock,
        metrics: Metrics,
        deployment: str,
        limits: Limits,
    ) -> None:
        self.deployment = deployment
        self._store = store
        self._provider = provider
        self._resumption = Resumption(provider, limits)
        self._clock = clock
        self._metrics = metrics
        self._kept: OrderedDict[str, SandboxRecord] = OrderedDict()
        # In which state the gauges count each: not all that is known was counted here.
        self._counted: dict[str, SandboxState] = {}
        self._ending: dict[str, tuple[EndCause, SetupFailure | None]] = {}
        self._on_ended: list[Callable[[str], None]] = []
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def find(self, caller: Caller, sandbox_id: str) -> SandboxRecord:
        """Return a sandbox of the caller's, in whatever state, for as long as it is remembered.

        Raises:
            SandboxNotFoundError: There is none, or it is another tenant's.
        """
        record = self._kept.get(sandbox_id)
        if record is None:
            stored = await self._store.get(sandbox_id)
            # While the store was asked, somebody may have written something newer.
            record = self._kept.get(sandbox_id, stored)
            if record is not None:
                self._keep(record)
        if record is None or not caller.may_see(record.tenant):
            raise SandboxNotFoundError.of(sandbox_id)
        if record.end is not None and self._clock.now() - record.end.time > TOMBSTONE_RETENTION:
            raise SandboxNotFoundError.of(sandbox_id)
        return record

    @asynccontextmanager
    async def using(
        self, caller: Caller, sandbox_id: str, *, auto_resume: bool = False
    ) -> AsyncIterator[SandboxRecord]:
        """Give a sandbox of the caller's in which programs can run, for as long as it is used.

        Should it turn out to be gone, that is written down, and told as what it is.

        Args:
            caller: Whose it has to be.
            sandbox_id: Which.
            auto_resume: If it is paused it is resumed first. The backend is
                asked whether it is: somebody else may have paused it.

        Raises:
            SandboxNotFoundError: There is none, or it is another tenant's.
            SandboxEndedError, SandboxPausedError, SandboxNotReadyError: Not now.
            BackendQuotaExceededError: It cannot be resumed now.
        """
        record = await self.find(caller, sandbox_id)
        if auto_resume or self._clock.now() >= record.expire_time:
            record = await self.refreshed(record)
        try:
            if auto_resume and record.state is SandboxState.PAUSED:
                record = await self.reconciled(record, await self._resumption.of(record))
            lifecycle.require_running(record)
            yield record
        except SandboxEndedError:
            lifecycle.require_running(await self.refreshed(record))
            raise

    async def put(self, record: SandboxRecord) -> SandboxRecord:
        """Write a record, and count what it means.

        Raises:
            SandboxEndedError: It has ended meanwhile, and `record` says it has not.
        """
        async with self._writing(record.sandbox_id):
            before = self._kept.get(record.sandbox_id)
            if before is not None and before.end is not None and record.end is None:
                lifecycle.require_running(before)
            await self._write(before, record)
        return record

    async def _write(self, before: SandboxRecord | None, record: SandboxRecord) -> None:
        """Write a record, with its lock held."""
        await self._store.put(record)
        self._keep(record)
        self._count(record)
        if record.end is not None and (before is None or before.end is None):
            self._metrics.sandboxes_ended.labels(record.end.cause.value).inc()
            for told in self._on_ended:
                told(record.sandbox_id)

    async def load(self) -> None:
        """Read what lives, so that the gauges are right from the start."""
        for record in await self._store.list(RecordFilter(states=LIVE), _KEPT):
            self._keep(record)
            self._count(record)

    async def live(self) -> Sequence[SandboxRecord]:
        """Return what runs, whoever's it is, for all the store knows."""
        which = RecordFilter(states=frozenset({SandboxState.RUNNING, SandboxState.SETTING_UP}))
        return await self._store.list(which, _KEPT)

    def on_ended(self, told: Callable[[str], None]) -> None:
        """Have `told` called with the id of each sandbox that ends."""
        self._on_ended.append(told)

    async def keep_house(self) -> None:
        """Note which sandboxes are gone, and forget what nobody may ask for any more."""
        await self._reconcile_all("")
        forgotten = await self._store.forget_before(self._clock.now() - TOMBSTONE_RETENTION)
        if forgotten:
            _log.debug("store.forgot", count=forgotten)

    async def backend_stopped(self) -> None:
        """Note that a backend which keeps nothing was started anew: what lived is gone."""
        now = self._clock.now()
        for record in await self._store.list(RecordFilter(states=LIVE), _KEPT):
            await self.put(lifecycle.ended(record, EndCause.BACKEND_STOPPED, now))

    def _writing(self, sandbox_id: str) -> asyncio.Lock:
        """Return the lock under which a sandbox's record is written: one change at a time."""
        return self._locks.setdefault(sandbox_id, asyncio.Lock())

    def ending(
        self, sandbox_id: str, cause: EndCause, setup_failure: SetupFailure | None = None
    ) -> None:
        """Note why a sandbox is about to end, before it is: whoever looks meanwhile knows too.

        The first cause stays.
        """
        self._ending.setdefault(sandbox_id, (cause, setup_failure))

    async def gone(self, record: SandboxRecord) -> SandboxRecord:
        """Write the tombstone of a sandbox that the backend no longer has."""
        async with self._writing(record.sandbox_id):
            # Another task may have seen it too, or known why.
            record = self._kept.get(record.sandbox_id, record)
            now = self._clock.now()
            if record.sandbox_id in self._ending:
                cause, failure = self._ending[record.sandbox_id]
                ended = lifecycle.ended(record, cause, now, failure)
            else:
                ended = lifecycle.vanished(record, now)
            if ended != record:
                await self._write(record, ended)
            self._ending.pop(record.sandbox_id, None)
            return ended

    async def refreshed(self, record: SandboxRecord) -> SandboxRecord:
        """Ask the backend about a sandbox, and write down what has changed."""
        if record.state in (SandboxState.ENDED, SandboxState.CREATING):
            return record
        before = self._kept.get(record.sandbox_id, record)
        seen = await self._provider.get(record.sandbox_id)
        record = self._kept.get(record.sandbox_id, before)
        if seen is not None and record.generation != before.generation:
            # Resumed meanwhile: this may be how it was before, and would be a pause.
            return record
        return await self.reconciled(record, seen)

    async def reconciled(self, record: SandboxRecord, seen: BackendSandbox | None) -> SandboxRecord:
        """Write down what the backend says of a sandbox. None: it has none."""
        # Another task may have ended it while the backend was asked.
        record = self._kept.get(record.sandbox_id, record)
        if record.state is SandboxState.ENDED:
            return record
        if seen is None:
            return await self.gone(record)
        updated = record
        if record.state in (SandboxState.RUNNING, SandboxState.PAUSED):
            state, since = SandboxState.RUNNING, self._clock.now()
            if not seen.running:
                state, since = SandboxState.PAUSED, _paused_at(seen, since)
            updated = lifecycle.moved(record, state, since)
        # The backend counts in whole seconds from when it was asked.
        if seen.running and abs(seen.end_time - record.expire_time) > _ROUNDING:
            updated = replace(updated, expire_time=seen.end_time)
        if seen.resources is not None and seen.resources != record.resources:
            updated = replace(updated, resources=seen.resources)
        if updated != record:
            await self.put(updated)
        return updated

    async def list(self, caller: Caller, query: Query) -> tuple[Sequence[SandboxRecord], str]:
        """Return a page of the caller's sandboxes, newest first, and the next page's token.

        Raises:
            InvalidPageTokenError: The token is none of this list's.
        """
        tenant = caller.tenant
        if caller.fleet:
            tenant = query.tenant
        elif query.tenant not in ("", caller.tenant):
            raise PermissionDeniedError(
                "Only the fleet role sees other tenants' sandboxes.",
                metadata={"required_role": "fleet"},
            )
        if not query.states:
            return [], ""
        mark = query.digest(tenant)
        before = page_tokens.decode(query.page_token, mark)
        await self._reconcile_all(tenant)
        size = min(query.page_size or 100, 1000)
        found = await self._store.list(
            RecordFilter(
                tenant=tenant,
                states=query.states,
                template=query.template,
                owner=query.owner,
                metadata=query.metadata,
                before=before,
            ),
            size + 1,
        )
        page = found[:size]
        if len(found) <= size:
            return page, ""
        return page, page_tokens.encode(page[-1].create_time, page[-1].sandbox_id, mark)

    def reserved_metadata(self, caller: Caller, key_digest: str) -> dict[str, str]:
        """Return what is written on a sandbox, so that it is found again without the store."""
        reserved = {DEPLOYMENT: self.deployment, TENANT: caller.tenant, GENERATION: "1"}
        if caller.user:
            reserved[USER] = caller.user
        if key_digest:
            reserved[KEY] = key_digest
        return reserved

    async def _reconcile_all(self, tenant: str) -> None:
        """Compare the store with the backend: note what is gone, adopt what was forgotten."""
        asked = {DEPLOYMENT: self.deployment}
        if tenant:
            asked[TENANT] = tenant
        seen = {it.sandbox_id: it for it in await self._provider.list(asked)}
        known = await self._store.list(RecordFilter(tenant=tenant, states=LIVE), _KEPT)
        changes: list[Coroutine[None, None, object]] = []
        for record in known:
            theirs = seen.pop(record.sandbox_id, None)
            settling = self._clock.now() - record.create_time < _SETTLING
            if theirs is not None or (not settling and record.state is not SandboxState.CREATING):
                changes.append(self.reconciled(record, theirs))
        # A sandbox that names no tenant is nobody's, and not ours to show.
        # One that is so new may be about to get its record from whoever made it.
        now = self._clock.now()
        changes += [
            self._adopt(it)
            for it in seen.values()
            if TENANT in it.metadata and now - it.start_time > _SETTLING
        ]
        await asyncio.gather(*changes)

    async def _adopt(self, seen: BackendSandbox) -> None:
        """Write a record for a sandbox of ours that the store does not know."""
        if seen.sandbox_id in self._kept or await self._store.get(seen.sandbox_id):
            return
        now = self._clock.now()
        own = {k: v for k, v in seen.metadata.items() if not k.startswith(_PREFIX)}
        await self.put(
            SandboxRecord(
                sandbox_id=seen.sandbox_id,
                tenant=seen.metadata[TENANT],
                user=seen.metadata.get(USER, ""),
                owner="",
                state=SandboxState.RUNNING if seen.running else SandboxState.PAUSED,
                template="",
                backend_template_id=seen.template_id,
                resources=seen.resources,
                metadata=own,
                create_time=seen.start_time,
                state_time=seen.start_time if seen.running else _paused_at(seen, now),
                expire_time=seen.end_time,
                preview=PreviewSpec(),
                internet=InternetAccess.BACKEND_DEFAULT,
            )
        )

    def _count(self, record: SandboxRecord) -> None:
        """Count a sandbox in the state that it is in, and no more in the one it was counted in."""
        before = self._counted.pop(record.sandbox_id, None)
        if before is not None:
            self._metrics.sandboxes.labels(before.value).dec()
        if record.state in LIVE:
            self._counted[record.sandbox_id] = record.state
            self._metrics.sandboxes.labels(record.state.value).inc()

    def _keep(self, record: SandboxRecord) -> None:
        self._kept[record.sandbox_id] = record
        self._kept.move_to_end(record.sandbox_id)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def _paused_at(seen: BackendSandbox, now: datetime) -> datetime:
    """Return since when a sandbox is paused: its end, for all that the backend tells."""
    return min(now, seen.end_time)
