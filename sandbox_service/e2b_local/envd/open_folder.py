"""A folder of a sandbox that is read from outside, by descriptors alone."""

from __future__ import annotations

import os
import stat
from typing import Final, Self

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class OpenFolder:
    """A folder, and those of its names that were not read yet.

    Whoever lives in the sandbox may change the tree at any time. What is opened here is
    a folder that lies in this one at that moment, never what a link leads to.

    Args:
        fd: The open folder; owned from now on.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        try:
            self._entries = os.scandir(fd)
        except BaseException:
            os.close(fd)
            raise

    def next_entry(self) -> os.DirEntry[str] | None:
        """Return the next name. None: that was all, or the folder is gone."""
        try:
            return next(self._entries, None)
        except OSError:
            return None

    def open_child(self, entry: os.DirEntry[str]) -> Self | None:
        """Open a folder in this one. None: it is none, is gone, or may not be read."""
        try:
            if not entry.is_dir(follow_symlinks=False):
                return None
            fd = os.open(entry.name, _FLAGS, dir_fd=self.fd)
        except OSError:
            return None
        if not _readable_inside(os.fstat(fd)):
            os.close(fd)
            return None
        try:
            return type(self)(fd)
        except OSError:
            return None

    def close(self) -> None:
        """Close the folder."""
        self._entries.close()
        os.close(self.fd)


def _readable_inside(status: os.stat_result) -> bool:
    # The server may be root, and sees what the host's root keeps to itself below `/usr`.
    # Nothing inside belongs to it, so what it alone may read is none of the sandbox's.
    return status.st_uid != 0 or bool(status.st_mode & stat.S_IROTH)
