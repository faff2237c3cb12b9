"""What a sandbox's log holds, and for how long."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from sandbox_service.e2b_local.envd.messages import process_pb
from sandbox_service.e2b_local.envd.processes import Ending
from sandbox_service.e2b_local.fleet.activity import ENTRY_LIMIT, Activities, Activity


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def activity(clock):
    return Activity(clock)


def messages(activity, **wanted):
    return [entry.message for entry in activity.select(**wanted)]


def program(cmd, *args, pid=7, **envs):
    config = process_pb.ProcessConfig(cmd=cmd, args=list(args), envs=envs)
    finished = asyncio.get_running_loop().create_future()
    return SimpleNamespace(pid=pid, config=config, finished=finished)


async def settled():
    """Let callbacks of what is done run."""
    await asyncio.sleep(0)


def test_only_the_last_entries_are_kept(activity):
    """A sandbox that starts programs for ever must not fill the memory."""
    for number in range(ENTRY_LIMIT + 5):
        activity.record("info", str(number))

    assert messages(activity)[0] == "5"
    assert len(messages(activity)) == ENTRY_LIMIT


def test_fields_are_text(activity):
    """Their schema has no other type."""
    activity.record("info", "x", pid=7, exit_code=None)

    assert activity.select()[0].fields == {"pid": "7", "exit_code": "None"}


def test_a_reader_goes_on_where_it_stopped_in_either_direction(activity, clock):
    """By time alone, though much may happen in one millisecond."""
    for number in range(7):
        activity.record("info", str(number))
    clock.now += 1
    activity.record("info", "7")

    forward, cursor = [], 0
    while page := activity.select(start_ms=cursor, limit=3):
        forward += [entry.message for entry in page]
        cursor = page[-1].time_ms + 1
    backward, cursor = [], None
    while page := activity.select(end_ms=cursor, newest_first=True, limit=3):
        backward += [entry.message for entry in page]
        cursor = page[-1].time_ms

    assert forward == [str(number) for number in range(8)]
    assert backward == forward[::-1]
    assert activity.select()[-1].time_ms == 1_001_000


def test_entries_are_found_by_importance_and_words(activity):
    """Case-sensitive, as E2B does it."""
    activity.record("debug", "Ax")
    activity.record("info", "ax")
    activity.record("warn", "Ay")
    activity.record("error", "Ax")

    assert messages(activity, level="warn") == ["Ay", "Ax"]
    assert messages(activity, search="Ax") == ["Ax", "Ax"]
    assert messages(activity, search="Ax", level="info") == ["Ax"]
    assert messages(activity, limit=0) == []


async def test_a_program_is_logged_from_start_to_end(activity):
    """Who looks later sees what ran, and how it ended."""
    started = program("/bin/bash", "-c", "exit 3")
    activity.follow(started)
    started.finished.set_result(Ending(3, True, "exit status 3"))
    await settled()

    start, end = activity.select()
    assert start.message == "Program 7 started: /bin/bash -c 'exit 3'"
    assert (start.level, start.fields) == ("info", {"pid": "7", "cmd": "/bin/bash"})
    assert end.message == "Program 7 ended: exit status 3"
    assert (end.level, end.fields["exit_code"]) == ("warn", "3")


async def test_a_log_holds_no_variables_and_no_long_arguments(activity):
    """Variables are where secrets are, and arguments may be as large as files."""
    activity.follow(program("sh", "-c", "x" * 100_000, *["y"] * 10_000, TOKEN="secret-value"))

    (entry,) = activity.select()
    assert "secret-value" not in f"{entry}"
    assert len(entry.message) < 250


async def test_a_program_that_went_with_its_sandbox_has_no_end_of_its_own(activity):
    """Its sandbox's end is in the log already."""
    started = program("sleep")
    activity.follow(started)
    started.finished.cancel()
    await settled()

    assert len(activity.select()) == 1


def test_the_log_of_an_ended_sandbox_stays_for_a_while(clock):
    """Why it ended is asked when it has ended."""
    activities = Activities(clock)
    activity = activities.open("a")
    for _ in range(ENTRY_LIMIT):
        activity.record("info", "more")
    activities.record("a", "more yet", by="its owner")
    activities.end("a", "killed")

    kept = activities.get("a")
    assert messages(kept)[-2:] == ["more yet", "killed"]
    assert len(messages(kept)) < ENTRY_LIMIT
    for number in range(100):
        activities.open(str(number))
        activities.end(str(number), "killed")
    assert activities.get("a") is None
    assert activities.get("99") is not None
    assert activities.get("never") is None


def test_ending_what_is_not_there_is_nothing(clock):
    """A sandbox may be forgotten twice: it was killed while it died."""
    activities = Activities(clock)
    activities.record("gone", "paused")
    activities.end("gone", "killed")

    assert activities.get("gone") is None
