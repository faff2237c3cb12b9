"""Sandboxes that are booted before anybody asks for them."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.e2b_local.machine import BootFailedError, BootSpec, Limits, warm
from sandbox_service.e2b_local.machine.warm import WarmSet

USUAL = BootSpec(limits=Limits(memory_bytes=1))
OTHER = BootSpec(limits=Limits(memory_bytes=2))


class FakeGuest:
    """A sandbox that can die."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.killed = False

    async def kill(self) -> None:
        self.killed = True


class FakeMachine:
    """Boots what is asked for, one by one, as long as it is allowed to."""

    def __init__(self) -> None:
        self.booted: list[FakeGuest] = []
        self.failures = 0
        self.deadly = False
        self.calm = asyncio.Event()
        self.calm.set()
        self.set = WarmSet(self.boot, self.quiet)

    async def boot(self, spec: BootSpec) -> FakeGuest:
        assert spec == USUAL
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise BootFailedError("not now")
        guest = FakeGuest(len(self.booted))
        self.booted.append(guest)
        if self.deadly:
            asyncio.get_running_loop().call_soon(guest.ended.set_result, "killed")
        return guest

    async def quiet(self) -> None:
        await self.calm.wait()

    async def come_to_rest(self) -> None:
        for _ in range(100):
            await asyncio.sleep(0)


@pytest.fixture
async def machine(monkeypatch):
    monkeypatch.setattr(warm, "_RETRY_SECONDS", 0)
    machine = FakeMachine()
    yield machine
    await machine.set.close()


async def test_as_many_are_ready_as_were_asked_for(machine):
    """And no more."""
    machine.set.keep(USUAL, 3)
    await machine.come_to_rest()

    assert len(machine.booted) == 3


async def test_none_are_kept_unless_asked_for(machine):
    """A machine of its own has none."""
    machine.set.keep(USUAL, 0)
    await machine.come_to_rest()

    assert machine.set.take(USUAL) is None
    assert machine.booted == []


async def test_the_oldest_is_taken_and_replaced(machine):
    """Each is given away once."""
    machine.set.keep(USUAL, 2)
    await machine.come_to_rest()
    taken = [machine.set.take(USUAL).number for _ in range(2)]

    assert taken == [0, 1]
    assert machine.set.take(USUAL) is None
    await machine.come_to_rest()
    assert machine.set.take(USUAL).number == 2


async def test_another_kind_gets_none(machine):
    """Limits cannot be changed after a boot, so they are never a reason to try."""
    machine.set.keep(USUAL, 1)
    await machine.come_to_rest()

    assert machine.set.take(OTHER) is None
    assert machine.set.take(BootSpec(limits=USUAL.limits, hostname="box")) is None
    assert machine.set.take(USUAL) is not None


async def test_whoever_waits_for_a_boot_goes_first(machine):
    """Nothing is booted ahead while others are being booted."""
    machine.calm.clear()
    machine.set.keep(USUAL, 2)
    await machine.come_to_rest()
    assert machine.booted == []
    machine.calm.set()
    await machine.come_to_rest()

    assert len(machine.booted) == 2


async def test_one_that_died_is_not_given_away(machine):
    """It is replaced."""
    machine.set.keep(USUAL, 1)
    await machine.come_to_rest()
    machine.booted[0].ended.set_result("out of memory")
    # Also before the set has been told.
    assert machine.set.take(USUAL) is None
    await machine.come_to_rest()

    assert machine.set.take(USUAL).number == 1


async def test_the_end_of_one_that_was_taken_is_nobodys_loss(machine):
    """It was replaced when it was taken."""
    machine.set.keep(USUAL, 1)
    await machine.come_to_rest()
    machine.set.take(USUAL).ended.set_result("killed")
    await machine.come_to_rest()

    assert len(machine.booted) == 2


async def test_a_boot_that_fails_is_tried_again(machine):
    """The host may have been short of something for a moment."""
    machine.failures = 3
    machine.set.keep(USUAL, 1)
    await machine.come_to_rest()

    assert machine.set.take(USUAL) is not None


async def test_what_kills_each_of_them_is_not_fed(machine, monkeypatch):
    """They are booted again in a while, not one after the other as fast as they die."""
    monkeypatch.setattr(warm, "_RETRY_SECONDS", 600)
    machine.deadly = True
    machine.set.keep(USUAL, 3)
    await machine.come_to_rest()

    # Others may be on their way when the first one dies.
    assert 1 <= len(machine.booted) <= 3
    assert machine.set.take(USUAL) is None


async def test_it_ends_though_a_boot_fails_instead_of_being_cancelled(machine, monkeypatch):
    """The host refuses at the moment that the server ends."""

    async def boot(_spec: BootSpec) -> FakeGuest:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise BootFailedError("the host refused") from None
        raise AssertionError

    monkeypatch.setattr(machine.set, "_boot", boot)
    monkeypatch.setattr(warm, "_RETRY_SECONDS", 600)
    machine.set.keep(USUAL, 1)
    await machine.come_to_rest()
    async with asyncio.timeout(5):
        await machine.set.close()


async def test_nothing_is_left_after_the_end(machine):
    """Those that nobody took end, and no other is booted for them."""
    machine.set.keep(USUAL, 2)
    await machine.come_to_rest()
    taken = machine.set.take(USUAL)
    await machine.set.close()
    await machine.come_to_rest()

    assert [guest.killed for guest in machine.booted if guest is not taken] == [True]
    assert not taken.killed
    assert machine.set.take(USUAL) is None
