"""A sandbox's processes, read from outside, where they cannot lie."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class TreeUsage:
    """Sums over a process and all its descendants; see `Usage` for what they mean."""

    cpu_seconds: float
    memory_rss_bytes: int
    process_count: int


@dataclass(frozen=True, slots=True)
class Process:
    """A process; pids are given out again, but not with the same start."""

    pid: int
    started: int


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
    for _, status in read_tree(root_pid):
        ticks += status.ticks
        pages += status.pages
        count += 1
    return TreeUsage(ticks / _TICKS_PER_SECOND, pages * PAGE_BYTES, count)


def read_tree(root_pid: int) -> list[tuple[Process, ProcessStatus]]:
    """Look at a process and its descendants, parents before their children."""
    found = []
    pending = [root_pid]
    while pending:
        pid = pending.pop()
        try:
            status = read_status(f"/proc/{pid}/stat")
            pending += find_children(pid)
        except (OSError, ValueError):
            continue  # It ended in the meantime.
        found.append((Process(pid, status.started), status))
    return found


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


def identify(pid: int) -> Process:
    """Name whoever has a pid now, for good. Nobody: a process that never was."""
    try:
        return Process(pid, read_status(f"/proc/{pid}/stat").started)
    except (OSError, ValueError):
        return Process(pid, -1)


def child_processes(parent: Process) -> list[Process]:
    """The children of a process, none of them somebody else's."""
    found = []
    try:
        for pid in find_children(parent.pid):
            try:
                status = read_status(f"/proc/{pid}/stat")
            except (OSError, ValueError):
                continue
            if status.parent == parent.pid:  # Else the next round finds it elsewhere.
                found.append(Process(pid, status.started))
        # Was it the parent all the time, or has another got its pid?
        if read_status(f"/proc/{parent.pid}/stat").started != parent.started:
            return []
    except (OSError, ValueError):
        return []
    return found


def send_signal(process: Process, number: signal.Signals, parents: set[int] | None = None) -> bool:
    """Signal a process, and never another that has got its pid.

    Args:
        process: To whom.
        number: The signal.
        parents: It must still be a child of one of these. None: of anybody.

    Returns:
        False: it is gone.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # Looked at again now that the descriptor holds on to whoever has the pid.
        status = read_status(f"/proc/{process.pid}/stat")
        if status.started != process.started:
            return False
        if parents is not None and status.parent not in parents:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, FileNotFoundError, ValueError):
        return False
    finally:
        os.close(descriptor)
    return True


def read_memory_total() -> int:
    """The host's memory in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
