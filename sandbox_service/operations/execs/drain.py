"""What becomes of the execs of an instance that shuts down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from sandbox_service.domain.execs import Cause, Retention
from sandbox_service.operations.execs.running import RunningExec

_SHUT_DOWN: Final = "This instance of the service was shut down, and the program with it."

_log = structlog.get_logger(__name__)


async def end_all(running: Sequence[RunningExec], limit_s: float) -> None:
    """Let go of durable execs, which go on; end all others, and wait for their ends.

    Args:
        running: All that run here.
        limit_s: How long to wait, in seconds.
    """
    waits = []
    for it in running:
        if it.durable:
            it.let_go()
            continue
        if it.started.retention is Retention.ATTACHED:
            it.stop(Cause.CANCELLED)
        else:
            it.stop(Cause.BACKEND, _SHUT_DOWN)
        waits.append(asyncio.create_task(it.closed()))
    if waits:
        _, late = await asyncio.wait(waits, timeout=limit_s)
        for task in late:
            task.cancel()
        if late:
            _log.warning("execs.left_running", count=len(late))
