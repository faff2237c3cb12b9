"""Control groups of version 1: a tree for each controller, open to root alone."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
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
    from collections.abc import Callable, Mapping

    from sandbox_service.e2b_local.machine.cgroups.model import Started

CONTROLLERS: Final = ("memory", "pids", "cpu", "cpuacct", "freezer")
_NEEDED: Final = frozenset({"memory", "pids"})
_CPU_PERIOD_US: Final = 100_000
_NANOSECONDS: Final = 1e9


@dataclass(frozen=True, slots=True)
class GroupV1:
    """One sandbox's groups.

    Attributes:
        places: Controller and folder; several controllers can share one.
        homes: Controller and the folder of the group that the server is in.
    """

    places: Mapping[str, Path]
    homes: Mapping[str, Path]

    def start(self, start: Callable[[], Started]) -> Started:
        """See `Group`.

        A thread that moves itself does it at once. To move another process, the kernel
        waits until it has been quiet for a moment everywhere: ten milliseconds.
        """
        try:
            for folder in set(self.places.values()):
                (folder / "tasks").write_text("0")
            return start()
        finally:
            for folder in set(self.homes.values()):
                (folder / "tasks").write_text("0")

    def usage(self) -> GroupUsage:
        """See `Group`."""
        memory, accounting = self.places["memory"], self.places.get("cpuacct")
        ticks = 0 if accounting is None else read_number(accounting / "cpuacct.usage")
        return GroupUsage(
            cpu_seconds=ticks / _NANOSECONDS,
            memory_bytes=read_number(memory / "memory.usage_in_bytes"),
            memory_cache_bytes=_reclaimable(read_table(memory / "memory.stat")),
            process_count=len(read_pids(self.places["pids"])),
        )

    def oom_kills(self) -> int:
        """See `Group`."""
        try:
            return read_table(self.places["memory"] / "memory.oom_control").get("oom_kill", 0)
        except OSError:
            return 0

    def set_frozen(self, wanted: bool) -> None:  # noqa: FBT001 - The value is the verb here.
        """See `Group`."""
        (self.places["freezer"] / "freezer.state").write_text("FROZEN" if wanted else "THAWED")

    def is_frozen(self) -> bool:
        """See `Group`."""
        try:
            return (self.places["freezer"] / "freezer.state").read_text().strip() == "FROZEN"
        except OSError:
            return False

    def folders(self) -> dict[str, Path]:
        """See `Group`."""
        return {name: path for name, path in self.places.items() if name != "freezer"}

    def remove(self) -> None:
        """See `Group`."""
        for folder in set(self.places.values()):
            remove_groups(folder)


def _reclaimable(stat: Mapping[str, int]) -> int:
    # Files in memory count as cache too, and nobody can take those back.
    return max(0, stat.get("total_cache", 0) - stat.get("total_shmem", 0))


class ControlGroupsV1:
    """See `ControlGroups`.

    Args:
        parents: Controller and the folder of the group this server is in.
    """

    version = 1

    def __init__(self, parents: Mapping[str, Path]) -> None:
        if not parents.keys() >= _NEEDED:
            raise OSError(f"no controllers {sorted(_NEEDED - parents.keys())}")
        name = own_name()
        self._parents = parents
        self._bases = {controller: parent / name for controller, parent in parents.items()}
        self.freezer = "freezer" in parents
        self.limits = frozenset({"memory", "processes"} | ({"cpu"} if "cpu" in parents else set()))
        try:
            for controller, base in self._bases.items():
                remove_stale(parents[controller])
                base.mkdir(exist_ok=True)
                _enable_hierarchy(base)
        except OSError:
            self.close()
            raise

    def make(self, name: str, limits: GroupLimits) -> GroupV1:
        """See `ControlGroups`."""
        places = {controller: base / name for controller, base in self._bases.items()}
        group = GroupV1(places, self._parents)
        try:
            for folder in set(group.places.values()):
                folder.mkdir()
            _limit(group.places, limits)
        except OSError:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """See `ControlGroups`."""
        for base in set(self._bases.values()):
            remove_groups(base)


def _enable_hierarchy(base: Path) -> None:
    # Limits of a parent count for its children only then; newer kernels know no other way.
    with contextlib.suppress(OSError):
        (base / "memory.use_hierarchy").write_text("1")


def _limit(places: Mapping[str, Path], limits: GroupLimits) -> None:
    if limits.memory_bytes is not None:
        memory = places["memory"]
        (memory / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))
        # Missing where the kernel does not count swap; then there mostly is none.
        swap = memory / "memory.memsw.limit_in_bytes"
        if swap.exists():
            swap.write_text(str(limits.memory_bytes))
    if limits.process_count is not None:
        (places["pids"] / "pids.max").write_text(str(limits.process_count))
    if limits.cpu_count is not None and "cpu" in places:
        (places["cpu"] / "cpu.cfs_period_us").write_text(str(_CPU_PERIOD_US))
        quota = max(1000, int(limits.cpu_count * _CPU_PERIOD_US))
        (places["cpu"] / "cpu.cfs_quota_us").write_text(str(quota))
