"""Disks of sandboxes, watched from outside: no kernel limits them for an ordinary user.

It is soft. A sandbox is measured when the disk has lost half of what the sandbox may still
take, so one that has much left costs nothing, and one that is near its limit is seen soon;
but a disk that takes gigabytes a second takes some hundred megabytes between two looks.
When one deletes as fast as another writes, that shows a minute later.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.limits.folder_size import UnmeasurableError, measure_folder
from sandbox_service.e2b_local.machine.limits.open_files import count_unlinked
from sandbox_service.e2b_local.machine.limits.patrol import Patrol
from sandbox_service.e2b_local.machine.model import DiskAlarm
from sandbox_service.e2b_local.machine.process_tree import read_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PERIOD_SECONDS: Final = 0.25
_NEAR_FLOOR_SECONDS: Final = 0.05
_FLOOR_SHARE: Final = 20
# Also without a sign that anything was written.
_LONGEST_SECONDS: Final = 60.0
_FULL_SECONDS: Final = 1.0
# A tree that takes a second to walk is walked every ten seconds at most.
_REST_FACTOR: Final = 10.0
_STEP_BYTES: Final = 16 * 1024**2
# So much more since the last look is a writer at work, not a line in a log.
_GROWTH_BYTES: Final = 1024**2


@dataclass(slots=True, eq=False)
class DiskTarget:
    """One sandbox under watch.

    Attributes:
        init_pid: Its pid 1.
        folder: All that it has on the disk.
        limit_bytes: What it may have there. None: as much as there is.
        on_alarm: Told when its programs have to be stopped; called in the watch's thread.
        full: Whether it has more than it may.
        used_bytes: What it had at the last look. -1: nobody has looked.
        free_then: What the disk had left then.
        looked: When that was.
        rest_until: Not to be looked at before, for looking takes long.
        wanted: Whether it is still watched.
    """

    init_pid: int
    folder: Path
    limit_bytes: int | None
    on_alarm: Callable[[DiskAlarm], None]
    full: bool = False
    used_bytes: int = -1
    free_then: int = 0
    looked: float = 0.0
    rest_until: float = 0.0
    wanted: bool = True


class DiskWatch:
    """Raises an alarm for each sandbox that has more on the disk than it may.

    Args:
        folder: On the disk that all sandboxes share.
        floor_bytes: What they leave to the host, but at most a twentieth of the disk.

    Attributes:
        low: Whether the disk has less left than that.
    """

    def __init__(self, folder: Path, floor_bytes: int) -> None:
        self._folder = folder
        system = os.statvfs(folder)
        self._floor_bytes = min(floor_bytes, system.f_blocks * system.f_frsize // _FLOOR_SHARE)
        self._floor_files = system.f_files // (5 * _FLOOR_SHARE)
        self._device = folder.stat().st_dev
        self._targets: list[DiskTarget] = []
        self._patrol = Patrol("disk watch", self.look)
        self._room()

    def _room(self) -> int:
        system = os.statvfs(self._folder)
        free = system.f_bavail * system.f_frsize
        # File systems without a fixed number of files say that they have none at all.
        self.low = free < self._floor_bytes or system.f_favail < self._floor_files
        return free

    def check(self) -> bool:
        """Look at the disk now; see `low`."""
        self._room()
        return self.low

    def add(self, target: DiskTarget) -> None:
        """Watch a sandbox from now on."""
        target.free_then, target.looked = self._room(), time.monotonic()
        self._targets.append(target)
        self._patrol.wake()

    def remove(self, target: DiskTarget) -> None:
        """Watch it no longer. One that is not watched is fine."""
        target.wanted = False
        if target in self._targets:
            self._targets.remove(target)

    def close(self) -> None:
        """Watch none any longer. Blocks for a moment."""
        for target in list(self._targets):
            self.remove(target)
        self._patrol.close()

    def look(self) -> float:
        """Look at the disk, and at those sandboxes that may have passed their limit.

        Returns:
            Seconds until the next look.
        """
        free = self._room()
        growths = [
            (self._look_at(target, free), target)
            for target in list(self._targets)
            if self._due(target, free, time.monotonic())
        ]
        if self.low and growths:
            growth, writer = max(growths, key=lambda one: one[0])
            if growth > _GROWTH_BYTES and not writer.full:
                writer.on_alarm(DiskAlarm(writer.used_bytes, None))
        if not self._targets:
            return _LONGEST_SECONDS
        near = free < 4 * self._floor_bytes
        return _NEAR_FLOOR_SECONDS if near else _PERIOD_SECONDS

    def _due(self, target: DiskTarget, free: int, now: float) -> bool:
        # Others may have given room back meanwhile, and so hidden what this one took.
        target.free_then = max(target.free_then, free)
        drop = target.free_then - free
        if self.low and drop > _STEP_BYTES:
            return True
        if now < target.rest_until or (target.limit_bytes is None and not self.low):
            return False
        if now - target.looked > (_FULL_SECONDS if target.full or self.low else _LONGEST_SECONDS):
            return True
        headroom = (target.limit_bytes or 0) - max(target.used_bytes, 0)
        return drop > max(_STEP_BYTES, headroom // 2)

    def _look_at(self, target: DiskTarget, free: int) -> int:
        """Measure a sandbox, and raise the alarm if it has too much.

        Returns:
            How much it has grown. 0 at the first look.
        """
        before, began = target.used_bytes, time.monotonic()
        used = self._measure(target)
        now = time.monotonic()
        target.used_bytes, target.free_then, target.looked = used, free, now
        target.rest_until = now + (now - began) * _REST_FACTOR
        was_full = target.full
        target.full = target.limit_bytes is not None and used > target.limit_bytes
        if target.full and (used > before + _GROWTH_BYTES or not was_full):
            target.on_alarm(DiskAlarm(used, target.limit_bytes))
        return used - before if before >= 0 else 0

    def _measure(self, target: DiskTarget) -> int:
        try:
            used = measure_folder(target.folder, lambda: not target.wanted)
        except UnmeasurableError:
            # Whatever hides there, its owner can only remove it.
            return max(target.used_bytes, (target.limit_bytes or 0) + 1)
        devices = {self._device}
        with contextlib.suppress(OSError):
            # Where its root is an overlay, its files have that one's number.
            devices.add(os.stat(f"/proc/{target.init_pid}/root/").st_dev)  # noqa: PTH116
        pids = [process.pid for process, _ in read_tree(target.init_pid)[1:]]
        return used + sum(count_unlinked(pids, devices).values())
