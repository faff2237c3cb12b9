"""How much a folder holds that strangers have shaped, measured from outside."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES: Final = 512
# An empty file costs an inode, and a file system has only so many.
_LEAST_BYTES: Final = 4096
_OPEN_LIMIT: Final = 256


class UnmeasurableError(OSError):
    """Its folders are nested as no honest program nests them."""

    def __init__(self) -> None:
        super().__init__(errno.EMFILE, "its folders are nested too deeply to be measured")


class _Folder:
    """An open folder whose children wait to be looked at.

    Args:
        descriptor: Owned from now on.
        device: Number of the file system that is measured.
        mode: What to set when it is closed, for it was opened up. None: it was not.
    """

    def __init__(self, descriptor: int, device: int, mode: int | None = None) -> None:
        self.descriptor = descriptor
        self.device = device
        self.waiting: list[str] = []
        self._mode = mode
        status = os.fstat(descriptor)
        if not status.st_mode & stat.S_IXUSR and mode is None and status.st_uid == os.geteuid():
            self._mode = stat.S_IMODE(status.st_mode)
            os.fchmod(descriptor, self._mode | stat.S_IRWXU)

    def close(self) -> None:
        """Let go of it, and leave it as it was."""
        if self._mode is not None:
            with contextlib.suppress(OSError):
                os.fchmod(self.descriptor, self._mode)
        os.close(self.descriptor)


def measure_folder(folder: Path, cancelled: Callable[[], bool] = lambda: False) -> int:
    """Add up the blocks of all that is below a folder, on its own file system. Blocks.

    No link is followed, wherever one stands or is put meanwhile. A file with many names
    counts once, and each at least a block. A folder that its owner has closed is opened for
    the length of a look, where this process may do that.

    Args:
        folder: It may be gone.
        cancelled: Asked now and then: whether nobody wants to know any more.

    Returns:
        Bytes.

    Raises:
        UnmeasurableError: More folders would have to be open at a time than is sensible.
    """
    used, linked = 0, set[int]()
    frames: list[_Folder] = []
    try:
        try:
            top = os.open(folder, _FOLDER)
        except OSError:
            return 0
        frames.append(_Folder(top, os.fstat(top).st_dev))
        used += _take_in(frames[-1], linked)
        while frames and not cancelled():
            frame = frames[-1]
            if not frame.waiting:
                frames.pop().close()
                continue
            child = _enter(frame, frame.waiting.pop())
            if not frame.waiting:
                # Nobody comes back to it: a chain of folders may be as deep as it likes.
                frames.pop().close()
            if child is not None:
                frames.append(child)
                used += _take_in(child, linked)
            if len(frames) > _OPEN_LIMIT:
                raise UnmeasurableError
            # Others in this process want to go on, too.
            time.sleep(0)
    finally:
        for frame in frames:
            frame.close()
    return used


def _take_in(frame: _Folder, linked: set[int]) -> int:
    """Add up what lies in a folder, and note the folders that lie there."""
    used = 0
    with contextlib.suppress(OSError), os.scandir(frame.descriptor) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # It has just been removed.
            if stat.S_ISDIR(status.st_mode):
                if status.st_dev == frame.device:
                    frame.waiting.append(entry.name)
            elif status.st_nlink > 1:
                if status.st_ino in linked:
                    continue
                linked.add(status.st_ino)
            used += max(status.st_blocks * _BLOCK_BYTES, _LEAST_BYTES)
    return used


def _enter(parent: _Folder, name: str) -> _Folder | None:
    with contextlib.suppress(OSError):
        try:
            return _Folder(os.open(name, _FOLDER, dir_fd=parent.descriptor), parent.device)
        except PermissionError:
            return _open_up(parent, name)
    return None  # It has just been removed, or belongs to somebody else.


def _open_up(parent: _Folder, name: str) -> _Folder:
    handle = os.open(name, _NAME, dir_fd=parent.descriptor)
    try:
        path, mode = f"/proc/self/fd/{handle}", stat.S_IMODE(os.fstat(handle).st_mode)
        os.chmod(path, mode | stat.S_IRWXU)  # noqa: PTH101 - A descriptor's path.
        try:
            # Not `_FOLDER`: that path is itself a link.
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            os.chmod(path, mode)  # noqa: PTH101 - See above.
            raise
    finally:
        os.close(handle)
    return _Folder(descriptor, parent.device, mode)
