"""A sandbox whose root is a folder of the host."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat

from sandbox_service.e2b_local.machine import FileEntry, GuestFrozenError, GuestOSError


class GuestDouble:
    """Stands in for a guest, as far as files go.

    Args:
        root: What the sandbox sees as `/`.
    """

    def __init__(self, root):
        self.root = root
        self.frozen = False
        self.disk_full = False

    def inside(self, path):
        if self.frozen:
            raise GuestFrozenError
        return self.root / path.lstrip("/")

    async def open(self, path, flags, mode=0o666):
        return _told(os.open, self.inside(path), flags, mode)

    async def stat(self, path):
        own = _told(os.lstat, self.inside(path))
        behind = own
        if stat.S_ISLNK(own.st_mode):
            behind = None
            if self.inside(path).exists():
                behind = self.inside(path).stat()
        shown = behind or own
        return FileEntry(
            name=posixpath.basename(path),
            path=path,
            mode=own.st_mode,
            target_mode=behind.st_mode if behind else None,
            size=shown.st_size,
            uid=1000,
            gid=1000,
            owner="user",
            group="user",
            modified_ns=shown.st_mtime_ns,
        )

    async def make_dir(self, path):
        _told(os.makedirs, self.inside(path), exist_ok=True)
        return True

    async def move(self, source, target):
        _told(os.rename, self.inside(source), self.inside(target))

    async def remove(self, path):
        path = self.inside(path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _told(call, *arguments, **named):
    """Call the host's kernel, and tell what it says as the sandbox's."""
    try:
        return call(*arguments, **named)
    except OSError as error:
        raise GuestOSError(error.errno, error.strerror) from None
