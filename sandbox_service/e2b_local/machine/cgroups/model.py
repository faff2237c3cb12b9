"""What control groups of either version can do for a sandbox."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Started = subprocess.Popen[bytes]

_serial = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimits:
    """Limits of one sandbox. None: none but the host's.

    Attributes:
        memory_bytes: Of all its processes and of its files in memory; swap is not added.
        process_count: Processes and threads.
        cpu_count: CPUs it may keep busy, in sum.
    """

    memory_bytes: int | None = None
    process_count: int | None = None
    cpu_count: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUsage:
    """What one sandbox uses.

    Attributes:
        cpu_seconds: Since its group was made.
        memory_bytes: Now, its files in memory and the cache of its files included.
        memory_cache_bytes: The part of it that the kernel can take back.
        process_count: Processes; their threads, which count against the limit, are not.
    """

    cpu_seconds: float
    memory_bytes: int
    memory_cache_bytes: int
    process_count: int


class Group(Protocol):
    """One sandbox's control group."""

    def start(self, start: Callable[[], Started]) -> Started:
        """Start a process in the group; its children are in it, too.

        To be called in a thread that does nothing else meanwhile: version 1 takes it along.

        Args:
            start: Starts a process that waits before it does anything.

        Raises:
            OSError: The kernel refuses. The process, if there is one, has been killed.
        """

    def usage(self) -> GroupUsage:
        """Measure.

        Raises:
            OSError: The group is gone.
        """

    def oom_kills(self) -> int:
        """How many processes the kernel has killed for want of memory. 0 when it is gone."""

    def set_frozen(self, wanted: bool) -> None:  # noqa: FBT001 - The value is the verb here.
        """Stop every process where it stands, or let them go on.

        The kernel may take a moment: see `is_frozen`.

        Raises:
            OSError: There is no freezer here, or the group is gone.
        """

    def is_frozen(self) -> bool:
        """Whether every process has stopped."""

    def folders(self) -> dict[str, Path]:
        """Where it lies on the host, by the place below `/sys/fs/cgroup` it would have."""

    def remove(self) -> None:
        """Remove the group when its processes are gone; nothing there is fine."""


class ControlGroups(Protocol):
    """Where the control groups of sandboxes are made.

    Attributes:
        version: 1 or 2.
        limits: What of `memory`, `processes` and `cpu` is limited for good.
        freezer: Whether `Group.set_frozen` works.
    """

    version: int
    limits: frozenset[str]
    freezer: bool

    def make(self, name: str, limits: GroupLimits) -> Group:
        """Make a group.

        Raises:
            OSError: The kernel refuses. Nothing is left.
        """

    def close(self) -> None:
        """Remove what is left; groups with processes in them stay."""


def read_number(path: Path) -> int:
    """Read a file that holds one number; `max` is -1."""
    text = path.read_text().strip()
    return -1 if text == "max" else int(text)


def read_table(path: Path) -> dict[str, int]:
    """Read a file with a name and a number on each line."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def read_pids(folder: Path) -> list[int]:
    """The processes of a group; none when it is gone. 0 is one that cannot be seen here."""
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def remove_groups(folder: Path) -> None:
    """Remove a group and those below it. The kernel keeps those that are in use."""
    with contextlib.suppress(OSError):
        for child in folder.iterdir():
            if child.is_dir() and not child.is_symlink():
                remove_groups(child)
    with contextlib.suppress(OSError):
        folder.rmdir()


def own_name() -> str:
    """A new name for this server's groups, so that those of a dead one can be told."""
    return f"sandbox-service-{os.getpid()}-{_started_at(os.getpid())}-{next(_serial)}"


def remove_stale(parent: Path) -> None:
    """Remove the groups of servers that died without doing it, and who is left in them."""
    for folder in parent.glob("sandbox-service-*-*-*"):
        _, _, pid, started, _ = folder.name.rsplit("-", 4)
        if pid.isdigit() and _started_at(int(pid)) != started:
            _end_processes(folder)
            remove_groups(folder)


def _end_processes(folder: Path) -> None:
    # They have died with their server, unless it was just freezing them: version 1 keeps
    # even the killed until they are thawed.
    for group in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        for pid in read_pids(group):
            if pid > 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        state = group / "freezer.state"
        with contextlib.suppress(OSError):
            if state.exists():
                state.write_text("THAWED")


def _started_at(pid: int) -> str:
    """When a process started, in ticks since the host did. Empty: there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - One line of /proc.
            text = file.read()
    except OSError:
        return ""
    return text[text.rindex(b")") + 2 :].split()[19].decode()
