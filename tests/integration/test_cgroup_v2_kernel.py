"""Groups of version 2 on the kernel's own tree, where this host can mount one.

A host that gives its controllers to version 1 has none left for this tree, so limits
cannot be tried here; what needs no controller can: membership, freezing, time, removal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from functools import partial

import pytest

from sandbox_service.e2b_local.machine.cgroups.model import own_name, read_table
from sandbox_service.e2b_local.machine.cgroups.v2 import GroupV2

pytestmark = pytest.mark.needs("root")

# Waits for a line before it does anything, as the launcher's processes do.
SPIN = "read line; (while :; do :; done) & while :; do :; done"


@pytest.fixture
def mounted(tmp_path):
    done = subprocess.run(
        ["mount", "-t", "cgroup2", "none", tmp_path], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"this kernel gives no tree of version 2: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.fixture
def group(mounted):
    group = GroupV2(mounted / own_name())
    group.place.mkdir()
    yield group
    (group.place / "cgroup.kill").write_text("1")
    until(lambda: read_table(group.place / "cgroup.events")["populated"] == 0)
    group.remove()
    assert not group.place.exists()


@pytest.fixture
def spinning(group):
    """Two processes that never rest, in the group."""
    process = group.start(
        partial(
            subprocess.Popen,
            ["bash", "-c", SPIN],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
    )
    process.stdin.write(b"\n")
    process.stdin.flush()
    until(lambda: len(pids(group)) == 2)
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()


def until(holds):
    """Wait for what the kernel needs a moment for."""
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.002)


def pids(group):
    return (group.place / "cgroup.procs").read_text().split()


def busy_us(group):
    return read_table(group.place / "cpu.stat")["usage_usec"]


def test_what_a_member_starts_is_a_member(group, spinning):
    assert str(spinning.pid) in pids(group)
    assert len(pids(group)) == 2


def test_the_frozen_stand_still_until_they_are_let_go(group, spinning):
    until(lambda: busy_us(group) > 0)
    group.set_frozen(True)
    until(group.is_frozen)
    before = busy_us(group)
    assert busy_us(group) == before
    group.set_frozen(False)
    until(lambda: not group.is_frozen())
    until(lambda: busy_us(group) > before)


def test_the_frozen_can_be_killed(group, spinning):
    """Unlike version 1's: a server that dies while it freezes leaves nothing behind."""
    group.set_frozen(True)
    until(group.is_frozen)
    os.killpg(spinning.pid, signal.SIGKILL)
    assert spinning.wait() == -signal.SIGKILL
    until(lambda: pids(group) == [])


def test_a_group_in_use_stays(group, spinning):
    group.remove()
    assert group.place.exists()


def test_a_group_that_is_gone_has_nothing(mounted):
    gone = GroupV2(mounted / own_name())
    gone.remove()
    assert gone.oom_kills() == 0
    assert not gone.is_frozen()
    with pytest.raises(OSError, match="No such file"):
        gone.set_frozen(True)
