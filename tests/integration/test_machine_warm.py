"""Sandboxes that were booted ahead, and those that get them."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import BootSpec, Guest, Limits, Machine, MachineConfig
from tests.integration.machine_bench import names_in, run, sh, until
from tests.support.processes import alive, family

MIB = 1024**2
SPEC = BootSpec(limits=Limits(memory_bytes=128 * MIB, cpu_count=1, disk_bytes=64 * MIB))

# All that may differ between two sandboxes is taken out of what this prints.
LOOK_AROUND = r"""
env | sort; id; hostname; pwd; umask; ulimit -a; cat /proc/uptime | tr -d '0-9.'
grep -E '^(Name|Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|NSpid)' /proc/1/status /proc/self/status
tr '\0' ' ' </proc/1/cmdline; cat /proc/1/comm; nice; cat /proc/self/oom_score_adj
set -- /proc/[0-9]*; echo $#
for place in / /home/user /workspace /root /tmp /dev /dev/shm /run /opt/sandbox /etc /proc /sys; do
  stat -c '%n %a %u %g' $place; ls -A1 $place | grep -v '^[0-9]'
done
df --output=target,size / /tmp /dev/shm | tail -n +2
find /sys/fs/cgroup -name '*limit_in_bytes' -o -name '*.max' -o -name 'cpu.cfs_*' 2>/dev/null |
  sort | while read -r limit; do echo "$limit $(cat $limit 2>&1)"; done
cat /proc/net/dev /proc/self/cgroup /proc/self/mountinfo
"""

MEMORY_HOG = "held = []\nwhile True: held.append(bytearray(4 << 20))"


# Only what has to do with limits is tried under both kinds of them.
UNDER_BOTH = pytest.mark.parametrize("limits", ["auto", "watch"])


@pytest.fixture
def limits():
    return "auto"


@pytest.fixture
async def machine(limits, state_dir):
    machine = await Machine.start(MachineConfig(state_dir=state_dir, limits=limits))
    yield machine
    await machine.close()


async def ready(machine: Machine, count: int) -> list[Guest]:
    """Wait until some are ready; returns them, and takes none."""
    await until(lambda: len(machine._warm._ready) == count)
    return list(machine._warm._ready)


async def look(guest: Guest) -> str:
    """What a program can find out, without what any two sandboxes differ in."""
    told = await sh(guest, LOOK_AROUND)
    told = re.sub(r"(?m)^\d+ \d+ \d+:\d+ ", "", told)  # Numbers of mounts.
    told = re.sub(r"uid=\d+,gid=\d+", "USER", told)  # Of the host, where each has its own.
    told = re.sub(r"[0-9a-f]{32}(-[0-9a-f]{8})?", "NAME", told)
    told = re.sub(r"(shared|master|propagate_from):\d+", "GROUP", told)
    # The descriptors that each got.
    return re.sub(r"main\(sys.argv\[1:\]\) \d+ ", "main(sys.argv[1:]) FD ", told)


@UNDER_BOTH
async def test_one_that_was_booted_ahead_is_like_any_other(machine):
    """Nothing tells it from one that was booted when it was asked for."""
    machine.keep_warm(SPEC, 1)
    (waiting,) = await ready(machine, 1)
    warm = await machine.boot("warm", SPEC)
    cold = await machine.boot("cold", SPEC)

    assert warm is waiting
    assert cold not in machine._warm._ready
    assert (warm.sandbox_id, cold.sandbox_id) == ("warm", "cold")
    assert (await look(warm)).splitlines() == (await look(cold)).splitlines()
    ids = [await sh(one, "cat /proc/sys/kernel/random/boot_id") for one in (warm, cold)]
    assert ids == [f"{warm.boot_id}\n", f"{cold.boot_id}\n"]
    assert ids[0] != ids[1]


@UNDER_BOTH
async def test_the_limits_of_one_that_was_booted_ahead_hold(machine):
    """It has had them from its boot on."""
    machine.keep_warm(SPEC, 1)
    await ready(machine, 1)
    guest = await machine.boot("one", SPEC)
    used = await guest.usage()

    assert used.memory_total_bytes >= 128 * MIB
    assert used.memory_rss_bytes < 64 * MIB
    assert used.cpu_seconds < 1
    assert (await run(guest, "python3", "-c", MEMORY_HOG)).code == -signal.SIGKILL
    await until(lambda: guest.oom_kills)


async def test_who_asks_for_something_else_gets_that(machine):
    """Such a sandbox is booted for it."""
    machine.keep_warm(SPEC, 1)
    (waiting,) = await ready(machine, 1)
    other = await machine.boot("other", BootSpec(limits=SPEC.limits, hostname="box"))

    assert other is not waiting
    assert await sh(other, "hostname") == "box\n"
    assert await machine.boot("one", SPEC) is waiting


async def test_it_has_the_files_that_it_is_to_begin_with(machine):
    """A fork of another takes one that is ready, too."""
    parent = await machine.boot("parent", SPEC)
    await sh(parent, "echo kept > /workspace/file")
    archive = machine.snapshots_dir / "parent.tar"
    with archive.open("wb") as file:
        await machine.archive("parent", file.fileno())
    machine.keep_warm(SPEC, 1)
    (waiting,) = await ready(machine, 1)
    with archive.open("rb") as file:
        child = await machine.boot("child", BootSpec(limits=SPEC.limits, archive_fd=file.fileno()))

    assert child is waiting
    assert await sh(child, "cat /workspace/file") == "kept\n"


async def test_it_can_be_put_away_and_booted_again(machine):
    """Its files are found again under its new name, and gone with it."""
    machine.keep_warm(SPEC, 1)
    await ready(machine, 1)
    guest = await machine.boot("one", SPEC)
    await sh(guest, "echo kept | tee /tmp/file > /home/user/file")
    await machine.shelve("one")
    again = await machine.boot("one", SPEC)

    assert await sh(again, "cat /tmp/file /home/user/file") == "kept\nkept\n"
    await again.kill()
    await machine.boot("one", SPEC)


async def test_one_that_dies_before_anybody_asks_is_replaced(machine, monkeypatch):
    """Nobody is given a dead one."""
    monkeypatch.setattr("sandbox_service.e2b_local.machine.warm._RETRY_SECONDS", 0)
    machine.keep_warm(SPEC, 1)
    (waiting,) = await ready(machine, 1)
    os.kill(waiting._launched.init_pid, 9)
    await waiting.ended
    await until(lambda: waiting not in machine._warm._ready)
    (another,) = await ready(machine, 1)

    assert another is not waiting
    assert await machine.boot("one", SPEC) is another


@pytest.mark.parametrize("wait", [True, False])
async def test_nothing_is_left_of_them(state_dir, wait):
    """Not of those that nobody took, nor of one that was just being booted."""
    others = children()  # Such as the service that many tests share, with sandboxes of its own.
    machine = await Machine.start(MachineConfig(state_dir=state_dir))
    machine.keep_warm(SPEC, 2)
    if wait:
        await ready(machine, 2)
    else:
        await until(lambda: children() - others)
    pids = [pid for child in children() - others for pid in family(child)]
    assert pids
    await machine.close()

    assert not [pid for pid in pids if alive(pid) and is_sandbox(pid)]
    assert names_in(state_dir) == [".lock"]


def children() -> set[int]:
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def is_sandbox(pid: int) -> bool:
    return b"bwrap" in Path(f"/proc/{pid}/cmdline").read_bytes()
