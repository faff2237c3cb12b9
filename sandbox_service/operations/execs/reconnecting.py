"""Making contact with a program anew, for as long as its exec allows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from sandbox_service.domain.errors import (
    BackendRateLimitedError,
    BackendUnavailableError,
    OutcomeUnknownError,
    SandboxEndedError,
    SandboxError,
)
from sandbox_service.domain.processes import Process
from sandbox_service.operations.execs.result import ExecResult

_PAUSE_S: Final = 0.05
_PAUSE_MAX_S: Final = 2.0
_LOOK_S: Final = 3.0
"""How often the backend is asked whether the sandbox is still there."""


async def reconnected(
    process: Process, result: ExecResult, limit_s: float, is_gone: Callable[[], Awaitable[bool]]
) -> bool:
    """Make contact with a program anew.

    Args:
        process: The program, with which contact was lost.
        result: Knows how much of its output was read.
        limit_s: How long to try, in seconds.
        is_gone: Asks the backend whether the sandbox is gone.

    Returns:
        False when the time has passed.

    Raises:
        SandboxEndedError: The sandbox is gone.
        ExecLostError: The program has ended, and nobody knows how.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    look = loop.time() + _PAUSE_S
    pause = _PAUSE_S
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                await process.reconnect(result.produced)
                return True
        except TimeoutError:
            return False
        except (BackendUnavailableError, BackendRateLimitedError, OutcomeUnknownError):
            now = loop.time()
        if now >= look:
            look = now + _LOOK_S
            await _require_there(is_gone)
        # Spread out: everything that ran lost contact at the same moment.
        await asyncio.sleep(min(pause * random.uniform(0.5, 1.5), max(deadline - now, 0)))  # noqa: S311
        if loop.time() >= deadline:
            return False
        pause = min(pause * 2, _PAUSE_MAX_S)


async def _require_there(is_gone: Callable[[], Awaitable[bool]]) -> None:
    try:
        gone = await is_gone()
    except SandboxError:
        return
    if gone:
        raise SandboxEndedError("The sandbox has ended under the program.")
