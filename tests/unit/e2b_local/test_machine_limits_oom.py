"""Who was killed for want of memory: counted once, named where that can be known."""

from __future__ import annotations

import asyncio
import signal

import pytest

from sandbox_service.e2b_local.machine import OomKill
from sandbox_service.e2b_local.machine.limits import oom
from sandbox_service.e2b_local.machine.limits.oom import MemoryEvents, OomLedger


class CountingGroup:
    def __init__(self):
        self.count = 0

    def oom_kills(self):
        return self.count


@pytest.fixture
def told():
    return []


def test_a_program_that_ends_at_the_same_time_is_the_one(told):
    group = CountingGroup()
    ledger = OomLedger(group, None)
    ledger._on_kill = told.append
    ledger.note_exit(7, signal.SIGKILL)
    group.count = 1
    ledger.note_exit(8, 0)
    ledger.note_exit(9, signal.SIGTERM)
    ledger.note_exit(10, signal.SIGKILL)
    ledger.note_exit(11, signal.SIGKILL)

    assert told == [OomKill(10)]
    assert ledger.kills == 1


async def test_one_that_nobody_waits_for_is_counted_all_the_same(told, monkeypatch):
    """And the next as well: the group is asked for ever."""
    monkeypatch.setattr(oom, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(oom, "_GRACE_SECONDS", 0.0)
    group = CountingGroup()
    ledger = OomLedger(group, None)
    ledger.begin(told.append)
    async with asyncio.timeout(10):
        for count in (1, 3):
            group.count = count
            while ledger.kills < count:  # noqa: ASYNC110 - a timer has no event
                await asyncio.sleep(0)
    ledger.close()

    assert told == [OomKill()] * 3


async def test_a_sandbox_that_dies_of_it_tells_it_last(told):
    group = CountingGroup()
    ledger = OomLedger(group, None)
    ledger.begin(told.append)
    group.count = 1
    ledger.close()
    group.count = 2
    await asyncio.sleep(0)

    assert told == [OomKill()]


async def test_the_sandbox_itself_reads_it_in_the_kernels_own_form(tmp_path, told):
    """Programs that ask cannot see who counts."""
    path = tmp_path / "memory.events"
    ledger = OomLedger(None, MemoryEvents(path))
    ledger.begin(told.append)
    shown = path.open()
    assert "oom_kill 0\n" in shown.read()
    for _ in range(12):
        ledger.add(OomKill(3, "python3"))
    shown.seek(0)
    rows = dict(line.split() for line in shown.read().splitlines())
    shown.close()
    ledger.close()

    assert rows["oom_kill"] == rows["oom"] == "12"
    assert set(rows) == {"low", "high", "max", "oom", "oom_kill", "oom_group_kill"}
    assert path.stat().st_mode & 0o777 == 0o444
    MemoryEvents(path).close()
