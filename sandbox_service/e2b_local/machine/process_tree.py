"""A sandbox's processes, read from outside, where they cannot lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class TreeUsage:
    """Sums over a process and all its descendants; see `Usage` for what they mean."""

    cpu_seconds: float
    memory_rss_bytes: int
    process_count: int


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What `/proc/PID/stat` says of a process or a thread.

    Attributes:
        state: One letter; T: stopped, Z: dead and not waited for.
        parent: Pid.
        ticks: CPU used by it and the children that it has waited for.
        pages: Resident.
        started: Ticks from the machine's boot; pid and this name a process for good.
    """

    state: str
    parent: int
    ticks: int
    pages: int
    started: int


def measure_tree(root_pid: int) -> TreeUsage:
    """Add up a process and its descendants. All zero when it is gone."""
    ticks = pages = count = 0
    pending = [root_pid]
    while pending:
        pid = pending.pop()
        try:
            status = read_status(f"/proc/{pid}/stat")
            pending += find_children(pid)
        except (OSError, ValueError):
            continue  # It ended in the meantime.
        ticks += status.ticks
        pages += status.pages
        count += 1
    return TreeUsage(ticks / _TICKS_PER_SECOND, pages * _PAGE_BYTES, count)


def read_status(path: str) -> ProcessStatus:
    """Read a `stat` file of `/proc`.

    Raises:
        OSError: There is no such process any more.
    """
    text = Path(path).read_bytes()
    # The name may hold anything, also blanks and brackets; the last ends it.
    fields = text[text.rindex(b")") + 2 :].split()
    return ProcessStatus(
        state=fields[0].decode("ascii"),
        parent=int(fields[1]),
        ticks=sum(int(field) for field in fields[11:15]),
        pages=int(fields[21]),
        started=int(fields[19]),
    )


def find_threads(pid: int) -> list[str]:
    """The ids of a process' threads.

    Raises:
        OSError: It is gone.
    """
    return os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - Names are enough.


def find_children(pid: int) -> list[int]:
    """The pids of a process' children.

    Raises:
        OSError: It is gone.
    """
    found: list[int] = []
    for thread in find_threads(pid):
        try:
            children = Path(f"/proc/{pid}/task/{thread}/children").read_bytes()
        except OSError:
            continue
        found += [int(child) for child in children.split()]
    return found


def read_memory_total() -> int:
    """The host's memory in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
