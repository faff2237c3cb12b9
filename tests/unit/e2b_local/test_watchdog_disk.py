"""The watch over disks: whom it looks at, and when it raises an alarm."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sandbox_service.e2b_local.machine.limits import disk_watch
from sandbox_service.e2b_local.machine.limits.disk_watch import DiskTarget, DiskWatch
from sandbox_service.e2b_local.machine.limits.folder_size import UnmeasurableError

GIB = 1024**3
MIB = 1024**2


class Disk:
    """What the kernel says of a disk, and what a sandbox has on it."""

    def __init__(self):
        self.free = 40 * GIB
        self.used = {}
        self.measured = []
        self.clock = 1000.0

    def statvfs(self, _path):
        return SimpleNamespace(
            f_blocks=100 * GIB, f_frsize=1, f_bavail=self.free, f_files=0, f_favail=0
        )

    def measure(self, folder, _cancelled):
        self.measured.append(folder.name)
        used = self.used.get(folder.name, 0)
        if used is None:
            raise UnmeasurableError
        return used

    def write(self, name, size):
        self.used[name] = self.used.get(name, 0) + size
        self.free -= size


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(disk_watch.os, "statvfs", disk.statvfs)
    monkeypatch.setattr(disk_watch, "measure_folder", disk.measure)
    monkeypatch.setattr(disk_watch.time, "monotonic", lambda: disk.clock)
    return disk


@pytest.fixture
def alarms():
    return []


@pytest.fixture
def watch(disk, tmp_path):
    watch = DiskWatch(tmp_path, GIB)
    yield watch
    watch.close()


@pytest.fixture
def add(watch, disk, tmp_path, alarms):
    def add(name, limit):
        def tell(alarm):
            alarms.append((name, alarm.used_bytes, alarm.limit_bytes))

        target = DiskTarget(0, tmp_path / name, limit, tell, looked=disk.clock, free_then=disk.free)
        watch._targets.append(target)  # And no thread that looks by itself.
        return target

    return add


def test_nobody_is_measured_while_the_disk_stands_still(disk, watch, add):
    """Walking every file costs, and most sandboxes write little."""
    add("one", 10 * GIB)
    for _ in range(100):
        disk.clock += 0.25
        watch.look()

    assert disk.measured == []


def test_one_that_may_have_passed_its_limit_is_measured(disk, watch, add, alarms):
    """Half of what it may still take is gone from the disk: it may have been this one."""
    target = add("one", 100 * MIB)
    disk.write("one", 40 * MIB)
    watch.look()
    assert disk.measured == []
    disk.write("one", 20 * MIB)
    watch.look()
    assert (disk.measured, alarms, target.full) == (["one"], [], False)
    disk.write("one", 50 * MIB)
    disk.clock += 1
    watch.look()

    assert alarms == [("one", 110 * MIB, 100 * MIB)]
    assert target.full


def test_small_limits_do_not_make_it_walk_all_the_time(disk, watch, add):
    add("one", MIB)
    disk.write("another", 10 * MIB)
    watch.look()

    assert disk.measured == []


def test_what_others_give_back_hides_nothing_for_long(disk, watch, add, alarms):
    """One that deletes as fast as another writes leaves the disk as it was."""
    add("one", 100 * MIB)
    for _ in range(20):
        disk.used["one"] = disk.used.get("one", 0) + 10 * MIB
        disk.clock += 5
        watch.look()

    assert alarms


def test_an_alarm_is_repeated_while_it_grows_and_not_while_it_cleans_up(disk, watch, add, alarms):
    """Its programs are killed again, but not the one that removes files."""
    target = add("one", 100 * MIB)
    sizes = (150, 150, 170, 130, 120, 90)
    for size in sizes:
        disk.used["one"] = size * MIB
        disk.clock += 61
        watch.look()

    assert [used // MIB for _, used, _ in alarms] == [150, 170]
    assert not target.full


def test_a_full_one_is_soon_looked_at_again(disk, watch, add):
    """Whoever has made room wants to go on."""
    target = add("one", 100 * MIB)
    disk.used["one"] = 150 * MIB
    disk.clock += 61
    watch.look()
    disk.used["one"] = 0
    disk.clock += 2
    watch.look()

    assert not target.full


def test_a_tree_that_takes_long_to_walk_is_seldom_walked(disk, watch, add, monkeypatch):
    add("one", 100 * MIB)

    def measure_slowly(folder, _cancelled):
        disk.measured.append(folder.name)
        disk.clock += 3
        return 0

    monkeypatch.setattr(disk_watch, "measure_folder", measure_slowly)
    for _ in range(60):
        disk.free -= 60 * MIB
        disk.clock += 1
        watch.look()

    assert 1 < len(disk.measured) <= 5


def test_what_cannot_be_measured_has_passed_its_limit(disk, watch, add, alarms):
    target = add("one", 100 * MIB)
    disk.used["one"] = None
    disk.clock += 61
    watch.look()

    assert target.full
    assert len(alarms) == 1


def test_who_writes_most_is_stopped_before_the_disk_is_full(disk, watch, add, alarms):
    """Even below its own limit: without the host nobody has a disk."""
    for name in ("quiet", "busy", "idle"):
        add(name, 30 * GIB)
    disk.clock += 61
    watch.look()
    disk.write("quiet", 2 * MIB)
    disk.write("busy", 39 * GIB + 500 * MIB)
    disk.used["busy"] = 29 * GIB
    watch.look()

    assert watch.low
    assert [name for name, *_ in alarms] == ["busy"]
    assert alarms[0][2] is None
    disk.free = 40 * GIB
    assert not watch.check()


def test_nobody_is_blamed_for_what_others_wrote(disk, watch, add, alarms):
    add("one", 10 * GIB)
    disk.clock += 61
    watch.look()
    disk.write("the host itself", 39 * GIB + 500 * MIB)
    for _ in range(5):
        disk.clock += 2
        watch.look()

    assert watch.low
    assert alarms == []


def test_the_floor_is_a_small_part_of_a_small_disk(disk, tmp_path):
    """A gigabyte of two would be too much to ask for."""
    disk.free = 6 * GIB

    assert not DiskWatch(tmp_path, 50 * GIB).check()
    disk.free = 4 * GIB
    assert DiskWatch(tmp_path, 50 * GIB).check()


def test_who_has_ended_is_not_watched(disk, watch, add, alarms):
    target = add("one", MIB)
    disk.used["one"] = 5 * MIB
    watch.remove(target)
    watch.remove(target)
    disk.clock += 61
    watch.look()

    assert alarms == []
    assert not target.wanted
