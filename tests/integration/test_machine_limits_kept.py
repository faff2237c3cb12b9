"""Limits of a sandbox, by control groups where this machine has them, and by watching."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import (
    BootSpec,
    GuestOSError,
    Limits,
    Machine,
    MachineConfig,
    SpawnSpec,
)
from sandbox_service.e2b_local.machine.cgroups import find_control_groups
from sandbox_service.e2b_local.machine.limits import oom
from sandbox_service.e2b_local.machine.process_tree import measure_tree
from tests.integration.machine_bench import (
    count_descriptors,
    exists,
    finish,
    read_line,
    run,
    sh,
    until,
)

MIB = 1024**2
# Slower than a loop that only allocates, so that a watch has time for a look.
HOG = """
held = []
while True:
    held.append(bytearray(4 << 20))
"""
FILLER = "for n in $(seq 100); do head -c 20M /dev/zero > ~/fill$n || exit; done; sleep 600"
BOMB = """
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.001)
"""

MODES = ["auto", "watch"]


def limited(**limits) -> BootSpec:
    return BootSpec(limits=Limits(**limits))


@pytest.fixture(params=MODES)
async def machine(request, state_dir):
    machine = await Machine.start(MachineConfig(state_dir=state_dir, limits=request.param))
    yield machine
    await machine.close()


async def test_a_memory_hog_is_killed_and_everybody_is_told(machine):
    """It, and not its neighbour, its sandbox or this server."""
    spec = limited(memory_bytes=96 * MIB)
    guest, other = await machine.boot("one", spec), await machine.boot("two", spec)
    kills = []
    guest.on_oom = kills.append
    outcome = await run(guest, "python3", "-c", HOG)

    assert os.WTERMSIG(outcome.status) == signal.SIGKILL
    await until(lambda: guest.oom_kills)
    assert guest.oom_kills == len(kills) == 1
    told = await sh(guest, "cat /sys/fs/cgroup/memory/memory.oom_control 2>&1 || true")
    told += await sh(guest, "cat /sys/fs/cgroup/memory.events 2>&1 || true")
    assert "\noom_kill 1\n" in told
    assert other.oom_kills == 0
    assert await sh(other, "echo fine") == "fine\n"


async def test_the_one_that_was_killed_is_named(machine, monkeypatch):
    """Its caller sees a signal, and asks whose that was."""
    # A busy machine may tell late of its end, and then it would be counted without a name.
    monkeypatch.setattr(oom, "_GRACE_SECONDS", 60)
    guest = await machine.boot("one", limited(memory_bytes=96 * MIB))
    kills = []
    guest.on_oom = kills.append
    process = await guest.spawn(SpawnSpec(argv=("python3", "-c", HOG)))
    await finish(process)
    await until(lambda: kills)

    assert kills[0].pid == process.pid


async def test_what_the_kernel_kills_below_a_program_is_told_too(machine):
    """Nobody here waits for it, so no exit status tells of it."""
    guest = await machine.boot("one", limited(memory_bytes=96 * MIB))
    outcome = await run(guest, "/bin/bash", "-c", f"python3 -c '{HOG}'; echo $?")

    assert outcome.out == b"137\n"
    await until(lambda: guest.oom_kills == 1)


async def test_limits_are_where_programs_look_for_them_and_cannot_be_changed(machine):
    """Node and Java size their heaps by them. Whoever could write there had none."""
    guest = await machine.boot("one", limited(memory_bytes=96 * MIB))
    look = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
    outcome = await run(guest, "/bin/bash", "-c", look)
    refused = await run(
        guest,
        "python3",
        "-c",
        "import os\n"
        "bad = []\n"
        "for folder, names, files in os.walk('/sys'):\n"
        "    for name in files:\n"
        "        try: os.open(folder + '/' + name, os.O_WRONLY); bad.append(name)\n"
        "        except OSError: pass\n"
        "    try: os.mkdir(folder + '/x'); bad.append(folder)\n"
        "    except OSError: pass\n"
        "print(bad)",
    )

    assert 96 * MIB <= int(outcome.out) < 512 * MIB
    assert (refused.out, refused.err) == (b"[]\n", b"")


async def test_a_disk_filler_is_killed_and_room_comes_back(machine):
    """The sandbox lives: somebody may want to see what happened, and clean up."""
    guest = await machine.boot("one", limited(disk_bytes=48 * MIB))
    alarms = []
    guest.on_disk_alarm = alarms.append
    outcome = await run(guest, "/bin/bash", "-c", FILLER)

    assert os.WTERMSIG(outcome.status) == signal.SIGKILL
    assert guest.disk_full
    assert alarms[0].used_bytes > alarms[0].limit_bytes == 48 * MIB
    with pytest.raises(GuestOSError) as refusal:
        await guest.open("/home/user/upload", os.O_WRONLY | os.O_CREAT)
    assert refusal.value.errno == errno.ENOSPC
    os.close(await guest.open("/etc/passwd", os.O_RDONLY))
    assert await sh(guest, "rm ~/fill*") == ""
    await until(lambda: not guest.disk_full)
    os.close(await guest.open("/home/user/upload", os.O_WRONLY | os.O_CREAT))


async def test_files_without_a_name_are_no_way_around(machine):
    """They fill the disk all the same, and no walk finds them."""
    guest = await machine.boot("one", limited(disk_bytes=48 * MIB))
    program = (
        "import os, time\n"
        "file = open('gone', 'wb', buffering=0)\n"
        "os.unlink('gone')\n"
        "for _ in range(40): file.write(bytes(4 << 20))\n"
        "time.sleep(600)\n"
    )
    outcome = await run(guest, "python3", "-c", program)

    assert os.WTERMSIG(outcome.status) == signal.SIGKILL


async def test_one_that_cannot_fork_any_more_is_kept_to_its_disk(machine):
    """It is measured and stopped from outside, for inside nobody could."""
    limits = Limits(disk_bytes=48 * MIB, process_count=24)
    guest = await machine.boot("one", BootSpec(limits=limits))
    fill = "print('begun', flush=True)\nf = open('f', 'wb')\nwhile True: f.write(bytes(1 << 20))"
    # It fills the disk only after the bomb has taken every place.
    wait = f"input()\n{fill}"
    filler = await guest.spawn(SpawnSpec(argv=("python3", "-c", wait), stdin=True))
    bomb = await guest.spawn(SpawnSpec(argv=("python3", "-c", BOMB)))
    await until(lambda: measure_tree(guest._launched.init_pid).process_count > 20)
    assert filler.stdin is not None
    os.write(filler.stdin, b"\n")

    assert os.WTERMSIG(await bomb.exit) == signal.SIGKILL
    assert os.WTERMSIG(await filler.exit) == signal.SIGKILL
    assert await sh(guest, "echo free again") == "free again\n"
    for process in (bomb, filler):
        process.close()


async def test_usage_is_counted_against_the_limit(machine):
    guest = await machine.boot("one", limited(memory_bytes=96 * MIB))
    process = await guest.spawn(
        SpawnSpec(
            argv=("python3", "-c", "x = bytearray(40_000_000); print(1, flush=True); input()"),
            stdin=True,
        )
    )
    assert process.stdout is not None
    await read_line(process.stdout)
    usage = await guest.usage()

    assert 40_000_000 < usage.memory_rss_bytes < usage.memory_total_bytes < 512 * MIB
    assert usage.process_count == 2
    process.close()


async def test_a_fork_bomb_can_be_frozen_and_goes_on(machine):
    """Faster than signals follow, where nothing helps them; then it is said so."""
    guest, other = await machine.boot("one", limited(process_count=64)), await machine.boot("two")
    bomb = await guest.spawn(SpawnSpec(argv=("python3", "-c", BOMB)))
    await until(lambda: measure_tree(guest._launched.init_pid).process_count > 40)
    await guest.freeze()
    before = measure_tree(guest._launched.init_pid).cpu_seconds
    for _ in range(10):
        assert await sh(other, "echo fine") == "fine\n"
    assert measure_tree(guest._launched.init_pid).cpu_seconds == before
    await guest.thaw()

    assert await guest.signal(bomb.pid, signal.SIGKILL)
    bomb.close()


@pytest.mark.parametrize("limits", MODES)
async def test_nothing_is_left_of_limits(state_dir, limits):
    """Groups, threads, descriptors, folders: a server lives for months."""
    before = count_descriptors()
    groups = _groups()
    machine = await Machine.start(MachineConfig(state_dir=state_dir, limits=limits))
    idle = count_descriptors()
    own = _groups() - groups
    for number in range(3):
        guest = await machine.boot(f"one{number}", limited(memory_bytes=96 * MIB))
        await run(guest, "/bin/true")
        await guest.kill()
    assert count_descriptors() <= idle
    assert [child for group in own for child in group.iterdir() if child.is_dir()] == []
    await machine.close()

    assert _groups() == groups
    assert count_descriptors() <= before
    assert not exists(state_dir / "machine-*")


def _groups() -> set[Path]:
    """The groups of this process' machines."""
    mine = f"sandbox-service-{os.getpid()}-"
    # Others' go while this looks, which a walk does not mind.
    return {
        Path(above, name)
        for above, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith(mine)
    }


async def test_limits_can_be_switched_off(state_dir):
    """All but those that cost nothing."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir, limits="off"))
    guest = await machine.boot("one", limited(memory_bytes=MIB, disk_bytes=MIB))
    outcome = await run(guest, "python3", "-c", "x = bytearray(64 << 20); open('f','wb').write(x)")

    assert outcome.code == 0
    assert machine.limits == {
        **dict.fromkeys(("memory", "cpu", "disk"), "none"),
        **dict.fromkeys(("processes", "open_files"), "hard"),
    }
    await machine.close()


async def test_what_holds_is_said(state_dir):
    """A person should not have to find out."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir, limits="watch"))
    assert machine.limits == {
        **dict.fromkeys(("memory", "cpu", "disk"), "soft"),
        **dict.fromkeys(("processes", "open_files"), "hard"),
    }
    assert "memory soft" in machine.limits_detail
    await machine.close()
    sized = MachineConfig(state_dir=state_dir, limits="watch", home_size_bytes=MIB)
    machine = await Machine.start(sized)
    assert machine.limits["disk"] == "hard"
    await machine.close()
    machine = await Machine.start(MachineConfig(state_dir=state_dir))
    groups = find_control_groups().groups
    assert machine.limits["memory"] == ("soft" if groups is None else "hard")
    if groups is not None:
        groups.close()
    await machine.close()
