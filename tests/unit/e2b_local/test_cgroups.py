"""Control groups, on folders that look like the kernel's."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from sandbox_service.e2b_local.machine.cgroups import GroupLimits
from sandbox_service.e2b_local.machine.cgroups.discovery import find_control_groups, own_folders
from sandbox_service.e2b_local.machine.cgroups.model import remove_stale
from sandbox_service.e2b_local.machine.cgroups.v1 import ControlGroupsV1
from sandbox_service.e2b_local.machine.cgroups.v2 import ControlGroupsV2

LIMITS = GroupLimits(memory_bytes=64 << 20, process_count=32, cpu_count=0.5)

V1_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V1_MEMBER = """\
3:memory:/docker/abc/web
2:cpu,cpuacct:/
1:name=systemd:/init.scope
0::/init.scope
"""


def test_finds_the_own_group_of_each_controller():
    found = {name: str(path) for name, path in own_folders(V1_MOUNTS, V1_MEMBER).items()}
    assert found == {
        "memory": "/sys/fs/cgroup/memory/web",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "": "/sys/fs/cgroup/unified/init.scope",
    }


def test_a_group_outside_what_is_mounted_is_the_mount_itself():
    found = own_folders(V1_MOUNTS, "3:memory:/elsewhere\n")
    assert str(found["memory"]) == "/sys/fs/cgroup/memory"


def test_nonsense_in_proc_finds_nothing():
    assert own_folders("garbage\n1 2 - cgroup\n", "0::/\n") == {}


@pytest.fixture
def tree_v2(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    return tmp_path


def test_version_2_makes_room_for_children_and_limits_them(tree_v2, monkeypatch):
    groups = ControlGroupsV2(tree_v2, 4711)
    assert (tree_v2 / "server" / "cgroup.procs").read_text() == "4711\n"
    assert (tree_v2 / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert groups.limits == {"memory", "processes", "cpu"}
    group = groups.make("one", LIMITS)
    files = {path.name: path.read_text() for path in group.place.iterdir()}
    assert files == {"memory.max": str(64 << 20), "pids.max": "32"}


def test_version_2_says_what_was_used(tree_v2):
    group = ControlGroupsV2(tree_v2, 4711).make("one", GroupLimits())
    (group.place / "memory.stat").write_text("anon 5\nfile 100\nshmem 30\n")
    (group.place / "memory.current").write_text("4096\n")
    (group.place / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (group.place / "cgroup.procs").write_text("11\n12\n13\n")
    (group.place / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    usage = group.usage()
    assert (usage.cpu_seconds, usage.memory_bytes) == (2.5, 4096)
    assert (usage.memory_cache_bytes, usage.process_count) == (70, 3)
    assert group.oom_kills() == 1


def test_version_2_is_refused_without_the_controllers(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    with pytest.raises(OSError, match="memory"):
        ControlGroupsV2(tmp_path, 4711)
    assert not (tmp_path / "server").exists()


def test_version_1_limits_in_every_tree(tmp_path):
    parents = {name: tmp_path / name for name in ("memory", "pids", "cpu")}
    for parent in parents.values():
        parent.mkdir()
    groups = ControlGroupsV1(parents)
    assert not groups.freezer
    places = groups.make("one", LIMITS).places
    assert (places["memory"] / "memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (places["pids"] / "pids.max").read_text() == "32"
    assert (places["cpu"] / "cpu.cfs_quota_us").read_text() == "50000"


def test_version_1_needs_memory_and_processes(tmp_path):
    with pytest.raises(OSError, match="memory"):
        ControlGroupsV1({"pids": tmp_path})


def test_groups_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    living = ControlGroupsV1({"memory": tmp_path, "pids": tmp_path})
    dead = tmp_path / f"sandbox-service-{os.getpid()}-1-0"
    (dead / "one").mkdir(parents=True)
    remove_stale(tmp_path)
    assert not dead.exists()
    assert len(list(tmp_path.glob("sandbox-service-*"))) == 1
    living.close()


def test_a_reason_is_given_when_there_is_nothing(tmp_path):
    (tmp_path / "mountinfo").write_text("")
    (tmp_path / "cgroup").write_text("")
    found = find_control_groups(tmp_path)
    assert found.groups is None
    assert "no control groups" in found.reason
    assert find_control_groups(tmp_path / "missing").groups is None


def test_version_1_takes_the_starting_thread_in_and_out_again(tmp_path):
    """In each tree; the child stays where the thread was when it was made."""
    parents = {name: tmp_path / name for name in ("memory", "pids", "cpu")}
    for parent in parents.values():
        parent.mkdir()
    group = ControlGroupsV1(parents).make("one", LIMITS)
    seen = []

    def start():
        seen.extend((path / "tasks").exists() for path in group.places.values())
        seen.extend((path / "tasks").exists() for path in parents.values())
        return "a process"

    assert group.start(start) == "a process"
    assert seen == [True] * 3 + [False] * 3
    assert [(path / "tasks").read_text() for path in parents.values()] == ["0"] * 3


def test_version_1_comes_back_when_nothing_was_started(tmp_path):
    """Or the server's own thread would be limited with a sandbox."""
    group = ControlGroupsV1({"memory": tmp_path, "pids": tmp_path}).make("one", LIMITS)

    def fail():
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        group.start(fail)
    assert (tmp_path / "tasks").read_text() == "0"


def test_version_2_takes_the_process_that_was_started(tree_v2):
    group = ControlGroupsV2(tree_v2, 4711).make("one", GroupLimits())
    process = subprocess.Popen(["/bin/true"])
    process.wait()

    assert group.start(lambda: process) is process
    assert (group.place / "cgroup.procs").read_text() == f"{process.pid}\n"


def test_version_2_leaves_no_process_that_it_could_not_take(tree_v2):
    """It would be a sandbox without limits."""
    group = ControlGroupsV2(tree_v2, 4711).make("one", GroupLimits())
    (group.place / "cgroup.procs").mkdir()
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        with pytest.raises(OSError, match=r"cgroup\.procs"):
            group.start(lambda: process)
        assert process.returncode == -signal.SIGKILL


def test_what_is_left_in_the_group_of_a_dead_server_is_ended(tmp_path):
    """It may have died in the moment in which it froze a sandbox."""
    dead = tmp_path / "sandbox-service-1-0-0" / "one"
    dead.mkdir(parents=True)
    (dead / "freezer.state").write_text("FROZEN")
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        # A process that cannot be seen from here is 0, which would be this one's group.
        (dead / "cgroup.procs").write_text(f"0\n{process.pid}\n")
        remove_stale(tmp_path)
        assert process.wait(10) == -signal.SIGKILL
    assert (dead / "freezer.state").read_text() == "THAWED"
