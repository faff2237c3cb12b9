"""How many sandboxes may run, and how they are copied."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.e2b_local.fleet import QuotaExceededError
from sandbox_service.e2b_local.fleet.life import (
    AlreadyPausedError,
)
from sandbox_service.e2b_local.fleet.snapshots import Reference
from sandbox_service.e2b_local.fleet.store import SandboxRecord
from sandbox_service.e2b_local.machine import GuestOSError
from tests.unit.e2b_local.fleet_double import make, until

# Quota


async def test_only_so_many_run_and_paused_ones_do_not_count(fleet):
    """Resuming needs a place as creating does."""
    for sandbox_id in ("ia", "ib", "ic"):
        await make(fleet, sandbox_id)
    with pytest.raises(QuotaExceededError) as caught:
        await make(fleet, "id")
    assert caught.value.limit == 3

    await fleet.pause("ia")
    await make(fleet, "id")
    with pytest.raises(QuotaExceededError):
        await fleet.connect("ia", 30)
    assert fleet.store.get("ia").state == "paused"
    await fleet.kill("id")
    assert await fleet.connect("ia", 30)


async def test_sandboxes_that_are_just_starting_count(fleet):
    """Else a burst would go over the limit."""
    made = await asyncio.gather(
        *(make(fleet, f"i{number}") for number in range(5)), return_exceptions=True
    )

    assert sum(isinstance(one, QuotaExceededError) for one in made) == 2
    assert len(fleet.store) == 3


# Copies


@pytest.mark.parametrize("pause", [None, True, False])
async def test_a_snapshot_is_taken_in_every_state(fleet, machine, tmp_path, pause):
    """And leaves the sandbox as it was."""
    sandbox = await make(fleet, env={"KEY": "value"})
    sandbox.guest.files = b"kept"
    if pause is not None:
        await fleet.pause("ia", memory=pause)
    before = fleet.store.get("ia")
    snapshot = await fleet.snapshot("ia", Reference.parse("snap"))

    assert snapshot.path.read_bytes() == b"kept"
    assert snapshot.path.stat().st_mode & 0o077 == 0
    assert (snapshot.env, snapshot.sandbox_id) == ({"KEY": "value"}, "ia")
    assert fleet.store.get("ia") == before
    assert machine.shelf == ({"ia": b"kept"} if pause is False else {})
    if pause is not None:
        assert await fleet.connect("ia", 30)
    assert sandbox.guest.files == b"kept"


async def test_a_shelved_sandbox_that_cannot_be_put_back_is_held_with_its_processes(
    fleet, machine, monkeypatch
):
    """Its disk has filled while a snapshot was taken; nothing of it is lost."""
    sandbox = await make(fleet)
    sandbox.guest.files = b"kept"
    await fleet.pause("ia", memory=False)

    async def refuse(sandbox_id):
        raise GuestOSError(28, "no space")

    monkeypatch.setattr(machine, "shelve", refuse)
    snapshot = await fleet.snapshot("ia")

    assert snapshot.path.read_bytes() == b"kept"
    assert fleet.store.get("ia").state == "paused"
    assert sandbox.guest.frozen
    assert await fleet.connect("ia", 30)
    assert fleet.get("ia") is sandbox
    assert (sandbox.guest.files, sandbox.guest.frozen) == (b"kept", False)
    # Of the guest that runs, not of the one that was put away.
    sandbox.guest.die("it fell over")
    await until(lambda: fleet.store.get("ia") is None)


async def test_a_host_without_room_for_a_file_is_an_answer(fleet, tmp_path):
    """Whoever asks is told so, and the log tells of no bug."""
    await make(fleet)
    tmp_path.rmdir()
    with pytest.raises(GuestOSError):
        await fleet.snapshot("ia")


async def test_a_snapshot_that_fails_leaves_nothing(fleet, tmp_path):
    """A full disk stays full otherwise."""
    sandbox = await make(fleet)
    sandbox.guest.refusal = GuestOSError(28, "no space")
    with pytest.raises(GuestOSError):
        await fleet.snapshot("ia")

    assert list(tmp_path.iterdir()) == []
    assert fleet.get("ia") is sandbox


async def test_a_removed_snapshot_leaves_no_file(fleet, tmp_path):
    """Its disk space is wanted."""
    await make(fleet)
    await fleet.snapshot("ia", Reference.parse("snap"))
    assert fleet.snapshots.remove(Reference.parse("snap"))
    await until(lambda: not list(tmp_path.iterdir()))


async def test_forks_have_the_files_and_each_ends_on_its_own(fleet, machine, tmp_path):
    """One that does not fit says why; the others are there."""
    sandbox = await make(fleet, metadata={"owner": "x"}, on_timeout="pause", auto_resume=True)
    sandbox.guest.files = b"kept"
    forks = await fleet.fork("ia", 3, 30)
    made = [one for one in forks if isinstance(one, SandboxRecord)]

    assert len(made) == 2
    assert isinstance(forks[-1], QuotaExceededError)
    for fork in made:
        assert machine.guests[fork.sandbox_id].files == b"kept"
        record = fleet.store.get(fork.sandbox_id)
        assert (record.metadata, record.on_timeout) == ({"owner": "x"}, "pause")
        assert record.end_at == 1030.0
        assert record.access_token != "token"
    await until(lambda: not list(tmp_path.iterdir()))
    await fleet.pause("ia")
    with pytest.raises(AlreadyPausedError):
        await fleet.fork("ia", 1, 30)
