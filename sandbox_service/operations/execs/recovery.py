"""Taking over, at the start, what instances that are gone have left in sandboxes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from sandbox_service.domain.errors import SandboxEndedError, SandboxError
from sandbox_service.domain.sandboxes import SandboxRecord
from sandbox_service.operations.execs.execs import Execs

_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""After each attempt; the last for ever. What a crash had to do with may well go on after it."""

_AT_ONCE: Final = 8

_log = structlog.get_logger(__name__)


async def recover_all(
    execs: Execs,
    live: Callable[[], Awaitable[Sequence[SandboxRecord]]],
    predecessors: Sequence[str],
    *,
    pauses_s: Sequence[float] = _PAUSES_S,
) -> None:
    """Take over sandboxes from instances that are gone, until it has worked for all that live.

    Args:
        execs: See `Execs.recover`.
        live: Tells which sandboxes run. Asked anew for each attempt: one that was paused
            meanwhile must not be woken, and takes what runs in it along.
        predecessors: The names of those instances.
        pauses_s: How long to wait after each attempt that did not work.
    """
    slots = asyncio.Semaphore(_AT_ONCE)
    done: set[str] = set()

    async def recover(record: SandboxRecord) -> None:
        async with slots:
            try:
                await execs.recover(record, predecessors)
            except SandboxEndedError:
                pass  # With all that was in it.
            except SandboxError as error:
                _log.warning(
                    "execs.not_recovered", sandbox_id=record.sandbox_id, reason=error.reason
                )
                return
        done.add(record.sandbox_id)

    if not predecessors:
        return
    for attempt in itertools.count():
        try:
            records = [it for it in await live() if it.sandbox_id not in done]
        except SandboxError as error:
            _log.warning("recovery.failed", reason=error.reason, message=str(error))
        else:
            await asyncio.gather(*map(recover, records))
            if all(it.sandbox_id in done for it in records):
                return
        await asyncio.sleep(pauses_s[min(attempt, len(pauses_s) - 1)])
