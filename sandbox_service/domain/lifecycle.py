"""The one state machine of a sandbox's life. Nothing else changes a state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from sandbox_service.domain.errors import (
    SandboxEndedError,
    SandboxError,
    SandboxNotReadyError,
    SandboxPausedError,
)
from sandbox_service.domain.sandboxes import End, EndCause, SandboxRecord, SandboxState
from sandbox_service.domain.setup import SetupFailure

_FOLLOWS: Final[Mapping[SandboxState, frozenset[SandboxState]]] = {
    SandboxState.CREATING: frozenset(
        {SandboxState.SETTING_UP, SandboxState.RUNNING, SandboxState.ENDED}
    ),
    SandboxState.SETTING_UP: frozenset({SandboxState.RUNNING, SandboxState.ENDED}),
    SandboxState.RUNNING: frozenset({SandboxState.PAUSED, SandboxState.ENDED}),
    SandboxState.PAUSED: frozenset({SandboxState.RUNNING, SandboxState.ENDED}),
    SandboxState.ENDED: frozenset(),
}


class IllegalTransitionError(Exception):
    """A state was asked to follow one that it cannot follow: a bug of ours."""


def moved(record: SandboxRecord, to: SandboxState, time: datetime) -> SandboxRecord:
    """Return `record` in the state `to` since `time`. A state follows itself unnoticed.

    A sandbox that was paused runs again as a new generation.

    Raises:
        IllegalTransitionError: `to` cannot follow, or is ENDED: use `ended`.
    """
    if to is record.state:
        return record
    if to is SandboxState.ENDED or to not in _FOLLOWS[record.state]:
        raise IllegalTransitionError(f"{record.sandbox_id}: {record.state} -> {to}")
    resumed = record.state is SandboxState.PAUSED
    return replace(record, state=to, state_time=time, generation=record.generation + resumed)


_DETAILS: Final[Mapping[EndCause, str]] = {
    EndCause.DESTROYED: "Destroy was called.",
    EndCause.LIFETIME_ENDED: "Its lifetime ended.",
    EndCause.SETUP_FAILED: "A setup step failed.",
    EndCause.CREATE_FAILED: "It could not be made ready.",
    EndCause.CREATE_CANCELLED: "Its Create was cancelled.",
    EndCause.LOST: "The backend no longer has it, and does not say why.",
    EndCause.BACKEND_STOPPED: "The embedded backend stopped, and its sandboxes with it.",
}


def ended(
    record: SandboxRecord,
    cause: EndCause,
    time: datetime,
    setup_failure: SetupFailure | None = None,
) -> SandboxRecord:
    """Return `record` as its tombstone. The first cause stays: a second end changes nothing."""
    if record.state is SandboxState.ENDED:
        return record
    end = End(time=time, cause=cause, detail=_DETAILS[cause], setup_failure=setup_failure)
    return replace(record, state=SandboxState.ENDED, state_time=time, end=end, traffic_token="")


def vanished(record: SandboxRecord, now: datetime) -> SandboxRecord:
    """Return the tombstone of a sandbox that the backend no longer has.

    Its lifetime ended if that time has come; otherwise it was lost, for all
    that is known.
    """
    if now >= record.expire_time:
        return ended(record, EndCause.LIFETIME_ENDED, record.expire_time)
    return ended(record, EndCause.LOST, now)


def require_running(record: SandboxRecord) -> None:
    """Refuse unless programs can run in the sandbox.

    Raises:
        SandboxEndedError: It has ended.
        SandboxPausedError: It is paused.
        SandboxNotReadyError: It is still being created.
    """
    data = {"sandbox_id": record.sandbox_id, "state": record.state.value}
    error: SandboxError
    match record.state:
        case SandboxState.RUNNING | SandboxState.SETTING_UP:
            return
        case SandboxState.PAUSED:
            error = SandboxPausedError(
                f"The sandbox {record.sandbox_id} is paused. Resume it first.", metadata=data
            )
        case SandboxState.CREATING:
            error = SandboxNotReadyError(
                f"The sandbox {record.sandbox_id} is still being created. Repeat the call.",
                metadata=data,
            )
        case SandboxState.ENDED:
            if record.end is not None:
                data["cause"] = record.end.cause.name
                data["end_time"] = record.end.time.isoformat()
            error = SandboxEndedError(
                f"The sandbox {record.sandbox_id} has ended ({data.get('cause', '')}). "
                "Create another.",
                metadata=data,
            )
    raise error
