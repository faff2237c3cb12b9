"""Taking over, at the start, what instances that are gone have left in sandboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.sandboxes import SandboxRecord
from sandbox_service.operations.execs.execs import Execs

_log = structlog.get_logger(__name__)


async def recover_all(
    execs: Execs, records: Sequence[SandboxRecord], predecessors: Sequence[str]
) -> bool:
    """Take over sandboxes from instances that are gone; see `Execs.recover`.

    Returns:
        Whether it worked for all of them.
    """
    slots = asyncio.Semaphore(8)

    async def recover(record: SandboxRecord) -> bool:
        async with slots:
            try:
                await execs.recover(record, predecessors)
            except SandboxError as error:
                _log.warning(
                    "execs.not_recovered", sandbox_id=record.sandbox_id, reason=error.reason
                )
                return False
            return True

    return all(await asyncio.gather(*map(recover, records)))
