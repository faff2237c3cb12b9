"""Files that have no name any more, and live on in the descriptors of processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable


def count_unlinked(pids: Iterable[int], devices: Container[int]) -> dict[int, int]:
    """Measure the files without a name that processes hold open.

    Args:
        pids: The processes. One that is gone, or that this user may not look into, has none.
        devices: Numbers of file systems (`st_dev`); files elsewhere do not count.

    Returns:
        Bytes by pid, where there are any. A file that several hold counts for the first.
    """
    seen: set[int] = set()
    found: dict[int, int] = {}
    for pid in pids:
        folder = f"/proc/{pid}/fd"
        try:
            numbers = os.listdir(folder)  # noqa: PTH208 - Names are enough.
        except OSError:
            continue
        for number in numbers:
            try:
                status = os.stat(f"{folder}/{number}")  # noqa: PTH116 - Often called.
            except OSError:
                continue
            unlinked = status.st_nlink == 0 and status.st_dev in devices
            if unlinked and status.st_blocks and status.st_ino not in seen:
                seen.add(status.st_ino)
                found[pid] = found.get(pid, 0) + status.st_blocks * 512
    return found
