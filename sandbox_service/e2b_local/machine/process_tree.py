"""What a sandbox's processes use, read from outside, where they cannot lie."""

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


def measure_tree(root_pid: int) -> TreeUsage:
    """Add up a process and its descendants. All zero when it is gone."""
    ticks = pages = count = 0
    pending = [root_pid]
    while pending:
        pid = pending.pop()
        try:
            text = Path(f"/proc/{pid}/stat").read_bytes()
            # The name may hold anything, also blanks and brackets; the last ends it.
            fields = text[text.rindex(b")") + 2 :].split()
            pending += _find_children(pid)
        except (OSError, ValueError):
            continue  # It ended in the meantime.
        ticks += sum(int(field) for field in fields[11:15])
        pages += int(fields[21])
        count += 1
    return TreeUsage(ticks / _TICKS_PER_SECOND, pages * _PAGE_BYTES, count)


def _find_children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - Names are enough.
        try:
            children = Path(f"/proc/{pid}/task/{thread}/children").read_bytes()
        except OSError:
            continue
        found += [int(child) for child in children.split()]
    return found


def read_memory_total() -> int:
    """The host's memory in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
