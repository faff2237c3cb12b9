"""How the limits of sandboxes are kept on this machine, and how well."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.cgroups import GroupLimits, find_control_groups
from sandbox_service.e2b_local.machine.limits.confinement import (
    AgentLimits,
    Confinement,
    Means,
)
from sandbox_service.e2b_local.machine.limits.disk_watch import DiskWatch
from sandbox_service.e2b_local.machine.limits.memory_watch import MemoryWatch
from sandbox_service.e2b_local.machine.limits.oom import MemoryEvents

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox_service.e2b_local.machine.cgroups import ControlGroups
    from sandbox_service.e2b_local.machine.model import Limits, MachineConfig, Strength

CGROUP_PATH: Final = "/sys/fs/cgroup"
"""Where programs look for the limits that they have."""

_EVENTS: Final = "memory.events"
_LIMIT: Final = "memory.max"
# Of the agent and of bubblewrap, which are in the group too: 12 MB and room to work.
_OWN_BYTES: Final = 32 * 1024**2
# Those two again.
_OWN_PROCESSES: Final = 2
# Where no group can keep a sandbox from the host's CPUs, it gives way to everybody else.
# Nobody inside can take that back.
_NICE: Final = 10
_HOMES: Final = 3


class Limiter:
    """Gives each sandbox its limits.

    Args:
        config: Sizes, and how limits are to be kept.
        folder: On the disk that all sandboxes share.

    Attributes:
        strengths: How well each limit holds, by name: `memory`, `processes`, `cpu`, `disk`,
            `open_files`.
        detail: The same in a line for people, and what keeps them.
    """

    def __init__(self, config: MachineConfig, folder: Path) -> None:
        self._config = config
        self._groups: ControlGroups | None = None
        self._launcher = ThreadPoolExecutor(1, thread_name_prefix="launcher")
        keeper = "as asked for" if config.limits == "off" else "watched from outside, as asked for"
        if config.limits == "auto":
            found = find_control_groups()
            self._groups = found.groups
            keeper = f"watched from outside, for there are no control groups: {found.reason}"
        if self._groups is not None:
            keeper = f"control groups, version {self._groups.version}"
        watched = config.limits != "off"
        self._memory = MemoryWatch() if watched and self._groups is None else None
        self._disk = DiskWatch(folder, config.disk_floor_bytes) if watched else None
        self.strengths = self._strengths()
        words = (f"{name.replace('_', ' ')} {how}" for name, how in self.strengths.items())
        self.detail = f"{', '.join(words)} ({keeper})"

    def _strengths(self) -> dict[str, Strength]:
        limited = frozenset[str]() if self._groups is None else self._groups.limits
        otherwise: Strength = "none" if self._config.limits == "off" else "soft"
        sized = self._config.home_size_bytes is not None
        return {
            "memory": "hard" if "memory" in limited else otherwise,
            "processes": "hard",
            "cpu": "hard" if "cpu" in limited else otherwise,
            "disk": "hard" if sized else otherwise,
            "open_files": "hard",
        }

    @property
    def disk_low(self) -> bool:
        """Whether the host needs what its disk has left. Asks the disk."""
        return self._disk is not None and self._disk.check()

    def confine(self, name: str, limits: Limits, folder: Path) -> Confinement:
        """Prepare the limits of a sandbox that is about to be booted.

        Args:
            name: Of its control group; no other has had it.
            limits: What it may use.
            folder: Its own folder.

        Raises:
            OSError: The kernel or the disk refuses. Nothing is left.
        """
        config = self._config
        own = {
            "RLIMIT_NPROC": limits.process_count or config.process_limit,
            "RLIMIT_NOFILE": config.open_files_limit,
            "RLIMIT_FSIZE": config.file_size_limit_bytes,
            "RLIMIT_CORE": 0,
        }
        if self.strengths["cpu"] == "soft":
            own["nice"] = _NICE
        group = total = events = None
        views: dict[str, Path] = {}
        if self._groups is not None:
            total = self._total_memory(limits)
            group = self._groups.make(name, self._group_limits(limits, total))
            views = {_inside(place): path for place, path in group.folders().items()}
        elif config.limits != "off":
            events = MemoryEvents(folder / _EVENTS)
            views = {_inside(_EVENTS): folder / _EVENTS}
            if limits.memory_bytes is not None:
                _write_read_only(folder / _LIMIT, f"{limits.memory_bytes}\n")
                views[_inside(_LIMIT)] = folder / _LIMIT
        means = Means(
            self._launcher,
            self._memory,
            None if config.home_size_bytes else self._disk,
            self._groups is not None and self._groups.freezer,
        )
        told = AgentLimits(json.dumps(own), views)
        return Confinement(limits, told, folder, group, total, events, means)

    def _total_memory(self, limits: Limits) -> int | None:
        """What the group of a sandbox may have: its programs, its files in memory, and us."""
        if limits.memory_bytes is None:
            return None
        config = self._config
        homes = _HOMES * (config.home_size_bytes or 0)
        files = config.tmp_size_bytes + config.shm_size_bytes + homes
        return limits.memory_bytes + files + _OWN_BYTES

    def _group_limits(self, limits: Limits, total: int | None) -> GroupLimits:
        processes = limits.process_count or self._config.process_limit
        return GroupLimits(
            memory_bytes=total,
            process_count=processes + _OWN_PROCESSES,
            cpu_count=limits.cpu_count,
        )

    async def close(self) -> None:
        """Let go of everything, when no sandbox is left."""
        for watch in (self._memory, self._disk):
            if watch is not None:
                await asyncio.to_thread(watch.close)
        await asyncio.to_thread(self._launcher.shutdown)
        if self._groups is not None:
            self._groups.close()


def _inside(place: str) -> str:
    return f"{CGROUP_PATH}/{place}".rstrip("/")


def _write_read_only(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o444)
