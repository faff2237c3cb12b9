"""Memory of sandboxes that no control group limits, watched from outside.

It is soft. Memory is only seen where it was by the time of a look, a twentieth of a second
after the last one, and more seldom where thousands of processes take long to look at: a
program can take a hundred megabytes more than it may, or, of many at once, some times as
much. What neither a process nor a descriptor holds, as a segment of System V's shared
memory that nobody has attached, is not seen at all.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.limits.open_files import count_unlinked
from sandbox_service.e2b_local.machine.limits.patrol import Patrol
from sandbox_service.e2b_local.machine.model import OomKill
from sandbox_service.e2b_local.machine.process_tree import (
    PAGE_BYTES,
    Process,
    read_tree,
    send_signal,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# 50 ms let a program that fills memory as fast as it can pass a limit of 256 MB by 35 MB.
_PERIOD_SECONDS: Final = 0.05
_LONGEST_SECONDS: Final = 1.0
_IDLE_SECONDS: Final = 3600.0
# Of one CPU, for all sandboxes together; each has the same part of it.
_SHARE: Final = 0.03
# Files in memory that have no name are looked for when memory goes this fast, or by then.
_DROP_BYTES: Final = 64 * 1024**2
_FILES_SECONDS: Final = 5.0


@dataclass(slots=True, eq=False)
class MemoryTarget:
    """One sandbox under watch.

    Attributes:
        init: Its pid 1. It is not counted, and never killed.
        limit_bytes: What its programs may have.
        on_kill: Told of each process that was killed; called in the watch's thread.
        due: When to look next.
        killed: Who was killed and may not have gone yet.
        in_files: By process, what it holds in files without a name.
        files_seen: When that was looked at, and how much memory was available then.
    """

    init: Process
    limit_bytes: int
    on_kill: Callable[[OomKill], None]
    due: float = 0.0
    killed: set[Process] = field(default_factory=set)
    in_files: dict[int, int] = field(default_factory=dict)
    files_seen: tuple[float, int] = (0.0, 0)


class MemoryWatch:
    """Kills the largest program of a sandbox that has more memory than it may."""

    def __init__(self) -> None:
        self._targets: list[MemoryTarget] = []
        self._patrol = Patrol("memory watch", self.look)
        self._memory_device = _find_memory_device()

    def add(self, target: MemoryTarget) -> None:
        """Watch a sandbox from now on."""
        self._targets.append(target)
        self._patrol.wake()

    def remove(self, target: MemoryTarget) -> None:
        """Watch it no longer. One that is not watched is fine."""
        if target in self._targets:
            self._targets.remove(target)

    def close(self) -> None:
        """Watch none any longer. Blocks for a moment."""
        self._targets.clear()
        self._patrol.close()

    def look(self) -> float:
        """Look at those that are due.

        Returns:
            Seconds until the next one is.
        """
        targets = list(self._targets)
        if not targets:
            return _IDLE_SECONDS
        available = _read_available()
        for target in targets:
            if target.due > time.monotonic():
                continue
            began = time.thread_time()
            self._look_at(target, available)
            cost = time.thread_time() - began
            rest = max(_PERIOD_SECONDS, cost * len(targets) / _SHARE)
            # A little early, so that the look at the others then is soon enough for it, too.
            early = _PERIOD_SECONDS / 2
            target.due = time.monotonic() + min(rest, _LONGEST_SECONDS) - early
        # Those that are due meanwhile are looked at together.
        return max(_PERIOD_SECONDS, min(target.due for target in targets) - time.monotonic())

    def _look_at(self, target: MemoryTarget, available: int) -> None:
        found = read_tree(target.init.pid)
        if not found or found[0][0] != target.init:
            return  # It has just died.
        sizes = {process: status.pages * PAGE_BYTES for process, status in found[1:]}
        target.killed.intersection_update(sizes)
        for process in target.killed:
            del sizes[process]
        self._look_at_files(target, list(sizes), available)
        in_files = sum(target.in_files.values())
        if sum(sizes.values()) + in_files <= target.limit_bytes:
            return
        # Pages that several have in common were counted for each of them.
        sizes = {process: _measure_alone(process.pid, size) for process, size in sizes.items()}
        if sum(sizes.values()) + in_files <= target.limit_bytes or not sizes:
            return
        largest = max(sizes, key=lambda one: sizes[one] + target.in_files.get(one.pid, 0))
        kill = _describe(largest)
        # By then it may be the child of another, but of one of these.
        if send_signal(largest, signal.SIGKILL, {process.pid for process, _ in found}):
            target.killed.add(largest)
            target.in_files.pop(largest.pid, None)
            target.on_kill(kill)

    def _look_at_files(
        self, target: MemoryTarget, processes: list[Process], available: int
    ) -> None:
        then, before = target.files_seen
        now = time.monotonic()
        if now - then > _FILES_SECONDS or before - available > _DROP_BYTES:
            pids = [process.pid for process in processes]
            target.in_files = count_unlinked(pids, (self._memory_device,))
            target.files_seen = now, available
        else:
            target.files_seen = then, max(before, available)


def _find_memory_device() -> int:
    descriptor = os.memfd_create("device")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def _read_available() -> int:
    """The memory that this host could still give to programs, in bytes; 0: it does not say."""
    with open("/proc/meminfo", "rb") as file:  # noqa: PTH123 - Often called.
        for line in file:
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _measure_alone(pid: int, resident: int) -> int:
    """The memory of a process, with only its part of what it shares with others."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass  # It ends, or may not be looked into.
    return resident


def _describe(process: Process) -> OomKill:
    """Name a process as its sandbox knows it."""
    pid, name = 0, ""
    try:
        for line in Path(f"/proc/{process.pid}/status").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":\t")
            if key == "Name":
                name = value
            elif key == "NSpid":
                pid = int(value.split()[-1])
    except (OSError, ValueError):
        pass  # It has just ended by itself.
    return OomKill(pid, name)
