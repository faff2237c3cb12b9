"""What happened to a sandbox and in it, as its logs tell."""

from __future__ import annotations

import shlex
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping

    from sandbox_service.e2b_local.envd.processes import Ending, Process

Level = Literal["debug", "info", "warn", "error"]
LEVELS: Final[tuple[Level, ...]] = ("debug", "info", "warn", "error")
"""The least important first."""

ENTRY_LIMIT: Final = 1000
"""Entries kept of one sandbox: as many as one answer may hold."""

# Of sandboxes that have ended: somebody will ask why.
_ENDED_ENTRY_LIMIT: Final = 200
_ENDED_LIMIT: Final = 64
# Arguments may hold a whole program, or secrets.
_COMMAND_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    Attributes:
        time_ms: Milliseconds since 1970; no two entries of a sandbox have the same.
        level: How important it is.
        message: For people.
        fields: For programs.
    """

    time_ms: int
    level: Level
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)


class Activity:
    """The log of one sandbox: its last entries.

    Args:
        clock: Returns seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=ENTRY_LIMIT)

    def record(self, level: Level, message: str, **fields: object) -> None:
        """Note that something happened now."""
        now_ms = int(self._clock() * 1000)
        if self._entries:
            # Clients go on from the time of the last entry they saw.
            now_ms = max(now_ms, self._entries[-1].time_ms + 1)
        shown = {name: str(value) for name, value in fields.items()}
        self._entries.append(Entry(now_ms, level, message, shown))

    def follow(self, process: Process) -> None:
        """Note that a program has started, and when and how it ends."""
        command = process.config.cmd
        fields = {"pid": process.pid, "cmd": command[:_COMMAND_LIMIT]}
        line = _command_line((command, *process.config.args))
        self.record("info", f"Program {process.pid} started: {line}", **fields)

        def note_end(finished: asyncio.Future[Ending]) -> None:
            if finished.cancelled():
                return  # Its sandbox is gone, and that has an entry of its own.
            ending = finished.result()
            level: Level = "info" if ending.exit_code == 0 else "warn"
            message = f"Program {process.pid} ended: {ending.status}"
            self.record(level, message, **fields, exit_code=ending.exit_code)

        process.finished.add_done_callback(note_end)

    def select(
        self,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        newest_first: bool = False,
        limit: int = ENTRY_LIMIT,
        level: Level = "debug",
        search: str = "",
    ) -> list[Entry]:
        """Return some entries.

        Args:
            start_ms: Not what happened before this time.
            end_ms: Not what happened at this time or later.
            newest_first: Begin with the newest; otherwise with the oldest.
            limit: At most so many.
            level: Only entries of this importance or more.
            search: What their message must hold, case and all.
        """
        wanted = LEVELS[LEVELS.index(level) :]
        entries: Iterable[Entry] = reversed(self._entries) if newest_first else self._entries
        found = (
            entry
            for entry in entries
            if (start_ms is None or entry.time_ms >= start_ms)
            and (end_ms is None or entry.time_ms < end_ms)
            and entry.level in wanted
            and search in entry.message
        )
        return list(islice(found, limit))

    def shorten(self) -> None:
        """Keep only the newest entries: nothing more will happen."""
        self._entries = deque(self._entries, maxlen=_ENDED_ENTRY_LIMIT)


class Activities:
    """The logs of all sandboxes, and of some that ended lately.

    Args:
        clock: Returns seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._live: dict[str, Activity] = {}
        self._ended: OrderedDict[str, Activity] = OrderedDict()

    def open(self, sandbox_id: str) -> Activity:
        """Begin the log of a new sandbox."""
        activity = self._live[sandbox_id] = Activity(self._clock)
        return activity

    def get(self, sandbox_id: str) -> Activity | None:
        """Return the log of a sandbox. None: there was none, or it ended long ago."""
        return self._live.get(sandbox_id) or self._ended.get(sandbox_id)

    def record(self, sandbox_id: str, message: str, **fields: object) -> None:
        """Note something of a sandbox's life, if it still lives."""
        activity = self._live.get(sandbox_id)
        if activity is not None:
            activity.record("info", message, **fields)

    def end(self, sandbox_id: str, message: str) -> None:
        """Note that a sandbox has ended, and keep its log for a while."""
        activity = self._live.pop(sandbox_id, None)
        if activity is None:
            return
        activity.record("info", message)
        activity.shorten()
        self._ended[sandbox_id] = activity
        while len(self._ended) > _ENDED_LIMIT:
            self._ended.popitem(last=False)


def _command_line(argv: Iterable[str]) -> str:
    """Write a command as one would type it, as far as it is shown."""
    # No argument is looked at beyond what can be shown of it, for it may be large.
    parts = [shlex.quote(part[:_COMMAND_LIMIT]) for part in islice(argv, _COMMAND_LIMIT)]
    return " ".join(parts)[:_COMMAND_LIMIT]
