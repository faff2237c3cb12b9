"""What the kernel tells of a sandbox's folders.

The folders are opened inside and watched from here. A watch belongs to the folder
itself and not to a path, so nothing that is renamed or linked inside leads it astray.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final, Protocol

# It ships no types.
from inotify_simple import INotify, flags, parse_events  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from inotify_simple import Event

# As many as may be waited for at once in one sandbox; a host's own limit is often
# a little higher, and is shared by all of them.
FOLDERS_LIMIT: Final = 16_384
# What fsnotify asks for, which envd stands on.
_MASK: Final[int] = (
    flags.CREATE
    | flags.MODIFY
    | flags.ATTRIB
    | flags.DELETE
    | flags.DELETE_SELF
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.MOVE_SELF
    | flags.ONLYDIR
)
# Read in one turn of the loop: some hundred events.
_READ_BYTES: Final = 16 * 1024
# Enough for the kernel's whole queue, which holds 16,384 events by default.
_READS_TO_CATCH_UP: Final = 128


class FoldersLimitError(Exception):
    """More folders of one sandbox would be watched than are allowed."""


class FolderListener(Protocol):
    """Who is told what happens in a folder."""

    def notice(self, event: Event) -> None:
        """Take one event: `wd`, `mask`, `cookie`, `name`."""

    def events_lost(self) -> None:
        """Note that the kernel dropped events."""


class Notifier:
    """The inotify queue of one sandbox, which exists while somebody listens.

    One for all its watchers: a host grants a user only 128 queues.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._inotify: INotify | None = None
        self._listeners: dict[int, list[FolderListener]] = {}

    def add(self, fd: int, listener: FolderListener) -> int:
        """Tell a listener what happens in a folder.

        Args:
            fd: The open folder; it may be closed afterwards.
            listener: Who is told.

        Returns:
            The number that its events carry; the same for the same folder.

        Raises:
            FoldersLimitError: Too many folders are watched.
            OSError: EMFILE or ENOSPC: the host's limit is reached. EACCES.
        """
        if len(self._listeners) >= FOLDERS_LIMIT:
            raise FoldersLimitError
        if self._inotify is None:
            self._inotify = INotify(nonblocking=True)
            self._loop.add_reader(self._inotify.fileno(), self._read)
        try:
            wd: int = self._inotify.add_watch(f"/proc/self/fd/{fd}", _MASK)
        except OSError:
            self._close_when_unused()
            raise
        listeners = self._listeners.setdefault(wd, [])
        if listener not in listeners:
            listeners.append(listener)
        return wd

    def remove(self, wd: int, listener: FolderListener) -> None:
        """Tell a listener nothing more of a folder."""
        listeners = self._listeners.get(wd)
        if listeners is None or listener not in listeners:
            return
        listeners.remove(listener)
        if not listeners:
            del self._listeners[wd]
            # The folder may have been removed, and the watch with it.
            with contextlib.suppress(OSError):
                if self._inotify is not None:
                    self._inotify.rm_watch(wd)
        self._close_when_unused()

    async def catch_up(self) -> None:
        """Pass on everything that had happened when this was called."""
        for _ in range(_READS_TO_CATCH_UP):
            if not self._read():
                return
            await asyncio.sleep(0)

    def _read(self) -> bool:
        """Pass on some events. False: there are none."""
        if self._inotify is None:
            return False
        try:
            data = os.read(self._inotify.fileno(), _READ_BYTES)
        except BlockingIOError:
            return False
        for event in parse_events(data):
            if event.mask & flags.Q_OVERFLOW:
                for listener in {one for some in self._listeners.values() for one in some}:
                    listener.events_lost()
                continue
            for listener in tuple(self._listeners.get(event.wd, ())):
                listener.notice(event)
            if event.mask & flags.IGNORED:
                self._listeners.pop(event.wd, None)
        self._close_when_unused()
        return True

    def _close_when_unused(self) -> None:
        if self._inotify is not None and not self._listeners:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None
