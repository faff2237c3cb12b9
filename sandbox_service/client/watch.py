"""Syncing a folder again whenever something in it changes."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

# It ships no types.
from inotify_simple import INotify, flags  # type: ignore[import-untyped]
from miosa.sandbox import v1 as pb

from sandbox_service.client.errors import SyncError
from sandbox_service.client.sync import FolderSync, Synced
from sandbox_service.client.tree import Tree

_MASK: Final[int] = (
    flags.CREATE
    | flags.MODIFY
    | flags.ATTRIB
    | flags.DELETE
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.ONLYDIR
    | flags.DONT_FOLLOW
)
_QUIET_S: Final = 0.05
_UNREST_S_MAX: Final = 1.0
_RETRY_S_MAX: Final = 30.0
_HOPELESS: Final = frozenset({"SANDBOX_ENDED", "SANDBOX_NOT_FOUND"})


async def keep_synced(
    syncing: FolderSync, folder: Path, header: pb.SyncFilesHeader, *, retry_s: float = 1.0
) -> AsyncIterator[Synced | SyncError]:
    """Sync a folder, and again at every change in it; yields what came of each.

    A failure is yielded too, and the next change is another attempt. One that may mend by
    itself, as of a service that is restarted, is followed by attempts of its own.

    Args:
        syncing, folder, header: What to sync, and where to, as for `FolderSync.sync`.
        retry_s: How long to wait for the first of those attempts, in seconds; for each
            further one twice as long as for the last, up to half a minute.

    Raises:
        SyncError: The first sync failed, or the sandbox is gone.
    """
    with Watcher(folder) as watcher:
        synced: Synced | None = None
        pause: float | None = None
        while True:
            try:
                synced = await syncing.sync(folder, header)
            except SyncError as error:
                if synced is None or error.reason in _HOPELESS:
                    raise
                yield error
                pause = min(2 * pause if pause else retry_s, _RETRY_S_MAX)
                pause = pause if error.passing else None
            else:
                pause = None
                yield synced
                if watcher.follow(synced.tree):
                    # Something may have changed before anybody listened.
                    continue
            # Not `wait_for`: before Python 3.12 it may swallow a Ctrl-C.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await watcher.changed()


class Watcher:
    """Tells when something changes that a sync is about. Use it with `with`.

    Args:
        folder: What is synced. It may go and come again, as build folders do.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.path.abspath(folder))  # noqa: PTH100 - not where a link leads.
        self._queue = INotify(nonblocking=True)
        self._paths: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self._tree: Tree | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.close()

    def follow(self, tree: Tree) -> bool:
        """Listen to every folder of a tree, and to no other.

        Returns:
            Whether some were not listened to before.

        Raises:
            SyncError: There are more of them than this machine allows.
        """
        self._tree = tree
        before, self._paths, self._names = self._paths, {}, {}
        # The folder itself, and a link that it is named by, may be replaced.
        for place in (tree.folder, self._folder):
            handle = self._listen(place.parent)
            if handle is not None:
                self._names[handle] = place.name
        for path in ("", *tree.folders):
            # A folder that was moved keeps its handle.
            handle = self._listen(tree.folder / path)
            if handle is not None:
                self._paths[handle] = path
        for handle in before.keys() - self._paths.keys() - self._names.keys():
            # One that is gone is not listened to anyway.
            with suppress(OSError):
                self._queue.rm_watch(handle)
        return not self._paths.keys() <= before.keys()

    def _listen(self, folder: Path) -> int | None:
        """Listen to a folder; None when it is none any more, which its parent tells."""
        try:
            return int(self._queue.add_watch(folder, _MASK))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise SyncError(
                    "More folders would be watched than this machine allows.",
                    "Exclude some, or raise fs.inotify.max_user_watches.",
                ) from error
            return None

    async def changed(self) -> None:
        """Wait for a change, and until there have been no others for a moment."""
        while not self._noticed():
            await self._readable()
        deadline = asyncio.get_running_loop().time() + _UNREST_S_MAX
        while asyncio.get_running_loop().time() < deadline:
            try:
                async with asyncio.timeout(_QUIET_S):
                    await self._readable()
            except TimeoutError:
                return
            self._noticed()

    def _noticed(self) -> bool:
        """Take what the kernel tells. Returns whether a sync is about any of it."""
        noticed = False
        for handle, mask, _, name in self._queue.read(timeout=0):
            noticed = self._concerns(handle, mask, name) or noticed
        return noticed

    def _concerns(self, handle: int, mask: int, name: str) -> bool:
        if mask & flags.IGNORED:
            self._paths.pop(handle, None)
            self._names.pop(handle, None)
            return False
        if mask & flags.Q_OVERFLOW or (name and name == self._names.get(handle)):
            return True
        above = self._paths.get(handle)
        if above is None or self._tree is None or not name:
            return False
        path = f"{above}/{name}" if above else name
        return not self._tree.ignores.match(path, folder=bool(mask & flags.ISDIR))

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._queue.fd, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._queue.fd)
