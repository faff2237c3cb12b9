"""The `/etc` of sandboxes that see the host's files: one folder of copies.

Shown file by file it would take twenty mounts, a quarter of a millisecond of every boot
each, and none of them would tell more than a copy does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import Final

from sandbox_service.e2b_local.machine.model import HOME, ROOT_HOME

SYNTHETIC_ETC: Final = {
    "passwd": f"root:x:0:0:root:{ROOT_HOME}:/bin/bash\n"
    f"user:x:1000:1000:user:{HOME}:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "# A sandbox has no network, and so no name server.\n",
    "shells": "/bin/sh\n/bin/bash\n",
}
"""Files below `/etc` that are never the host's."""

HOST_ETC: Final = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl/certs"),
    *("ssl/openssl.cnf", "ca-certificates", "pki", "localtime", "timezone", "mime.types"),
    *("protocols", "services", "os-release", "fonts", "magic"),
)
_READABLE: Final = stat.S_IROTH
_PASSABLE: Final = stat.S_IROTH | stat.S_IXOTH
# Gone in the meantime, or closed by other means than its mode.
_NOT_TO_BE_HAD: Final = (FileNotFoundError, PermissionError)


class Etc:
    """Copies what sandboxes may see of the host's `/etc`, again when that has changed.

    Args:
        folder: For the copies; it is made. Each stays, for sandboxes are on it.
        host: What is copied.
    """

    def __init__(self, folder: Path, host: Path = Path("/etc")) -> None:
        self._folder = folder
        self._host = host
        self._seen: list[tuple[int, ...]] = []
        self._made = 0

    def current(self) -> Path:
        """Return the folder that a sandbox is to see.

        Raises:
            OSError: The disk says no.
        """
        seen = [self._look(name) for name in HOST_ETC]
        if seen != self._seen:
            self._copy_all(self._folder / str(self._made + 1))
            self._made += 1
            self._seen = seen
        return self._folder / str(self._made)

    def _look(self, name: str) -> tuple[int, ...]:
        try:
            status = os.stat(self._host / name)  # noqa: PTH116 - At each boot.
        except OSError:
            return ()
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def _copy_all(self, target: Path) -> None:
        if target.exists():  # Of an attempt that failed.
            shutil.rmtree(target)
        _make_folder(self._folder)
        _make_folder(target)
        for name in HOST_ETC:
            if "/" in name:
                _make_folder((target / name).parent)
            with contextlib.suppress(*_NOT_TO_BE_HAD):
                _copy(Path(os.path.realpath(self._host / name)), target / name)
        for name, text in SYNTHETIC_ETC.items():
            (target / name).write_text(text)
            (target / name).chmod(0o644)


def _copy(source: Path, target: Path) -> None:
    """Copy what anybody may read; the rest is left out, for anybody will read the copy."""
    mode = source.lstat().st_mode
    if stat.S_ISLNK(mode):
        target.symlink_to(source.readlink())
    elif stat.S_ISDIR(mode) and mode & _PASSABLE == _PASSABLE:
        _make_folder(target)
        for child in source.iterdir():
            with contextlib.suppress(*_NOT_TO_BE_HAD):
                _copy(child, target / child.name)
    elif stat.S_ISREG(mode) and mode & _READABLE:
        shutil.copyfile(source, target)
        target.chmod(0o644)


def _make_folder(path: Path) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
