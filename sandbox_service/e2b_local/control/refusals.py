"""What went wrong with a sandbox, in E2B's words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.control.routing import ApiError
from sandbox_service.e2b_local.fleet import QuotaExceededError
from sandbox_service.e2b_local.fleet.life import (
    AgentSilentError,
    AlreadyPausedError,
    AlreadyRunningError,
    MemoryUnusableError,
    SandboxGoneError,
    TransitionBusyError,
)
from sandbox_service.e2b_local.machine import BootFailedError, GuestLostError, GuestOSError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

# Clients repeat 429 and 503 unless they are told not to.
_NEVER: Final = (("should-retry", "false"),)
_SOON: Final = (("should-retry", "true"), ("retry-after", "1"))


def unknown_sandbox(sandbox_id: str) -> ApiError:
    """Return the answer for a sandbox that is not there."""
    message = f"Sandbox \"{sandbox_id}\" doesn't exist or you don't have access to it"
    return ApiError(404, message)


def _gone(error: SandboxGoneError) -> ApiError:
    return unknown_sandbox(error.sandbox_id)


def _lost(error: GuestLostError) -> ApiError:
    del error
    return ApiError(404, "The sandbox has just ended")


def _paused(error: AlreadyPausedError) -> ApiError:
    message = f"Error pausing sandbox - sandbox '{error.sandbox_id}' is already paused"
    return ApiError(409, message)


def _running(error: AlreadyRunningError) -> ApiError:
    return ApiError(409, f"Sandbox {error.sandbox_id} is already running")


def _busy(error: TransitionBusyError) -> ApiError:
    return ApiError(409, f'Sandbox "{error.sandbox_id}" is in a transitional state')


def _silent(error: AgentSilentError) -> ApiError:
    message = f"Sandbox '{error.sandbox_id}' is not paused: its guest agent does not respond"
    return ApiError(503, message, headers=_NEVER)


def _unusable(error: MemoryUnusableError) -> ApiError:
    message = (
        f"Sandbox '{error.sandbox_id}' was paused while its guest agent did not respond;"
        " resume it without memory"
    )
    return ApiError(409, message, "sandbox_snapshot_guest_agent_unresponsive")


def _over_quota(error: QuotaExceededError) -> ApiError:
    message = f"you have reached the maximum number of concurrent E2B sandboxes ({error.limit})"
    return ApiError(429, message, headers=_NEVER)


def _not_started(error: BootFailedError) -> ApiError:
    logger.warning("a sandbox could not be started: %s", error)
    return ApiError(503, f"The sandbox could not be started: {error}", headers=_SOON)


def _not_done(error: GuestOSError) -> ApiError:
    logger.warning("the machine failed: %s", error)
    return ApiError(500, f"The machine could not do that: {error.strerror}")


# The first that fits.
_ANSWERS: Final[Mapping[type[Exception], Callable[..., ApiError]]] = {
    SandboxGoneError: _gone,
    GuestLostError: _lost,
    AlreadyPausedError: _paused,
    AlreadyRunningError: _running,
    TransitionBusyError: _busy,
    AgentSilentError: _silent,
    MemoryUnusableError: _unusable,
    QuotaExceededError: _over_quota,
    BootFailedError: _not_started,
    GuestOSError: _not_done,
}

EXPECTED: Final = tuple(_ANSWERS)
"""What `refusal_of` has an answer for."""


def refusal_of(error: Exception) -> ApiError:
    """Return the answer that tells a client of one of the `EXPECTED` errors."""
    return next(answer(error) for kind, answer in _ANSWERS.items() if isinstance(error, kind))
