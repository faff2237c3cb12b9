"""Sandboxes whose processes have ended and whose files wait for the next boot."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import uuid
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import (
    BootFailedError,
    BootSpec,
    GuestLostError,
    GuestOSError,
    Machine,
    MachineConfig,
    SpawnSpec,
)
from tests.integration.machine_bench import count_descriptors, exists, names_in, sh, until

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


def folders(state_dir: Path) -> set[str]:
    return {path.name for path in state_dir.glob("machine-*/sandboxes/*")}


def read(path: str) -> str:
    return Path(path).read_text()


def owner(machine: Machine, sandbox_id: str) -> int:
    (path,) = machine.snapshots_dir.parent.glob(f"sandboxes/{sandbox_id}")
    return path.stat().st_uid


async def test_each_boot_has_an_id_of_its_own(machine, guest):
    """Programs tell a reboot by it, and must not learn the host's."""
    other = await machine.boot("other")
    ids = [await sh(one, BOOT_ID) for one in (guest, other)]
    hosts = read("/proc/sys/kernel/random/boot_id")

    assert ids == [f"{guest.boot_id}\n", f"{other.boot_id}\n"]
    assert len({*ids, hosts}) == 3
    assert str(uuid.UUID(guest.boot_id)) == guest.boot_id
    command = f"{BOOT_ID} > before; (echo x > /proc/sys/kernel/random/boot_id) 2>/dev/null; true"
    await sh(guest, command)
    assert await sh(guest, BOOT_ID) == ids[0]


async def test_a_shelved_sandbox_boots_again_on_its_files(machine, guest):
    """Its files are all there, those in memory too; its processes are not."""
    await sh(guest, "echo h > f; echo w > /workspace/f; echo r > /root/f; chmod 640 f")
    await sh(guest, "mkdir /tmp/d; echo t > '/tmp/d/a b'; chmod 700 /tmp/d; touch -d @7 /tmp/d/x")
    process = await guest.spawn(SpawnSpec(argv=("sleep", "600")))
    init, uid = guest._launched.init_pid, owner(machine, "one")
    await machine.shelve("one")

    assert guest.ended.result() == "it was shelved"
    assert not exists(f"/proc/{init}")
    with pytest.raises(GuestLostError):
        await process.exit
    with pytest.raises(GuestLostError):
        await guest.stat("/tmp")
    process.close()

    again = await machine.boot("one", BootSpec(hostname="second"))
    said = await sh(
        again,
        "cat f /workspace/f /root/f '/tmp/d/a b'; stat -c %a f /tmp /tmp/d; "
        "stat -c %Y /tmp/d/x; pgrep sleep || hostname; ls -A /tmp",
    )
    assert said == "h\nw\nr\nt\n640\n1777\n700\n7\nsecond\nd\n"
    assert again.boot_id != guest.boot_id
    assert await sh(again, BOOT_ID) == f"{again.boot_id}\n"
    assert owner(machine, "one") == uid


async def test_a_sandbox_can_be_shelved_again_and_again(machine, state_dir):
    """Nothing grows with it."""
    guest = await machine.boot("one")
    await sh(guest, "touch /tmp/0")
    before = count_descriptors()
    for number in range(1, 6):
        await machine.shelve("one")
        guest = await machine.boot("one")
        await sh(guest, f"touch /tmp/{number}")

    assert await sh(guest, "ls -m /tmp") == "0, 1, 2, 3, 4, 5\n"
    assert count_descriptors() <= before
    await guest.kill()
    assert folders(state_dir) == set()


async def test_a_frozen_sandbox_can_be_shelved(machine, guest):
    """Whoever pauses it twice need not wake it in between."""
    await sh(guest, "echo t > /tmp/t")
    await guest.freeze()
    await machine.shelve("one")

    assert await sh(await machine.boot("one"), "cat /tmp/t") == "t\n"


async def test_homes_in_memory_are_kept_too(state_dir):
    """They end with the processes as `/tmp` does."""
    config = MachineConfig(state_dir=state_dir, home_size_bytes=8 * 1024**2)
    machine = await Machine.start(config)
    guest = await machine.boot("one")
    await sh(guest, "for d in ~ /workspace /root /tmp; do echo $d > $d/f; done")
    await machine.shelve("one")
    guest = await machine.boot("one")

    assert await sh(guest, "cat ~/f /workspace/f /root/f /tmp/f") == (
        "/home/user\n/workspace\n/root\n/tmp\n"
    )
    await machine.close()


async def test_a_sandbox_that_cannot_be_saved_goes_on(machine, guest, state_dir):
    """Half a sandbox is worse than one that still runs."""
    await sh(guest, "touch /tmp/shut; chmod 0 /tmp/shut")
    process = await guest.spawn(SpawnSpec(argv=("sleep", "600")))
    with pytest.raises(GuestOSError, match="tmp/shut: Cannot open") as caught:
        await machine.shelve("one")

    assert caught.value.errno == errno.EACCES
    assert not guest.ended.done()
    assert not process.exit.done()
    assert await sh(guest, "rm -f /tmp/shut; pgrep -c sleep") == "1\n"
    process.close()
    await machine.shelve("one")
    assert await sh(await machine.boot("one"), "ls /tmp") == ""


async def test_a_sandbox_that_dies_while_it_is_shelved_is_gone(machine, guest, state_dir):
    """And that is said."""
    await sh(guest, "for i in $(seq 100); do head -c 1000000 /dev/urandom > /tmp/$i; done")
    shelving = asyncio.ensure_future(machine.shelve("one"))
    await until(lambda: list(state_dir.glob("machine-*/sandboxes/one/*.tar")))
    os.kill(guest._launched.init_pid, signal.SIGKILL)
    with pytest.raises(GuestLostError):
        await shelving
    await guest.kill()

    assert folders(state_dir) == set()


async def test_a_boot_that_fails_leaves_it_on_the_shelf(machine, guest, state_dir):
    """The files are the user's; another boot may succeed."""
    await sh(guest, "echo t > /tmp/t; echo h > f")
    await machine.shelve("one")
    (saved,) = state_dir.glob("machine-*/sandboxes/one/*.tar")
    whole = saved.read_bytes()
    saved.write_bytes(b"nonsense" * 1000)
    for _ in range(2):
        with pytest.raises(BootFailedError, match="tar"):
            await machine.boot("one")
    saved.write_bytes(whole)

    assert await sh(await machine.boot("one"), "cat f /tmp/t") == "h\nt\n"


async def test_a_discarded_sandbox_leaves_nothing(machine, guest, state_dir):
    """Its id and its uid can be used again."""
    await sh(guest, "mkdir d; touch d/f; chmod 0 d")
    await machine.shelve("one")
    assert folders(state_dir) == {"one"}
    await machine.discard("one")
    await machine.discard("one")

    assert folders(state_dir) == set()
    assert await sh(await machine.boot("one"), "ls") == ""


async def test_only_what_runs_can_be_shelved(machine, guest):
    """A wrong id is a mistake of the caller's."""
    await machine.shelve("one")
    for sandbox_id in ("one", "two"):
        with pytest.raises(ValueError, match="does not run"):
            await machine.shelve(sandbox_id)


async def test_a_closed_machine_has_no_shelf(state_dir):
    """Nor snapshots: both would belong to nobody."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir))
    await machine.boot("one")
    await machine.shelve("one")
    await machine.boot("two")
    (machine.snapshots_dir / "some").write_bytes(b"data")
    assert machine.snapshots_dir.stat().st_mode & 0o777 == 0o700
    await machine.close()

    assert names_in(state_dir) == [".lock"]
