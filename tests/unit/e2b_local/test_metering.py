"""How often a sandbox is measured, and what is kept of it."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.e2b_local.fleet import metering
from sandbox_service.e2b_local.fleet.metering import Meter
from sandbox_service.e2b_local.machine import GuestLostError, Usage

START = 1_000_000.0


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


class GuestDouble:
    """Uses as much CPU as the test says."""

    def __init__(self):
        self.cpu_seconds = 0.0
        self.asked = []
        self.error = None

    async def usage(self, *, disk_max_age_seconds):
        self.asked.append(disk_max_age_seconds)
        if self.error is not None:
            raise self.error
        return Usage(
            cpu_seconds=self.cpu_seconds,
            memory_rss_bytes=1,
            memory_total_bytes=2,
            process_count=1,
            disk_used_bytes=3,
            disk_total_bytes=4,
        )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def guest():
    return GuestDouble()


@pytest.fixture
async def meter(clock, guest):
    meter = Meter(clock, cpu_count=2)
    meter.begin(guest)
    yield meter
    meter.end()


def times(meter, start=None, end=None):
    return [sample.taken_at - START for sample in meter.between(start, end)]


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the condition has no event of its own
            await asyncio.sleep(0)


async def test_a_sandbox_is_measured_without_being_asked(clock, guest, monkeypatch):
    """History is there for who comes later; the disk is walked seldom for it."""
    monkeypatch.setattr(metering, "_FIRST_SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(metering, "SAMPLE_SECONDS", 0.001)
    meter = Meter(clock, cpu_count=2)
    meter.begin(guest)
    async with asyncio.timeout(10):
        while len(meter.between(None, None)) < 3:
            clock.now += 5
            await asyncio.sleep(0)
    meter.end()

    assert set(guest.asked) == {metering._UNASKED_DISK_SECONDS}


async def test_a_sandbox_that_cannot_be_measured_is_tried_again(clock, guest, monkeypatch):
    """One answer that did not come must not end the history."""
    monkeypatch.setattr(metering, "_FIRST_SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(metering, "SAMPLE_SECONDS", 0.001)
    guest.error = OSError("no descriptors")
    meter = Meter(clock, cpu_count=2)
    meter.begin(guest)
    await until(lambda: guest.asked)
    guest.error = None
    await until(lambda: meter.latest)
    meter.end()

    assert len(guest.asked) > 1


async def test_the_cpu_share_is_of_all_cpus_since_the_sample_before(meter, clock, guest):
    """100 means that nothing more is there to be had."""
    clock.now += 10
    guest.cpu_seconds = 10.0
    await meter.refresh()
    clock.now += 10
    guest.cpu_seconds = 15.0
    await meter.refresh()
    clock.now += 10
    guest.cpu_seconds = 500.0
    await meter.refresh()

    assert [sample.cpu_percent for sample in meter.between(None, None)] == [50.0, 25.0, 100.0]


async def test_asking_often_makes_no_more_than_a_sample_per_step(meter, clock, guest):
    """A client that polls must not push an hour of history out."""
    for number in range(10):
        guest.cpu_seconds = number + 1.0
        clock.now = START + 1 + number
        await meter.refresh()

    # START is a multiple of the step.
    assert times(meter) == [4, 9, 10]
    # Since the last sample of the step before, not since the one that was replaced.
    assert meter.between(None, None)[1].cpu_percent == 50.0


async def test_asking_at_once_again_measures_once(meter, guest, clock):
    """Many readers of one sandbox cost as much as one."""
    clock.now += 3
    await asyncio.gather(*(meter.refresh() for _ in range(5)))
    clock.now += 0.5
    await meter.refresh()

    assert len(guest.asked) == 1


async def test_an_hour_is_kept(meter, clock):
    """Memory is bounded, however long a sandbox lives."""
    for _ in range(800):
        clock.now += 5
        await meter.refresh()

    assert len(meter.between(None, None)) == 720
    assert times(meter)[0] == 81 * 5


async def test_a_range_holds_both_its_ends(meter, clock):
    """And nothing but what lies in it."""
    for _ in range(4):
        clock.now += 5
        await meter.refresh()

    assert times(meter, START + 10, START + 15) == [10, 15]
    assert times(meter, None, START + 5) == [5]
    assert times(meter, START + 20, None) == [20]
    assert times(meter, START - 100, START - 50) == []


async def test_a_paused_sandbox_is_not_measured_but_its_history_stays(meter, clock, guest):
    """And the pause does not dilute what it uses afterwards."""
    clock.now += 10
    guest.cpu_seconds = 10.0
    await meter.refresh()
    meter.end()
    clock.now += 1000
    await meter.refresh()
    assert times(meter) == [10]

    meter.begin(guest)
    clock.now += 10
    guest.cpu_seconds = 20.0
    await meter.refresh()

    assert times(meter) == [10, 1020]
    assert meter.latest.cpu_percent == 50.0


async def test_a_restarted_sandbox_counts_its_cpu_from_zero(meter, clock, guest):
    """Its processes are new ones, and so is the sum of what they used."""
    clock.now += 10
    guest.cpu_seconds = 100.0
    await meter.refresh()
    meter.end()
    again = GuestDouble()
    meter.begin(again)
    clock.now += 10
    again.cpu_seconds = 10.0
    await meter.refresh()

    assert meter.latest.cpu_percent == 50.0


async def test_what_was_measured_while_it_was_paused_is_dropped(clock):
    """The pause came first; history must not show it running after it."""
    asked, answer = asyncio.Event(), asyncio.Event()

    class SlowGuest(GuestDouble):
        async def usage(self, *, disk_max_age_seconds):
            asked.set()
            await answer.wait()
            return await super().usage(disk_max_age_seconds=disk_max_age_seconds)

    meter = Meter(clock, cpu_count=1)
    meter.begin(SlowGuest())
    refresh = asyncio.create_task(meter.refresh())
    await asked.wait()
    meter.end()
    answer.set()
    await refresh

    assert meter.latest is None


async def test_a_dead_sandbox_is_told_to_who_asks(meter, guest, clock):
    """The control plane answers 404 for it."""
    clock.now += 5
    guest.error = GuestLostError("dead")

    with pytest.raises(GuestLostError):
        await meter.refresh()
