"""The limits of one sandbox, from before its boot until after its end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sandbox_service.e2b_local.machine.limits.disk_watch import DiskTarget
from sandbox_service.e2b_local.machine.limits.memory_watch import MemoryTarget
from sandbox_service.e2b_local.machine.limits.oom import OomLedger
from sandbox_service.e2b_local.machine.process_tree import (
    identify,
    measure_tree,
    read_memory_total,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor
    from pathlib import Path

    from sandbox_service.e2b_local.machine.cgroups import Group
    from sandbox_service.e2b_local.machine.cgroups.model import Started
    from sandbox_service.e2b_local.machine.limits.disk_watch import DiskWatch
    from sandbox_service.e2b_local.machine.limits.memory_watch import MemoryWatch
    from sandbox_service.e2b_local.machine.limits.oom import MemoryEvents
    from sandbox_service.e2b_local.machine.model import DiskAlarm, Limits, OomKill

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """What a sandbox is told of its limits.

    Attributes:
        own: What its agent sets on itself, and so on all programs, as JSON.
        views: What is shown inside, read-only: path there, and path on the host.
    """

    own: str
    views: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Means:
    """What there is on this machine to keep limits with.

    Attributes:
        launcher: Its one thread starts every sandbox, and ends after all of them.
        memory: Looks after memory. None: nobody has to.
        disk: Looks after the disk. None: nobody has to.
        freezer: Whether control groups have one.
    """

    launcher: Executor
    memory: MemoryWatch | None
    disk: DiskWatch | None
    freezer: bool


@dataclass(frozen=True, slots=True)
class Used:
    """What a sandbox uses now; see `Usage`."""

    cpu_seconds: float
    memory_bytes: int
    memory_cache_bytes: int
    memory_total_bytes: int
    process_count: int


class Confinement:
    """The limits of one sandbox.

    Args:
        limits: What it may use.
        told: What it is told of that.
        folder: All that it has on the disk.
        group: Its control group, if it has one.
        memory_total_bytes: The limit of that group. None: it has none.
        events: Where it is told of those that were killed, if no group does that.
        means: What keeps them.

    Attributes:
        told: What it is told of its limits.
        group: Its control group, if it has one.
        ooms: Who was killed for want of memory.
    """

    def __init__(
        self,
        limits: Limits,
        told: AgentLimits,
        folder: Path,
        group: Group | None,
        memory_total_bytes: int | None,
        events: MemoryEvents | None,
        means: Means,
    ) -> None:
        self.told = told
        self.group = group
        self.ooms = OomLedger(group, events)
        self._limits = limits
        self._folder = folder
        self._total = memory_total_bytes
        self._means = means
        self._memory: MemoryTarget | None = None
        self._disk: DiskTarget | None = None
        self._ended = False

    async def start(self, start: Callable[[], Started]) -> Started:
        """Start a process under the limits; see `Group.start`.

        It lives as long as the thread that starts it, so that is never the caller's.

        Raises:
            OSError: It cannot be started, or the kernel refuses.
        """
        work = start if self.group is None else functools.partial(self.group.start, start)
        starting = asyncio.get_running_loop().run_in_executor(self._means.launcher, work)
        cancelled: asyncio.CancelledError | None = None
        while not starting.done():
            try:
                await asyncio.wait((starting,))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is None:
            return starting.result()
        if starting.exception() is None:
            process = starting.result()
            process.kill()
            process.wait()
        raise cancelled

    def begin(
        self,
        init_pid: int,
        on_oom: Callable[[OomKill], None],
        on_disk_alarm: Callable[[DiskAlarm], None],
    ) -> None:
        """Look after a sandbox that has just been booted. Call it on the loop's thread.

        Args:
            init_pid: Its pid 1.
            on_oom: Called for each process that was killed because memory was used up.
            on_disk_alarm: Called when its programs have to be stopped from writing.
        """
        self.ooms.begin(on_oom)
        limits, means = self._limits, self._means
        if means.memory is not None and limits.memory_bytes is not None:
            on_kill = self._on_loop(self.ooms.add)
            self._memory = MemoryTarget(identify(init_pid), limits.memory_bytes, on_kill)
            means.memory.add(self._memory)
        if means.disk is not None:
            on_alarm = self._on_loop(on_disk_alarm)
            self._disk = DiskTarget(init_pid, self._folder, limits.disk_bytes, on_alarm)
            means.disk.add(self._disk)

    def _on_loop(self, tell: Callable[[ValueT], None]) -> Callable[[ValueT], None]:
        loop = asyncio.get_running_loop()

        def tell_if_wanted(value: ValueT) -> None:
            if not self._ended:
                tell(value)

        def post(value: ValueT) -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(tell_if_wanted, value)

        return post

    @property
    def freezer(self) -> Group | None:
        """Its control group, if that can hold it still for a moment."""
        return self.group if self._means.freezer else None

    @property
    def disk_full(self) -> bool:
        """Whether nothing more is to be written for it."""
        disk = self._means.disk
        return disk is not None and (disk.low or (self._disk is not None and self._disk.full))

    def measure(self, init_pid: int) -> Used:
        """Measure what it uses now. Blocks."""
        total = self._total or self._limits.memory_bytes or read_memory_total()
        if self.group is not None:
            with contextlib.suppress(OSError):  # It has just ended.
                used = self.group.usage()
                cache = min(used.memory_cache_bytes, used.memory_bytes)
                # Bubblewrap itself, which waits for its end, is in the group too.
                count = max(0, used.process_count - 1)
                return Used(used.cpu_seconds, used.memory_bytes - cache, cache, total, count)
        tree = measure_tree(init_pid)
        return Used(tree.cpu_seconds, tree.memory_rss_bytes, 0, total, tree.process_count)

    async def end(self) -> None:
        """Let go of everything: all its processes are gone. Idempotent."""
        if self._ended:
            return
        self.ooms.close()
        self._ended = True
        if self._memory is not None and self._means.memory is not None:
            self._means.memory.remove(self._memory)
        if self._disk is not None and self._means.disk is not None:
            self._means.disk.remove(self._disk)
        if self.group is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._means.launcher, self.group.remove)
