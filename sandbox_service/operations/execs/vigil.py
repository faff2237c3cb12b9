"""Notices that a sandbox is gone under its programs, though their streams only hang."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.operations.execs.running import RunningExec

_LOOK_S: Final = 2.5
"""Silence for so long is worth a question, and questions come so far apart."""

_LOOKS_MAX: Final = 64
"""How many sandboxes are asked in one go; with more silent ones, each is asked less often."""

_LOOK_TIMEOUT_S: Final = 2.0

_log = structlog.get_logger(__name__)


class Vigil:
    """Asks after sandboxes whose programs have been silent for a while.

    A connection that hangs brings neither bytes nor an error, and a program
    that sleeps looks just the same. What writes is not asked after.

    Args:
        provider: Who is asked.
    """

    def __init__(self, provider: SandboxProvider) -> None:
        self._provider = provider
        self._running: Mapping[str, Mapping[str, RunningExec]] = {}
        self._written: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._round = 0
        self._watching: asyncio.Task[None] | None = None

    def watch(self, running: Mapping[str, Mapping[str, RunningExec]]) -> None:
        """Watch what runs, by sandbox and id, for as long as anything does."""
        self._running = running
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        try:
            while self._running:
                await asyncio.sleep(_LOOK_S)
                self._round += 1
                due = self._due()
                self._asked.update(dict.fromkeys(due, self._round))
                await asyncio.gather(*map(self._look, due))
        finally:
            self._watching = None

    def _due(self) -> Sequence[str]:
        """Return the sandboxes that were silent since the last round, the longest unasked first."""
        written = {
            sandbox_id: sum(it.journal.written for it in execs.values())
            for sandbox_id, execs in self._running.items()
        }
        silent = [it for it, count in written.items() if self._written.get(it) == count]
        self._written = written
        self._asked = {it: when for it, when in self._asked.items() if it in written}
        return sorted(silent, key=lambda it: self._asked.get(it, 0))[:_LOOKS_MAX]

    async def _look(self, sandbox_id: str) -> None:
        if await self._is_gone(sandbox_id):
            _log.info("execs.sandbox_gone", sandbox_id=sandbox_id)
            for running in list(self._running.get(sandbox_id, {}).values()):
                running.sandbox_gone()

    async def _is_gone(self, sandbox_id: str) -> bool:
        """Ask the sandbox itself, and the backend, which counts calls, only if it is silent."""
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                if await self._provider.healthy(sandbox_id):
                    return False
        except (TimeoutError, SandboxError):
            # Then it takes the backend's word.
            pass
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                return await self._provider.get(sandbox_id) is None
        except (TimeoutError, SandboxError):
            return False
