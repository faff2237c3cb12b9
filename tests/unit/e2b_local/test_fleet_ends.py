"""How sandboxes end, and how traffic wakes them."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.e2b_local.fleet.life import (
    ResumeDeniedError,
    SandboxGoneError,
)
from sandbox_service.e2b_local.machine import GuestLostError
from tests.unit.e2b_local.fleet_double import make, until

# The end of a lifetime


async def test_a_lifetime_ends_with_a_kill(fleet, clock):
    """Unless its creator wanted something else."""
    sandbox = await make(fleet)
    clock.now = 1060.0
    fleet.ends_changed()
    await until(sandbox.guest.ended.done)

    assert fleet.store.get("ia") is None


@pytest.mark.parametrize(("keep_memory", "mode"), [(True, "full"), (False, "filesystem")])
async def test_a_lifetime_ends_with_a_pause(fleet, clock, keep_memory, mode):
    """And again after each resumption."""
    await make(fleet, on_timeout="pause", keep_memory=keep_memory)
    for _ in range(2):
        clock.now = fleet.store.get("ia").end_at
        fleet.ends_changed()
        await until(lambda: fleet.store.get("ia").pause_mode == mode)
        clock.now += 10_000
        await fleet.connect("ia", 30)


async def test_more_time_given_while_others_had_the_turn_counts(fleet, clock):
    """A snapshot under way must not make a sandbox miss its extension."""
    sandbox = await make(fleet, on_timeout="pause")
    sandbox.guest.gate.clear()
    copying = asyncio.create_task(fleet.snapshot("ia"))
    await sandbox.guest.entered.wait()
    clock.now = 1060.0
    fleet.ends_changed()
    await until(lambda: fleet._reaper._ending)
    await fleet.connect("ia", 600)
    sandbox.guest.gate.set()
    await copying
    await until(lambda: not fleet._reaper._ending)

    assert fleet.store.get("ia").state == "running"


async def test_a_resumption_may_change_what_happens_at_the_end(fleet):
    """`autoPause` of the resume call."""
    await make(fleet)
    await fleet.pause("ia")
    await fleet.resume("ia", 30, on_timeout="pause")

    assert fleet.store.get("ia").on_timeout == "pause"


# Waking


async def test_traffic_wakes_only_what_allows_it(fleet, clock):
    """And gives it five minutes at least, its creator's lifetime at most a day."""
    await make(fleet, "ia", auto_resume=True)
    await make(fleet, "ib")
    for sandbox_id in ("ia", "ib"):
        await fleet.pause(sandbox_id)
    clock.now = 2000.0

    assert (await fleet.wake("ia")).sandbox_id == "ia"
    assert fleet.store.get("ia").end_at == 2300.0
    assert await fleet.wake("ia") is fleet.get("ia")
    with pytest.raises(ResumeDeniedError):
        await fleet.wake("ib")
    with pytest.raises(SandboxGoneError):
        await fleet.wake("ic")


async def test_traffic_does_not_boot_what_kept_no_memory(fleet):
    """The request would meet a sandbox without the program it was meant for."""
    await make(fleet, auto_resume=True)
    await fleet.pause("ia", memory=False)

    with pytest.raises(ResumeDeniedError):
        await fleet.wake("ia")


async def test_many_who_wake_it_at_once_resume_it_once(fleet, machine):
    """A page opens six connections."""
    sandbox = await make(fleet, auto_resume=True)
    await fleet.pause("ia")
    woken = await asyncio.gather(*(fleet.wake("ia") for _ in range(6)))

    assert set(woken) == {sandbox}
    assert machine.boots == ["ia"]


# The end


@pytest.mark.parametrize("memory", [True, False])
async def test_a_paused_sandbox_can_be_killed(fleet, machine, memory):
    """Nothing of it stays on the disk."""
    sandbox = await make(fleet)
    await fleet.pause("ia", memory=memory)

    assert await fleet.kill("ia")
    assert not await fleet.kill("ia")
    assert sandbox.guest.ended.done()
    assert machine.shelf == {}
    assert fleet.store.get("ia") is None


@pytest.mark.parametrize("memory", [True, False])
async def test_a_kill_does_not_wait_for_a_pause(fleet, machine, memory):
    """And what the pause leaves is removed all the same."""
    sandbox = await make(fleet)
    sandbox.guest.gate.clear()
    pausing = asyncio.create_task(fleet.pause("ia", memory=memory))
    await sandbox.guest.entered.wait()

    assert await fleet.kill("ia")
    with pytest.raises(GuestLostError):
        await pausing
    assert machine.shelf == {}
    assert fleet.store.get("ia") is None
    assert fleet.meter("ia") is None


async def test_a_sandbox_that_dies_is_forgotten(fleet, machine):
    """Paused ones too: there is nothing left to resume."""
    for sandbox_id in ("ia", "ib"):
        await make(fleet, sandbox_id)
    await fleet.pause("ib")
    for sandbox_id in ("ia", "ib"):
        machine.guests[sandbox_id].die("out of memory")
    await until(lambda: len(fleet.store) == 0)

    assert fleet.get("ia") is None
    with pytest.raises(SandboxGoneError):
        await fleet.connect("ib", 30)
