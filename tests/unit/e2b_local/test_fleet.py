"""How sandboxes are paused and resumed, on a machine that only pretends."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.e2b_local.fleet import sandbox as sandbox_module
from sandbox_service.e2b_local.fleet.life import (
    AgentSilentError,
    AlreadyPausedError,
    AlreadyRunningError,
    Life,
    MemoryUnusableError,
    SandboxGoneError,
    TransitionBusyError,
)
from sandbox_service.e2b_local.machine import BootFailedError, GuestLostError, GuestOSError
from tests.unit.e2b_local.fleet_double import FakeExchange, make, until

# Life


async def test_only_the_ways_between_states_can_be_gone():
    """A sandbox that is resumed without having been paused is a mistake of ours."""
    life = Life("ia")
    for state in ("pausing", "paused", "resuming", "running"):
        life.move(state)
    with pytest.raises(RuntimeError):
        life.move("resuming")

    assert life.end()
    assert not life.end()
    with pytest.raises(SandboxGoneError):
        life.move("pausing")
    with pytest.raises(SandboxGoneError):
        async with life.turn():
            pass


async def test_a_turn_that_takes_too_long_is_not_waited_for():
    """The edge answers 409 then, rather than hold the client for ever."""
    life = Life("ia")
    async with life.turn():
        with pytest.raises(TransitionBusyError):
            async with life.turn(patience_seconds=0.01):
                pass


# Pauses


async def test_a_pause_with_memory_keeps_guest_and_token(fleet, machine, clock):
    """Programs go on where they stood, and nobody needs a new token."""
    sandbox = await make(fleet)
    guest, envd = sandbox.guest, sandbox.envd
    exchange = FakeExchange()
    sandbox.exchanges.add(exchange)
    clock.now = 1010.0
    await fleet.pause("ia")
    paused = fleet.store.get("ia")

    assert exchange.wire.aborted
    assert guest.frozen
    assert fleet.get("ia") is None
    assert list(fleet) == []
    assert (paused.state, paused.pause_mode, paused.end_at) == ("paused", "full", 1010.0)

    clock.now = 5000.0
    await fleet.resume("ia", 30)
    resumed = fleet.store.get("ia")

    assert fleet.get("ia") is sandbox
    assert (sandbox.guest, sandbox.envd) == (guest, envd)
    assert not guest.frozen
    assert (resumed.state, resumed.pause_mode) == ("running", None)
    assert (resumed.started_at, resumed.end_at) == (5000.0, 5030.0)
    assert resumed.boot_id == paused.boot_id
    assert resumed.access_token == "token"


async def test_a_pause_without_memory_boots_anew_on_the_same_files(fleet, machine):
    """Files are kept, processes gone, and the boot id tells."""
    sandbox = await make(fleet)
    sandbox.guest.files = b"kept"
    before = fleet.store.get("ia").boot_id
    await fleet.pause("ia", memory=False)

    assert fleet.store.get("ia").pause_mode == "filesystem"
    assert machine.shelf == {"ia": b"kept"}

    await fleet.resume("ia", 30)

    assert sandbox.guest.files == b"kept"
    assert fleet.store.get("ia").boot_id not in {"", before}
    assert fleet.get("ia") is sandbox


async def test_memory_that_was_kept_can_be_ignored(fleet, machine):
    """A sandbox whose programs hang is saved by a boot."""
    sandbox = await make(fleet)
    sandbox.guest.files = b"kept"
    await fleet.pause("ia")
    assert await fleet.connect("ia", 30, memory=False)

    assert machine.boots == ["ia", "ia"]
    assert sandbox.guest.files == b"kept"


async def test_pausing_and_resuming_twice_says_so(fleet):
    """Clients read from it who has done it."""
    await make(fleet)
    with pytest.raises(AlreadyRunningError):
        await fleet.resume("ia", 30)
    await fleet.pause("ia")
    with pytest.raises(AlreadyPausedError):
        await fleet.pause("ia")
    with pytest.raises(SandboxGoneError):
        await fleet.pause("ib")


async def test_connect_extends_what_runs_and_resumes_what_is_paused(fleet, clock):
    """It never shortens a lifetime."""
    await make(fleet)

    assert not await fleet.connect("ia", 10)
    assert fleet.store.get("ia").end_at == 1060.0

    await fleet.pause("ia")
    clock.now = 2000.0

    assert await fleet.connect("ia", 10)
    assert fleet.store.get("ia").end_at == 2010.0


async def test_who_comes_while_it_is_being_paused_waits(fleet):
    """Two half transitions at once would leave neither state."""
    sandbox = await make(fleet)
    sandbox.guest.gate.clear()
    pausing = asyncio.create_task(fleet.pause("ia"))
    await sandbox.guest.entered.wait()
    connecting = asyncio.create_task(fleet.connect("ia", 30))
    again = asyncio.create_task(fleet.pause("ia"))
    await asyncio.sleep(0)

    assert fleet.get("ia") is None
    assert fleet.store.get("ia").state == "paused"
    assert not connecting.done()

    sandbox.guest.gate.set()
    await pausing

    assert await connecting
    await again
    assert fleet.store.get("ia").state == "paused"


async def test_a_caller_that_leaves_does_not_stop_a_transition_half_way(fleet):
    """A client that hangs up must not leave a sandbox between two states."""
    sandbox = await make(fleet)
    sandbox.guest.gate.clear()
    pausing = asyncio.create_task(fleet.pause("ia"))
    await sandbox.guest.entered.wait()
    pausing.cancel()
    sandbox.guest.gate.set()
    await until(lambda: sandbox.life.state == "paused")

    assert fleet.store.get("ia").pause_mode == "full"


@pytest.mark.parametrize("memory", [True, False])
async def test_a_pause_that_the_machine_refuses_changes_nothing(fleet, memory):
    """What could not be saved must go on."""
    sandbox = await make(fleet)
    before = fleet.store.get("ia")
    sandbox.guest.refusal = GuestOSError(28, "no space")
    with pytest.raises(GuestOSError):
        await fleet.pause("ia", memory=memory)

    assert fleet.store.get("ia") == before
    assert fleet.get("ia") is sandbox
    sandbox.guest.refusal = None
    await fleet.pause("ia", memory=memory)


async def test_a_sandbox_that_dies_while_it_is_put_away_is_gone(fleet, machine):
    """Nothing is left to be resumed."""
    sandbox = await make(fleet)
    sandbox.guest.gate.clear()
    pausing = asyncio.create_task(fleet.pause("ia", memory=False))
    await sandbox.guest.entered.wait()
    sandbox.guest.die("out of memory")
    sandbox.guest.gate.set()
    with pytest.raises(GuestLostError):
        await pausing

    assert fleet.store.get("ia") is None


@pytest.mark.parametrize("memory", [True, False])
async def test_a_resumption_that_fails_can_be_repeated(fleet, machine, memory):
    """A full machine must not cost a paused sandbox its files."""
    await make(fleet)
    await fleet.pause("ia", memory=memory)
    machine.refusal = BootFailedError("no processes left")
    with pytest.raises(BootFailedError):
        await fleet.connect("ia", 30, memory=False)
    record = fleet.store.get("ia")
    assert (record.state, record.pause_mode) == ("paused", "filesystem")

    machine.refusal = None
    assert await fleet.connect("ia", 30)


async def test_a_silent_agent_is_told_and_remembered(fleet, monkeypatch):
    """Resuming its memory would bring it back as it was."""
    monkeypatch.setattr(sandbox_module, "_ANSWER_SECONDS", 0.01)
    sandbox = await make(fleet)
    sandbox.guest.silent = True
    with pytest.raises(AgentSilentError):
        await fleet.pause("ia", strict=True)
    with pytest.raises(AgentSilentError):
        await fleet.pause("ia", memory=False)
    assert fleet.get("ia") is sandbox

    await fleet.pause("ia")
    assert fleet.store.get("ia").unresponsive_at_pause
    with pytest.raises(MemoryUnusableError):
        await fleet.connect("ia", 30)
    assert await fleet.connect("ia", 30, memory=False)
    assert not fleet.store.get("ia").unresponsive_at_pause


async def test_a_sandbox_that_is_dead_already_cannot_be_put_away(fleet, machine):
    """The machine knows no such id any more, and says so in its own way."""
    await make(fleet)

    async def shelve(sandbox_id):
        raise ValueError(sandbox_id)

    machine.shelve = shelve
    with pytest.raises(SandboxGoneError):
        await fleet.pause("ia", memory=False)
    assert fleet.store.get("ia") is None
