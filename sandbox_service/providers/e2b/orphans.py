"""Programs that may have been started though nobody heard of it: ended, for nobody reaches them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from sandbox_service.domain.errors import (
    BackendError,
    BackendUnavailableError,
    OutcomeUnknownError,
    SandboxEndedError,
    SandboxError,
)
from sandbox_service.domain.processes import ProcessSpec
from sandbox_service.providers.e2b.killing import killer_of

if TYPE_CHECKING:
    from sandbox_service.providers.e2b.connection import Connection

MAY_HAVE_STARTED: Final = (BackendError, BackendUnavailableError, OutcomeUnknownError)
"""What a start fails with that says nothing about the program."""

_PAUSES_S: Final = (0.0, 0.5, 2.0, 8.0, 30.0)
"""Before each attempt: what broke the start may last."""

_log = structlog.get_logger(__name__)


def may_be_left(spec: ProcessSpec) -> bool:
    """Whether nobody could find the program again, nor wants to: one that is spooled can be."""
    return spec.durable is None or not spec.durable.spool_limit_bytes


async def end_orphan(connection: Connection, spec: ProcessSpec) -> None:
    """End whatever carries the marker of a start that failed; there may be nothing."""
    for pause in _PAUSES_S:
        await asyncio.sleep(pause)
        try:
            left = await killer_of(connection, spec.user).kill(0, spec.marker, 0)
        except SandboxEndedError:
            return
        except SandboxError as error:
            _log.info("exec.orphan_not_ended", reason=error.reason)
            continue
        # The first look may come before the program: the start is still under way in the backend.
        if not left and pause:
            return
    _log.warning("exec.orphan_left", exec_id=spec.exec_id)
