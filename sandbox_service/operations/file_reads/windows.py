"""What was listed of folders ahead of the pages that are asked for.

Each listing of a folder looks at all of it, so a folder that is read in small pages would
be looked at as often as it has pages. What was listed ahead is kept for a moment instead;
a page whose window is gone is listed anew.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

from sandbox_service.domain.limits import MIB

BYTES_MAX: Final = 32 * MIB
"""All windows of this process."""

KEPT_S: Final = 15.0
"""How long a window is believed: pages may show their folder as it was then."""

_ENTRY_BYTES: Final = 500
"""What an entry takes in memory beside its texts, about."""


@dataclass(frozen=True, slots=True)
class Window:
    """Some entries of a folder, in byte order of their paths.

    Attributes:
        folder: Its real path, without a slash at its end.
        after: The path behind which the entries begin. Empty: the folder's first.
        paths: Of the entries, relative to the folder.
        entries: Their fields, as list.sh writes them.
        following: The path behind which there are more. Empty: there are none.
    """

    folder: bytes
    after: bytes
    paths: list[bytes] = field(default_factory=list)
    entries: list[list[bytes]] = field(default_factory=list)
    following: bytes = b""

    def covers(self, after: bytes) -> bool:
        """Return whether what comes behind a path begins in here."""
        if after < self.after:
            return False
        return not self.following or bool(self.paths and after < self.paths[-1])

    def begin(self, after: bytes) -> int:
        """Return the number of the first entry behind a path."""
        return bisect_right(self.paths, after)

    def size(self) -> int:
        """Return about how many bytes it takes in memory."""
        texts = sum(sum(map(len, it)) for it in self.entries)
        return texts + _ENTRY_BYTES * len(self.entries)


class Windows:
    """The windows of all lists, one for each, the last one.

    Args:
        bytes_max: All of them; the oldest go first.
        kept_s: How long each is kept, in seconds.
    """

    def __init__(self, *, bytes_max: int = BYTES_MAX, kept_s: float = KEPT_S) -> None:
        self._bytes_max = bytes_max
        self._kept_s = kept_s
        self._windows: dict[str, tuple[Window, int]] = {}
        self._bytes = 0

    def find(self, mark: str, after: bytes) -> Window | None:
        """Return the window of a list that the page behind a path begins in, if there is one."""
        window, _ = self._windows.get(mark, (None, 0))
        return window if window is not None and window.covers(after) else None

    def keep(self, mark: str, window: Window) -> None:
        """Keep a window of a list, in place of an earlier one."""
        self._drop(mark)
        size = window.size()
        if size > self._bytes_max:
            return
        while self._bytes + size > self._bytes_max:
            self._drop(next(iter(self._windows)))
        self._windows[mark] = (window, size)
        self._bytes += size
        asyncio.get_running_loop().call_later(self._kept_s, self._expire, mark, window)

    def _expire(self, mark: str, window: Window) -> None:
        if self._windows.get(mark, (None, 0))[0] is window:
            self._drop(mark)

    def _drop(self, mark: str) -> None:
        _, size = self._windows.pop(mark, (None, 0))
        self._bytes -= size
