"""The watch over memory, on processes that are no sandbox."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sandbox_service.e2b_local.machine.limits.memory_watch import MemoryTarget, MemoryWatch
from sandbox_service.e2b_local.machine.process_tree import Process, identify
from tests.support.processes import alive, family

MIB = 1024**2

# A parent that stands for pid 1, and has more than anybody else.
PARENT = f"""
import os, signal, sys
own = bytearray(80 * {MIB})
for size in map(int, sys.argv[1:]):
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        del own
        more = bytearray(size * {MIB})
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
print("ready", flush=True)
signal.pause()
"""
SHARED = f"""
import os, signal
own = bytearray(40 * {MIB})
for _ in range(4):
    if not os.fork():
        signal.pause()
print("ready", flush=True)
signal.pause()
"""
MEMFD = f"""
import os, signal
if not os.fork():
    file = os.memfd_create("file")
    os.write(file, bytes(30 * {MIB}))
    print("ready", flush=True)
    signal.pause()
signal.pause()
"""


@contextlib.contextmanager
def running(program, *arguments):
    """A tree of processes that has everything it will ever have."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        for pid in reversed(family(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.fixture
def kills():
    return []


def watch_over(init, limit, kills):
    """A watch that only looks when it is told to."""
    watch = MemoryWatch()
    target = MemoryTarget(init, limit, kills.append)
    watch._targets.append(target)
    return watch, target


def look(watch, target):
    target.due = 0.0
    watch.look()


def test_the_largest_program_is_killed_and_pid_1_never(kills):
    """Its agent is what its sandbox is talked to by."""
    with running(PARENT, 5, 60, 10) as pid:
        _, small, large, other = family(pid)
        watch, target = watch_over(identify(pid), 70 * MIB, kills)
        look(watch, target)

        (kill,) = kills
        assert kill.pid == large
        assert kill.program.startswith("python")
        assert not alive(large) or target.killed
        assert all(map(alive, (pid, small, other)))


def test_who_is_dying_already_does_not_cost_another_its_life(kills):
    """Memory comes back some time after the signal."""
    with running(PARENT, 30, 60) as pid:
        watch, target = watch_over(identify(pid), 70 * MIB, kills)
        look(watch, target)
        look(watch, target)

        assert len(kills) == 1


def test_what_several_have_in_common_counts_once(kills):
    """Workers that were forked from one another share most of what they have."""
    with running(SHARED) as pid:
        watch, target = watch_over(identify(pid), 60 * MIB, kills)
        look(watch, target)

        assert kills == []


def test_files_in_memory_count_though_nobody_has_mapped_them(kills):
    with running(MEMFD) as pid:
        watch, target = watch_over(identify(pid), 30 * MIB, kills)
        look(watch, target)

        assert [kill.pid for kill in kills] == family(pid)[1:]


def test_nobody_who_got_the_pid_later_is_killed(kills):
    with running(PARENT, 60) as pid:
        watch, target = watch_over(Process(pid, 1), MIB, kills)
        look(watch, target)

        assert kills == []


def test_many_processes_are_looked_at_more_seldom(kills):
    """A sandbox full of them must not slow the watch over the others down."""
    with running(PARENT, *([0] * 30)) as many, running(PARENT, 1) as few:
        watch, large = watch_over(identify(many), 1 << 40, kills)
        small = MemoryTarget(identify(few), 1 << 40, kills.append)
        watch._targets.append(small)
        began = time.monotonic()
        watch.look()

        assert large.due - began > small.due - began


def test_a_watch_runs_by_itself_and_ends(kills):
    with running(PARENT, 60) as pid:
        watch = MemoryWatch()
        told = []
        done = threading.Event()

        def tell(kill):
            told.append(kill)
            done.set()

        watch.add(MemoryTarget(identify(pid), MIB, tell))
        assert done.wait(10)
        watch.close()
        assert not [one for one in threading.enumerate() if "watch" in one.name]
