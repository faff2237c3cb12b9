"""Letting sandboxes run again that somebody has paused."""

from __future__ import annotations

import asyncio

from sandbox_service.domain.limits import Limits
from sandbox_service.domain.ports import BackendSandbox, SandboxProvider
from sandbox_service.domain.sandboxes import SandboxRecord


class Resumption:
    """Resumes each sandbox once, however many ask for it at the same time.

    Args:
        provider: Where the sandboxes are.
        limits: How long one lives that is resumed.
    """

    def __init__(self, provider: SandboxProvider, limits: Limits) -> None:
        self._provider = provider
        self._limits = limits
        self._under_way: dict[str, asyncio.Task[BackendSandbox]] = {}

    async def of(self, record: SandboxRecord) -> BackendSandbox:
        """Resume a paused sandbox; returns what it is then.

        It goes on when whoever asked first has left.

        Raises:
            SandboxEndedError: It is gone.
            BackendQuotaExceededError: It cannot be resumed now.
        """
        sandbox_id = record.sandbox_id
        resuming = self._under_way.get(sandbox_id)
        if resuming is None:
            resuming = self._under_way[sandbox_id] = asyncio.create_task(self._resume(record))
            resuming.add_done_callback(lambda _: self._under_way.pop(sandbox_id))
        return await asyncio.shield(resuming)

    async def _resume(self, record: SandboxRecord) -> BackendSandbox:
        """Resume it with what it had left when it was paused, or more."""
        left = max(record.expire_time - record.state_time, self._limits.lifetime_default)
        lifetime = min(left, self._limits.lifetime_max)
        return await self._provider.resume(record.sandbox_id, lifetime)
