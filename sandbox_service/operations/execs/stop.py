"""Ending a program that runs: its whole tree, once, for one reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from sandbox_service.domain.errors import BackendUnavailableError, SandboxEndedError, SandboxError
from sandbox_service.domain.execs import Cause
from sandbox_service.domain.processes import Process, ProcessEnd
from sandbox_service.operations.execs.journal import Journal
from sandbox_service.operations.execs.result import ExecResult, survivors

_END_AFTER_KILL_S: Final = 5.0
"""How long the backend may take to report the end of a program that was killed."""

_ROUNDS_AFTER_KILL: Final = 2
"""How often it is waited that long while something still writes."""

_KILL_AGAIN_S: Final = 1.0

_log = structlog.get_logger(__name__)

Reading = asyncio.Task[ProcessEnd]
"""What reads a program to its end."""


class ExecStop:
    """Why this service ends a program, and what came of that.

    Args:
        exec_id: Whose.
        grace: Between TERM and KILL.
        journal: Where its output goes.
        result: Where its output is counted.
        is_disconnected: Whether the backend cannot be reached now.

    Attributes:
        cause: None: it is not ended by this service.
        message: What to say of it. Empty: what the cause says.
        survivors: Processes that outlived it.
    """

    def __init__(
        self,
        exec_id: str,
        grace: timedelta,
        journal: Journal,
        result: ExecResult,
        is_disconnected: Callable[[], bool],
    ) -> None:
        self.cause: Cause | None = None
        self.message = ""
        self.survivors: tuple[int, ...] = ()
        self._exec_id = exec_id
        self._grace = grace
        self._journal = journal
        self._result = result
        self._is_disconnected = is_disconnected
        self._killing: asyncio.Task[None] | None = None

    def begin(self, cause: Cause, message: str, process: Process, reading: Reading) -> None:
        """Kill the tree; give up reading when its end is never reported."""
        self.cause = cause
        self.message = message
        self._killing = asyncio.create_task(self._kill(process, reading))

    async def finished(self) -> None:
        """Wait until what was begun is done."""
        if self._killing is not None:
            await self._killing

    async def _kill(self, process: Process, reading: Reading) -> None:
        """Kill the tree; give up on the backend's report of its end if that does not come."""
        try:
            self.survivors = survivors(await self._killed(process, reading))
        except SandboxEndedError:
            # Then there is nothing left to kill.
            pass
        except SandboxError as error:
            _log.warning("exec.kill_failed", exec_id=self._exec_id, reason=error.reason)
        finally:
            await self._give_up(reading)

    async def _killed(self, process: Process, reading: Reading) -> list[int]:
        """Kill the tree, again and again while the backend is out of reach."""
        while True:
            try:
                return list(await process.kill(self._grace))
            except BackendUnavailableError:
                if not self._is_disconnected():
                    raise
            await asyncio.wait({reading}, timeout=_KILL_AGAIN_S)

    async def _give_up(self, reading: Reading) -> None:
        """Wait for the end that the backend reports after a kill; not for ever."""
        patience = _ROUNDS_AFTER_KILL
        while not reading.done():
            before, held = self._result.produced, self._journal.full
            await asyncio.wait({reading}, timeout=_END_AFTER_KILL_S)
            # While a reader takes its time over what was written, so do we; it may have
            # made room just now.
            if held or self._journal.full or self._is_disconnected():
                patience = _ROUNDS_AFTER_KILL
                continue
            patience -= 1
            if not patience or self._result.produced == before:
                reading.cancel()
                return
