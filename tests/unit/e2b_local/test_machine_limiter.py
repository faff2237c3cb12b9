"""What each sandbox gets, and what is said to hold: groups, watches, or nothing."""

from __future__ import annotations

import json

import pytest

from sandbox_service.e2b_local.machine import Limits, MachineConfig
from sandbox_service.e2b_local.machine.cgroups.discovery import Found
from sandbox_service.e2b_local.machine.limits import Limiter, limiter

MIB = 1024**2


class RecordingGroups:
    version = 2
    freezer = True
    limits = frozenset({"memory", "processes"})

    def __init__(self):
        self.made = []
        self.closed = False

    def make(self, name, limits):
        self.made.append((name, limits))
        return RecordingGroup()

    def close(self):
        self.closed = True


class RecordingGroup:
    def folders(self):
        return {"": "/groups/one"}

    def oom_kills(self):
        return 0

    def remove(self):
        pass


@pytest.fixture
def groups(monkeypatch):
    groups = RecordingGroups()
    monkeypatch.setattr(limiter, "find_control_groups", lambda: Found(groups))
    return groups


@pytest.fixture
async def make(tmp_path):
    made = []

    def make(**settings):
        config = MachineConfig(state_dir=tmp_path, **settings)
        made.append(Limiter(config, tmp_path))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def test_a_group_has_room_for_files_in_memory_and_for_us(make, groups, tmp_path):
    """Else a full `/tmp` would cost a program its life."""
    keeper = make(tmp_size_bytes=256 * MIB, shm_size_bytes=64 * MIB)
    limits = Limits(memory_bytes=1024 * MIB, cpu_count=2, process_count=100)
    confinement = keeper.confine("one-1234", limits, tmp_path)

    ((name, given),) = groups.made
    assert name == "one-1234"
    assert (1024 + 256 + 64) * MIB < given.memory_bytes < (1024 + 256 + 64 + 64) * MIB
    assert given.cpu_count == 2
    assert given.process_count > 100
    assert confinement.told.views == {"/sys/fs/cgroup": "/groups/one"}
    assert json.loads(confinement.told.own)["RLIMIT_NPROC"] == 100
    await confinement.end()


async def test_homes_in_memory_are_memory(make, groups, tmp_path):
    keeper = make(tmp_size_bytes=MIB, shm_size_bytes=MIB, home_size_bytes=100 * MIB)
    await keeper.confine("one", Limits(memory_bytes=MIB), tmp_path).end()

    assert groups.made[0][1].memory_bytes > 303 * MIB


async def test_no_limit_is_none(make, groups, tmp_path):
    await make().confine("one", Limits(), tmp_path).end()

    given = groups.made[0][1]
    assert (given.memory_bytes, given.cpu_count) == (None, None)


async def test_what_a_group_cannot_limit_is_said_to_be_soft(make, groups, tmp_path):
    """Older systemds lend no CPU controller: then programs give way instead."""
    keeper = make()
    confinement = keeper.confine("one", Limits(), tmp_path)

    assert keeper.strengths == {
        **dict.fromkeys(("memory", "processes", "open_files"), "hard"),
        **dict.fromkeys(("cpu", "disk"), "soft"),
    }
    assert "control groups, version 2" in keeper.detail
    assert json.loads(confinement.told.own)["nice"] > 0
    await confinement.end()


async def test_groups_that_limit_cpu_leave_priorities_alone(make, groups, tmp_path):
    groups.limits = frozenset({"memory", "processes", "cpu"})
    confinement = make().confine("one", Limits(), tmp_path)

    assert "nice" not in json.loads(confinement.told.own)
    await confinement.end()


async def test_without_groups_the_reason_is_told(make, monkeypatch, tmp_path):
    monkeypatch.setattr(limiter, "find_control_groups", lambda: Found(None, "a good reason"))
    keeper = make()
    confinement = keeper.confine("one", Limits(memory_bytes=64 * MIB), tmp_path)

    assert keeper.strengths["memory"] == "soft"
    assert "a good reason" in keeper.detail
    assert (tmp_path / "memory.max").read_text() == f"{64 * MIB}\n"
    assert set(confinement.told.views) == {
        "/sys/fs/cgroup/memory.events",
        "/sys/fs/cgroup/memory.max",
    }
    await confinement.end()
    await keeper.confine("one", Limits(memory_bytes=32 * MIB), tmp_path).end()
    assert (tmp_path / "memory.max").read_text() == f"{32 * MIB}\n"


@pytest.mark.parametrize("mode", ["watch", "off"])
async def test_who_asks_for_no_groups_gets_none(make, groups, mode, tmp_path):
    keeper = make(limits=mode)
    confinement = keeper.confine("one", Limits(memory_bytes=MIB), tmp_path)

    assert groups.made == []
    assert keeper.strengths["memory"] == ("soft" if mode == "watch" else "none")
    assert "as asked for" in keeper.detail
    assert bool(confinement.told.views) is (mode == "watch")
    await confinement.end()


async def test_groups_are_removed_last(make, groups):
    keeper = make()
    await keeper.close()

    assert groups.closed
