"""Control groups of version 2: one tree, a part of which systemd can lend to a user.

The unit tests use folders that look like the kernel's; what needs no controller is also
tried on the kernel's own tree; tests with real sandboxes use the version that the host has.
To put a sandbox into its group costs some ten milliseconds at its start, for which the
kernel waits.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.cgroups.model import (
    GroupLimits,
    GroupUsage,
    own_name,
    read_number,
    read_pids,
    read_table,
    remove_groups,
    remove_stale,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox_service.e2b_local.machine.cgroups.model import Started

_NEEDED: Final = ("memory", "pids")
_WANTED: Final = (*_NEEDED, "cpu")
_CPU_PERIOD_US: Final = 100_000
_MICROSECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class GroupV2:
    """One sandbox's group.

    Attributes:
        place: Its folder.
    """

    place: Path

    def start(self, start: Callable[[], Started]) -> Started:
        """See `Group`."""
        process = start()
        try:
            (self.place / "cgroup.procs").write_text(f"{process.pid}\n")
        except OSError:
            process.kill()
            process.wait()
            raise
        return process

    def usage(self) -> GroupUsage:
        """See `Group`."""
        stat = read_table(self.place / "memory.stat")
        return GroupUsage(
            cpu_seconds=read_table(self.place / "cpu.stat").get("usage_usec", 0) / _MICROSECONDS,
            memory_bytes=read_number(self.place / "memory.current"),
            memory_cache_bytes=max(0, stat.get("file", 0) - stat.get("shmem", 0)),
            process_count=len(read_pids(self.place)),
        )

    def oom_kills(self) -> int:
        """See `Group`."""
        try:
            return read_table(self.place / "memory.events").get("oom_kill", 0)
        except OSError:
            return 0

    def set_frozen(self, wanted: bool) -> None:  # noqa: FBT001 - The value is the verb here.
        """See `Group`."""
        (self.place / "cgroup.freeze").write_text("1" if wanted else "0")

    def is_frozen(self) -> bool:
        """See `Group`."""
        try:
            return read_table(self.place / "cgroup.events").get("frozen", 0) == 1
        except OSError:
            return False

    def folders(self) -> dict[str, Path]:
        """See `Group`."""
        return {"": self.place}

    def remove(self) -> None:
        """See `Group`."""
        remove_groups(self.place)


class ControlGroupsV2:
    """See `ControlGroups`.

    A group that has children with limits may hold no processes itself, so the server
    moves into a child of its own first.

    Args:
        own: The folder of the group this server is in.
        pid: Of the server.

    Raises:
        OSError: The group is not ours to divide: others are in it, or it belongs to
            somebody else.
    """

    version = 2
    freezer = True

    def __init__(self, own: Path, pid: int) -> None:
        offered = set((own / "cgroup.controllers").read_text().split())
        if not offered.issuperset(_NEEDED):
            raise OSError(f"no controllers {sorted(set(_NEEDED) - offered)} below {own}")
        enabled = [name for name in _WANTED if name in offered]
        self.limits = frozenset({"memory", "processes"} | ({"cpu"} if "cpu" in enabled else set()))
        self._server = own / "server"
        self._base = own / own_name()
        try:
            self._server.mkdir(exist_ok=True)
            (self._server / "cgroup.procs").write_text(f"{pid}\n")
            wanted = " ".join(f"+{name}" for name in enabled)
            (own / "cgroup.subtree_control").write_text(wanted)
            remove_stale(own)
            self._base.mkdir(exist_ok=True)
            (self._base / "cgroup.subtree_control").write_text(wanted)
        except OSError:
            with contextlib.suppress(OSError):
                (own / "cgroup.procs").write_text(f"{pid}\n")
            self.close()
            raise

    def make(self, name: str, limits: GroupLimits) -> GroupV2:
        """See `ControlGroups`."""
        group = GroupV2(self._base / name)
        try:
            group.place.mkdir()
            _limit(group.place, limits)
        except OSError:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """See `ControlGroups`."""
        for folder in (self._base, self._server):
            remove_groups(folder)


def _limit(place: Path, limits: GroupLimits) -> None:
    if limits.memory_bytes is not None:
        (place / "memory.max").write_text(str(limits.memory_bytes))
        # Missing where there is no swap.
        if (place / "memory.swap.max").exists():
            (place / "memory.swap.max").write_text("0")
    if limits.process_count is not None:
        (place / "pids.max").write_text(str(limits.process_count))
    if limits.cpu_count is not None and (place / "cpu.max").exists():
        quota = max(1000, int(limits.cpu_count * _CPU_PERIOD_US))
        (place / "cpu.max").write_text(f"{quota} {_CPU_PERIOD_US}")
