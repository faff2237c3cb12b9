"""The one state machine of a sandbox's life."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from sandbox_service.domain import lifecycle
from sandbox_service.domain.errors import (
    SandboxEndedError,
    SandboxNotReadyError,
    SandboxPausedError,
)
from sandbox_service.domain.sandboxes import EndCause, SandboxRecord, SandboxState
from tests.support.scripted import SetClock, running_record

_LATER = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)

_MOVES = {
    (SandboxState.CREATING, SandboxState.SETTING_UP),
    (SandboxState.CREATING, SandboxState.RUNNING),
    (SandboxState.SETTING_UP, SandboxState.RUNNING),
    (SandboxState.RUNNING, SandboxState.PAUSED),
    (SandboxState.PAUSED, SandboxState.RUNNING),
}
"""Every change of state that is no end."""


def _record(state: SandboxState) -> SandboxRecord:
    record = replace(running_record(SetClock()), traffic_token="secret")
    if state is SandboxState.ENDED:
        return lifecycle.ended(record, EndCause.DESTROYED, record.create_time)
    return replace(record, state=state)


@pytest.mark.parametrize(("state", "to"), list(product(SandboxState, repeat=2)))
def test_only_the_listed_states_follow_one_another(state: SandboxState, to: SandboxState):
    """Anything else is a bug of ours, and is stopped where it happens."""
    record = _record(state)

    if state is to:
        assert lifecycle.moved(record, to, _LATER) is record
    elif (state, to) in _MOVES:
        moved = lifecycle.moved(record, to, _LATER)
        assert (moved.state, moved.state_time) == (to, _LATER)
        again = moved.generation - record.generation
        assert again == (state is SandboxState.PAUSED)
        same = {"state": state, "state_time": record.state_time, "generation": record.generation}
        assert replace(moved, **same) == record
    else:
        with pytest.raises(lifecycle.IllegalTransitionError):
            lifecycle.moved(record, to, _LATER)


@pytest.mark.parametrize("cause", EndCause)
@pytest.mark.parametrize("state", [it for it in SandboxState if it is not SandboxState.ENDED])
def test_every_living_sandbox_can_end_for_every_cause(state: SandboxState, cause: EndCause):
    """Its tombstone says when and why, in words too, and keeps no secret."""
    tombstone = lifecycle.ended(_record(state), cause, _LATER)

    assert tombstone.state is SandboxState.ENDED
    assert tombstone.state_time == _LATER
    assert tombstone.end is not None
    assert (tombstone.end.cause, tombstone.end.time) == (cause, _LATER)
    assert tombstone.end.detail
    assert tombstone.traffic_token == ""


def test_the_first_end_stays():
    """Whoever comes second did not end it."""
    tombstone = lifecycle.ended(_record(SandboxState.RUNNING), EndCause.LOST, _LATER)

    assert lifecycle.ended(tombstone, EndCause.DESTROYED, _LATER + timedelta(1)) is tombstone


@pytest.mark.parametrize(
    ("after", "cause"),
    [
        (timedelta(seconds=-1), EndCause.LOST),
        (timedelta(0), EndCause.LIFETIME_ENDED),
        (timedelta(days=1), EndCause.LIFETIME_ENDED),
    ],
    ids=["before its time", "at its time", "long after"],
)
def test_what_vanished_ended_with_its_lifetime_or_was_lost(after: timedelta, cause: EndCause):
    """Only what was seen is said; and a lifetime ended when it ended, not when it was noticed."""
    record = _record(SandboxState.RUNNING)
    now = record.expire_time + after

    end = lifecycle.vanished(record, now).end

    assert end is not None
    assert end.cause is cause
    assert end.time == (now if cause is EndCause.LOST else record.expire_time)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (SandboxState.RUNNING, None),
        (SandboxState.SETTING_UP, None),
        (SandboxState.CREATING, SandboxNotReadyError),
        (SandboxState.PAUSED, SandboxPausedError),
        (SandboxState.ENDED, SandboxEndedError),
    ],
)
def test_programs_run_only_where_they_can(state: SandboxState, error: type[Exception] | None):
    """Each refusal calls for something else: wait, resume, or create another."""
    record = _record(state)

    if error is None:
        lifecycle.require_running(record)
        return
    with pytest.raises(error) as caught:
        lifecycle.require_running(record)
    assert caught.value.metadata["sandbox_id"] == "box"
    assert caught.value.metadata["state"] == state.value


def test_a_refusal_says_how_the_sandbox_ended():
    """The caller learns at once whether to complain or to try again."""
    record = lifecycle.ended(_record(SandboxState.RUNNING), EndCause.LIFETIME_ENDED, _LATER)

    with pytest.raises(SandboxEndedError) as caught:
        lifecycle.require_running(record)

    assert caught.value.metadata["cause"] == "LIFETIME_ENDED"
    assert caught.value.metadata["end_time"] == _LATER.isoformat()
