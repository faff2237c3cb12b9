"""Reading a root filesystem from a tar or a folder, whatever somebody put into it."""

from __future__ import annotations

import os
import stat
import tarfile
import zlib
from lzma import LZMAError
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox_service.e2b_local.machine.roots.tree import Tree

_NANOSECONDS: Final = 10**9
_LATEST_SECONDS: Final = 2.0**32

# What the kernel or a boot fills; a sandbox has its own.
_LEFT_OUT: Final = ("dev", "proc", "sys")


class SourceError(Exception):
    """What cannot be made an image of. The message says why."""


def unpack_tar(source: Path, tree: Tree, check: Callable[[], None]) -> None:
    """Unpack a tar, plain or compressed by gzip, bzip2 or xz.

    Devices, pipes and sockets are left out, and so is what lies in `/dev`, `/proc` and
    `/sys`: a sandbox has its own.

    Args:
        source: The tar.
        tree: Where it is written.
        check: Called before each member; what it raises ends this.

    Raises:
        SourceError: It is no tar, or is cut short.
        PathRefusedError: It holds a name that leads out of it.
        OSError: It cannot be read, or the disk says no.
    """
    try:
        with tarfile.open(source, "r|*") as archive:
            for member in archive:
                check()
                _add_member(archive, member, tree)
    except (tarfile.TarError, zlib.error, LZMAError, EOFError) as error:
        raise SourceError(f"it cannot be unpacked as a tar ({error})") from error


def _add_member(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree) -> None:
    if _is_left_out(member.name, is_folder=member.isdir()):
        return
    modified_ns = _to_nanoseconds(member.mtime)
    if member.isdir():
        tree.add_folder(member.name, member.mode, modified_ns)
    elif member.issym():
        tree.add_symlink(member.name, member.linkname, modified_ns)
    elif member.islnk():
        tree.add_hard_link(member.name, member.linkname)
    elif member.isreg():
        content = archive.extractfile(member)
        assert content is not None  # noqa: S101 - It is a file.
        tree.add_file(member.name, content, member.mode, modified_ns)


def _to_nanoseconds(seconds: float) -> int:
    # An archive may say anything, and not all of it is a time.
    return int(max(0.0, min(seconds, _LATEST_SECONDS)) * _NANOSECONDS)


def copy_folder(source: Path, tree: Tree, check: Callable[[], None]) -> None:
    """Copy a folder, leaving out what `unpack_tar` leaves out.

    Args:
        source: The folder.
        tree: Where it is written.
        check: Called before each name; what it raises ends this.

    Raises:
        OSError: Something in it cannot be read, or the disk says no.
    """
    first_names: dict[tuple[int, int], str] = {}
    root = source.resolve()  # A link at the top is the user's own, and no other is followed.
    for folder, names, files, folder_fd in os.fwalk(root, onerror=_raise):
        below = os.path.relpath(folder, root)
        for name in sorted(names + files):
            check()
            path = os.path.normpath(os.path.join(below, name))  # noqa: PTH118 - Bytes as they are.
            if not _is_left_out(path, is_folder=name in names):
                _add_entry(path, name, folder_fd, tree, first_names)


def _add_entry(
    path: str,
    name: str,
    folder_fd: int,
    tree: Tree,
    first_names: dict[tuple[int, int], str],
) -> None:
    status = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    modified_ns = status.st_mtime_ns
    if stat.S_ISDIR(status.st_mode):
        tree.add_folder(path, status.st_mode, modified_ns)
    elif stat.S_ISLNK(status.st_mode):
        tree.add_symlink(path, os.readlink(name, dir_fd=folder_fd), modified_ns)
    elif stat.S_ISREG(status.st_mode):
        first_name = first_names.setdefault((status.st_dev, status.st_ino), path)
        if first_name != path:
            tree.add_hard_link(path, first_name)
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=folder_fd), "rb", buffering=0) as content:
            tree.add_file(path, content, status.st_mode, modified_ns)


def _is_left_out(path: str, *, is_folder: bool) -> bool:
    """Whether something lies in a folder that a sandbox has its own of."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return bool(parts) and parts[0] in _LEFT_OUT and (len(parts) > 1 or not is_folder)


def _raise(error: OSError) -> None:
    raise error
