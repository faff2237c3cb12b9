"""Processes as /proc shows them."""

from __future__ import annotations

import time
from pathlib import Path


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return []
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found += family(int(child))
    return found


def alive(pid: int, started: int | None = None) -> bool:
    """Tell whether a process runs; a zombie does not.

    Args:
        pid: Its id.
        started: Its start time, so that a later process of the same id is not taken for it.
    """
    fields = _stat(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return False
    return started is None or int(fields[19]) == started


def start_time(pid: int) -> int | None:
    """Return when a process started, in ticks since boot."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def command(pid: int) -> list[str]:
    """Return a process' command line; empty when it has ended."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return raw.decode(errors="replace").split("\0")[:-1]


class Watched:
    """Processes that were seen, to be looked for again later."""

    def __init__(self, pids: list[int]) -> None:
        self._started = {pid: start_time(pid) for pid in pids}

    def __len__(self) -> int:
        return len(self._started)

    def left(self) -> list[str]:
        """Return those that still run, as people read them."""
        return [
            f"{pid}: {' '.join(command(pid))[:200]}"
            for pid, started in self._started.items()
            if started is not None and alive(pid, started)
        ]

    def left_after(self, limit_s: float) -> list[str]:
        """Wait until none runs, or time is up; return those that are left."""
        deadline = time.monotonic() + limit_s
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
