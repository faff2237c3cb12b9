"""Who was killed in a sandbox because its memory was used up, and how that is told inside."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.model import OomKill

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox_service.e2b_local.machine.cgroups import Group

_POLL_SECONDS: Final = 1.0
# The end of a program is told within this time, and says which one the kernel has killed.
_GRACE_SECONDS: Final = 0.3


class OomLedger:
    """Counts the processes of one sandbox that were killed for want of memory.

    Args:
        group: Counts them itself. None: somebody calls `add`.
        events: Where the count is told to the sandbox. None: its group does that.

    Attributes:
        kills: How many there were.
    """

    def __init__(self, group: Group | None, events: MemoryEvents | None) -> None:
        self.kills = 0
        self._on_kill: Callable[[OomKill], None] = lambda _: None
        self._group = group
        self._events = events
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, on_kill: Callable[[OomKill], None]) -> None:
        """Ask the group again and again.

        Args:
            on_kill: Called for each that was killed.
        """
        self._on_kill = on_kill
        if self._group is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_POLL_SECONDS, self._poll)

    def add(self, kill: OomKill) -> None:
        """Count one."""
        self.kills += 1
        if self._events is not None:
            self._events.write(self.kills)
        self._on_kill(kill)

    def note_exit(self, pid: int, status: int) -> None:
        """Look whether a program that has ended is one of them.

        Args:
            pid: As seen inside.
            status: Its wait status.
        """
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            return
        if self._group is not None and self._group.oom_kills() > self.kills:
            self.add(OomKill(pid))

    def close(self) -> None:
        """Count those that nobody has asked for yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._count_rest()
        if self._events is not None:
            self._events.close()
            self._events = None

    def _poll(self) -> None:
        assert self._group is not None  # noqa: S101 - Or `begin` would not have begun.
        new = self._group.oom_kills() > self.kills
        then = self._count_rest_and_go_on if new else self._poll
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_GRACE_SECONDS if new else _POLL_SECONDS, then)

    def _count_rest_and_go_on(self) -> None:
        self._count_rest()
        self._poll()

    def _count_rest(self) -> None:
        total = 0 if self._group is None else self._group.oom_kills()
        while self.kills < total:
            self.add(OomKill())


class MemoryEvents:
    """A file that tells what control groups would, where there are none.

    Args:
        path: It is written anew. Whoever reads it through a mount sees every change.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        os.fchmod(self._descriptor, 0o444)
        self.write(0)

    def write(self, kills: int) -> None:
        """Tell how many processes were killed."""
        rows = {"low": 0, "high": 0, "max": kills, "oom": kills, "oom_kill": kills}
        text = "".join(f"{name} {count}\n" for name, count in rows.items())
        os.pwrite(self._descriptor, f"{text}oom_group_kill 0\n".encode(), 0)

    def close(self) -> None:
        """Tell no more."""
        os.close(self._descriptor)
