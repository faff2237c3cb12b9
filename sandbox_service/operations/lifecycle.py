"""A sandbox's later life: its lifetime extended, its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

from sandbox_service.domain.errors import (
    GenerationMismatchError,
    LifetimeNotExtendedError,
    LifetimeTooLongError,
)
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.ports import Clock, SandboxProvider
from sandbox_service.domain.sandboxes import EndCause, SandboxRecord, SandboxState
from sandbox_service.operations.execs.execs import Execs
from sandbox_service.operations.sandboxes import Sandboxes


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What Destroy answers with.

    Attributes:
        record: The sandbox, ended.
        already_ended: Whether it had ended before this call.
    """

    record: SandboxRecord
    already_ended: bool


class Lifecycle:
    """Extends and ends sandboxes."""

    def __init__(
        self,
        provider: SandboxProvider,
        sandboxes: Sandboxes,
        execs: Execs,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._provider = provider
        self._sandboxes = sandboxes
        self._execs = execs
        self._limits = limits
        self._clock = clock

    async def destroy(
        self, caller: Caller, sandbox_id: str, if_generation: int | None = None
    ) -> Destroyed:
        """End a sandbox and everything in it. Ending it again is no error.

        Raises:
            SandboxNotFoundError: The caller has none of that id.
            GenerationMismatchError: It is not the incarnation the caller saw.
        """
        record = await self._sandboxes.find(caller, sandbox_id)
        _require_generation(record, if_generation)
        if record.state is SandboxState.ENDED:
            return Destroyed(record, already_ended=True)
        # Once begun it goes through, whether or not anybody still waits.
        return await asyncio.shield(asyncio.create_task(self._destroy(record)))

    async def extend(
        self,
        caller: Caller,
        sandbox_id: str,
        expire_time: datetime,
        if_generation: int | None = None,
    ) -> tuple[SandboxRecord, bool]:
        """Let a sandbox live until `expire_time`.

        Returns:
            The sandbox, and whether its end moved.

        Raises:
            LifetimeNotExtendedError: It would end sooner than it does now.
            LifetimeTooLongError: Nobody gets as much.
            SandboxNotFoundError, SandboxEndedError, SandboxPausedError,
            GenerationMismatchError: Not this one, or not now.
        """
        async with self._sandboxes.using(caller, sandbox_id) as record:
            _require_generation(record, if_generation)
            return await self._extend(record, expire_time)

    async def _extend(
        self, record: SandboxRecord, expire_time: datetime
    ) -> tuple[SandboxRecord, bool]:
        if expire_time == record.expire_time:
            return record, False
        if expire_time < record.expire_time:
            raise LifetimeNotExtendedError(
                f"The sandbox lives until {record.expire_time.isoformat()}; lifetimes only grow.",
                metadata={
                    "sandbox_id": record.sandbox_id,
                    "expire_time": record.expire_time.isoformat(),
                },
            )
        left = expire_time - self._clock.now()
        if left > self._limits.lifetime_max:
            raise LifetimeTooLongError(
                f"A sandbox may live for {self._limits.lifetime_max} from now. Ask for no more.",
                metadata={
                    "field": "expire_time",
                    "max_seconds": str(int(self._limits.lifetime_max.total_seconds())),
                },
            )
        await self._provider.set_lifetime(record.sandbox_id, left)
        extended = await self._sandboxes.put(replace(record, expire_time=expire_time))
        self._execs.lifetime_extended(extended)
        return extended, True

    async def _destroy(self, record: SandboxRecord) -> Destroyed:
        self._execs.expect_loss(record.sandbox_id)
        self._sandboxes.ending(record.sandbox_id, EndCause.DESTROYED)
        was_there = await self._provider.destroy(record.sandbox_id)
        return Destroyed(await self._sandboxes.gone(record), already_ended=not was_there)


def _require_generation(record: SandboxRecord, wanted: int | None) -> None:
    if wanted is not None and wanted != record.generation:
        raise GenerationMismatchError(
            f"The sandbox is of generation {record.generation}, not {wanted}. Look again.",
            metadata={
                "sandbox_id": record.sandbox_id,
                "generation": str(record.generation),
            },
        )
