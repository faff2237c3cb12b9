"""One watched folder: what the kernel says, told as changes of paths below it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from inotify_simple import flags  # type: ignore[import-untyped]

from sandbox_service.e2b_local.envd.connect import ConnectError
from sandbox_service.e2b_local.envd.folder_tree import Folder, FolderTree
from sandbox_service.e2b_local.envd.inotify import FOLDERS_LIMIT, FoldersLimitError, Notifier
from sandbox_service.e2b_local.envd.messages import filesystem_pb
from sandbox_service.e2b_local.envd.open_folder import OpenFolder
from sandbox_service.e2b_local.machine import GuestFrozenError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from inotify_simple import Event

    from sandbox_service.e2b_local.machine import Guest

EventType = filesystem_pb.EventType

# What may wait for a slow reader; as many as the kernel's own queue.
QUEUE_LIMIT: Final = 16_384
# Handled in one turn of the loop.
_EVENTS_PER_TURN: Final = 64
# Read in one turn of the loop while a tree is walked.
_TURN_SECONDS: Final = 0.002
_ENTRIES_LIMIT: Final = 1_000_000
_DEPTH_LIMIT: Final = 100
_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC})
# The second half of a rename within the tree follows the first one at once.
_RENAME_SECONDS: Final = 0.05
_MEANINGS: Final[tuple[tuple[int, EventType], ...]] = (
    (flags.CREATE | flags.MOVED_TO, EventType.CREATE),
    (flags.MOVED_FROM | flags.MOVE_SELF, EventType.RENAME),
    (flags.ATTRIB, EventType.CHMOD),
    (flags.MODIFY, EventType.WRITE),
    (flags.DELETE | flags.DELETE_SELF, EventType.REMOVE),
)
_APPEARED: Final[int] = flags.CREATE | flags.MOVED_TO


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened below a watched folder.

    Attributes:
        name: Path relative to the folder; `.` is the folder itself.
        kind: What happened.
    """

    name: str
    kind: EventType


class _NewFolder(NamedTuple):
    """A folder that has appeared and must be looked into."""

    parent: Folder
    name: str


class Watch:
    """What happens in one folder, and below it if that is asked for.

    Args:
        guest: The sandbox.
        notifier: Its queue of events.
        path: The folder, absolute, inside.
        recursive: Whether folders in it are watched too, also those to come.
    """

    def __init__(self, guest: Guest, notifier: Notifier, path: str, *, recursive: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._guest = guest
        self._notifier = notifier
        self._recursive = recursive
        self.path = path
        self._tree = FolderTree()
        # Renamed away, and not yet seen where to; by the cookie of the rename.
        self._moving: dict[int, Folder] = {}
        self._queue: deque[Event | _NewFolder] = deque()
        self._failure: ConnectError | None = None
        self._wake: asyncio.Future[None] | None = None
        self.idle = asyncio.Event()

    async def open(self) -> None:
        """Begin: what happens from here on is told by `changes`.

        Raises:
            ConnectError: `resource_exhausted`: too many folders.
            GuestOSError: ENOENT, ENOTDIR, EACCES: there is no such folder.
            OSError: The host has no watches left.
        """
        opened = OpenFolder(await self._guest.open(self.path, os.O_RDONLY | os.O_DIRECTORY))
        try:
            async with aclosing(self._walk(opened, None, "")) as walk:
                async for _ in walk:
                    pass
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Watch nothing more. Repeated calls do nothing."""
        for folder in self._tree:
            self._notifier.remove(folder.wd, self)
        self._tree.clear()
        self._moving.clear()
        self._queue.clear()

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield what happens, in its order, for as long as somebody asks.

        Raises:
            ConnectError: `resource_exhausted`: more happened than could be kept for a
                slow reader, or there are too many folders now.
        """
        told = 0
        while True:
            if not self._queue:
                await self._wait()
                continue
            item = self._queue.popleft()
            if isinstance(item, _NewFolder):
                try:
                    async with aclosing(self._appeared(item)) as contents:
                        async for change in contents:
                            yield change
                except GuestFrozenError:
                    # Nothing can happen in it before it is thawed, and that wakes us.
                    self._queue.appendleft(item)
                    await self._sleep()
                continue
            understood = self._understand(item)
            if understood is not None:
                yield understood
            told += 1
            if told % _EVENTS_PER_TURN == 0:
                await asyncio.sleep(0)

    def path_of(self, change: Change) -> str:
        """Return the absolute path, inside, of what has changed."""
        return self.path if change.name == "." else f"{self.path.rstrip('/')}/{change.name}"

    def rouse(self) -> None:
        """Look again whether there is something to tell; `idle` says when there is not."""
        self.idle.clear()
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # The notifier's side

    def notice(self, event: Event) -> None:
        """Take one event."""
        if self._failure is None:
            if len(self._queue) >= QUEUE_LIMIT:
                self.events_lost()
                return
            self._queue.append(event)
            self.rouse()

    def events_lost(self) -> None:
        """Fail, after what is already here: a list with holes would pass for a whole one."""
        if self._failure is None:
            message = "watcher error: too many events at once, some were lost"
            self._failure = ConnectError("resource_exhausted", message)
            self.rouse()

    # The queue

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self.idle.set()
        await self._sleep()

    async def _sleep(self) -> None:
        self._wake = self._loop.create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    # The meaning of events

    def _understand(self, event: Event) -> Change | None:
        folder = self._tree.get(event.wd)
        if folder is None:
            return None
        if event.mask & flags.IGNORED:
            self._tree.remove(folder)
            return None
        if not event.name:
            return self._about_itself(folder, event.mask)
        place = self._tree.place(folder)
        if place is None:
            return None
        if self._recursive and event.mask & flags.ISDIR:
            self._follow(folder, event)
        kind = _meaning(event.mask)
        return None if kind is None else Change(_join(place, event.name), kind)

    def _about_itself(self, folder: Folder, mask: int) -> Change | None:
        # What happens to a folder in the tree is told by the one that holds it.
        if folder is not self._tree.root:
            return None
        if mask & flags.MOVE_SELF:
            if self._recursive:
                return None
            self._tree.remove(folder)
            self._notifier.remove(folder.wd, self)
        kind = _meaning(mask)
        return None if kind is None else Change(".", kind)

    def _follow(self, parent: Folder, event: Event) -> None:
        """Keep up with folders that come, go and change places."""
        if event.mask & flags.MOVED_FROM:
            folder = self._tree.take(parent, event.name)
            if folder is not None:
                self._moving[event.cookie] = folder
                self._loop.call_later(_RENAME_SECONDS, self._moved_away, event.cookie, folder)
        elif event.mask & _APPEARED:
            folder = self._moving.pop(event.cookie, None)
            if folder is not None:
                self._tree.put(folder, parent, event.name)
                return
            # One of them may be back already, and what it holds has yet to be told.
            for cookie, gone in list(self._moving.items()):
                self._moved_away(cookie, gone)
            self._queue.appendleft(_NewFolder(parent, event.name))

    def _moved_away(self, cookie: int, folder: Folder) -> None:
        """Watch a folder no more that was moved out of the tree."""
        if self._moving.get(cookie) is not folder:
            return
        del self._moving[cookie]
        for one in self._tree.remove_all(folder):
            self._notifier.remove(one.wd, self)

    # Folders in the folder

    def _adopt(self, fd: int, parent: Folder | None, name: str) -> Folder | None:
        """Watch an open folder. None: it is watched already, or may not be.

        Raises:
            ConnectError: `resource_exhausted`.
        """
        try:
            wd = self._notifier.add(fd, self)
        except FoldersLimitError:
            message = f"more than {FOLDERS_LIMIT} folders of one sandbox cannot be watched"
            raise ConnectError("resource_exhausted", message) from None
        except OSError as error:
            if error.errno not in _SCARCE:
                return None
            message = f"the host has no more inotify watches: {error.strerror}"
            raise ConnectError("resource_exhausted", message) from None
        return self._tree.add(wd, parent, name)

    async def _appeared(self, new: _NewFolder) -> AsyncGenerator[Change, None]:
        """Watch a new folder, and tell what it held before it was watched."""
        place = self._tree.place(new.parent)
        if place is None:
            return
        path = f"{self.path}/{_join(place, new.name)}"
        try:
            fd = await self._guest.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            opened = OpenFolder(fd)
        except OSError:
            return  # It has gone again, or is closed to us.
        async with aclosing(self._walk(opened, new.parent, new.name)) as walk:
            async for name in walk:
                yield Change(name, EventType.CREATE)

    async def _walk(
        self, opened: OpenFolder, parent: Folder | None, name: str
    ) -> AsyncGenerator[str, None]:
        """Watch a folder and those below it; yield the relative path of all they hold."""
        levels = [opened]
        entries = 0
        turn_ends = self._loop.time() + _TURN_SECONDS
        try:
            folder = self._adopt(opened.fd, parent, name)
            if folder is None and parent is None:
                raise ConnectError("permission_denied", f"{self.path} cannot be watched")
            if folder is None or not self._recursive:
                return
            folders = [folder]
            while levels:
                entry = levels[-1].next_entry()
                if entry is None:
                    folders.pop()
                    levels.pop().close()
                    continue
                folder = folders[-1]
                entries += 1
                if entries > _ENTRIES_LIMIT or len(levels) > _DEPTH_LIMIT:
                    message = "the folder holds too much, or too deep, to be watched"
                    raise ConnectError("resource_exhausted", message)
                place = self._tree.place(folder)
                if place is not None:
                    yield _join(place, entry.name)
                child = levels[-1].open_child(entry)
                if child is not None:
                    levels.append(child)
                    below = self._adopt(child.fd, folder, entry.name)
                    if below is None:
                        levels.pop().close()
                    else:
                        folders.append(below)
                if self._loop.time() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = self._loop.time() + _TURN_SECONDS
        finally:
            for level in levels:
                level.close()


def _meaning(mask: int) -> EventType | None:
    return next((kind for bits, kind in _MEANINGS if mask & bits), None)


def _join(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name
