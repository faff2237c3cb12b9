"""What a sandbox does right now, asked for at most once a second."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.execs import ExecSummary
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.ports import Clock, SandboxProvider
from sandbox_service.domain.sandboxes import (
    Health,
    PreviewState,
    ResourceUsage,
    SandboxRecord,
    SandboxState,
)
from sandbox_service.operations.execs.execs import Execs
from sandbox_service.operations.previews import Previews
from sandbox_service.operations.sandboxes import Sandboxes

_FRESH_S: Final = 1.0
_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen of a sandbox at one moment.

    Attributes:
        usage: None when the backend has no sample.
    """

    record: SandboxRecord
    health: Health
    usage: ResourceUsage | None
    preview_state: PreviewState
    observe_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What Status answers with."""

    seen: Observation
    lifetime_left: timedelta
    running_execs: Sequence[ExecSummary]


class Statuses:
    """Looks at sandboxes. Never extends a lifetime, and never wakes one that is paused."""

    def __init__(
        self,
        provider: SandboxProvider,
        sandboxes: Sandboxes,
        execs: Execs,
        previews: Previews,
        clock: Clock,
    ) -> None:
        self._provider = provider
        self._sandboxes = sandboxes
        self._execs = execs
        self._previews = previews
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, asyncio.Task[Observation]]] = OrderedDict()

    async def get(self, caller: Caller, sandbox_id: str) -> Status:
        """Return what a sandbox does, or how it ended.

        Raises:
            SandboxNotFoundError: The caller has none of that id.
        """
        record = await self._sandboxes.find(caller, sandbox_id)
        if record.state is SandboxState.ENDED:
            seen = _not_running(record, self._clock.now())
        else:
            seen = await self._observed(record)
        left = seen.record.expire_time - self._clock.now()
        if seen.record.state is SandboxState.ENDED:
            left = timedelta(0)
        return Status(
            seen=seen,
            lifetime_left=max(left, timedelta(0)),
            running_execs=self._execs.running(sandbox_id),
        )

    async def _observed(self, record: SandboxRecord) -> Observation:
        """Look, unless somebody just did or is doing so."""
        kept = self._seen.get(record.sandbox_id)
        if kept is not None and time.monotonic() - kept[0] < _FRESH_S:
            observation = await asyncio.shield(kept[1])
            # What this process itself changed since is not news from outside.
            if observation.record == record:
                return observation
        looking = asyncio.create_task(self._look(record))
        self._seen[record.sandbox_id] = (time.monotonic(), looking)
        self._seen.move_to_end(record.sandbox_id)
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        try:
            return await asyncio.shield(looking)
        except SandboxError:
            self._seen.pop(record.sandbox_id, None)
            raise

    async def _look(self, record: SandboxRecord) -> Observation:
        record = await self._sandboxes.refreshed(record)
        if record.state in (SandboxState.ENDED, SandboxState.PAUSED, SandboxState.CREATING):
            return _not_running(record, self._clock.now())
        healthy, usage, preview = await asyncio.gather(
            self._provider.healthy(record.sandbox_id),
            self._provider.usage(record.sandbox_id),
            self._previews.look(record, record.preview.port),
            return_exceptions=True,
        )
        for failed in (healthy, usage, preview):
            if isinstance(failed, BaseException) and not isinstance(failed, SandboxError):
                raise failed
        return Observation(
            record=record,
            health=Health.HEALTHY if healthy is True else Health.UNRESPONSIVE,
            usage=None if isinstance(usage, BaseException) else usage,
            preview_state=PreviewState.UNKNOWN
            if isinstance(preview, BaseException)
            else preview.state,
            observe_time=self._clock.now(),
        )


def _not_running(record: SandboxRecord, now: datetime) -> Observation:
    return Observation(
        record=record,
        health=Health.NOT_RUNNING,
        usage=None,
        preview_state=PreviewState.UNKNOWN,
        observe_time=now,
    )
