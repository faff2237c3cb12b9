"""Writing into a folder that strangers have shaped, without ever leaving it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from typing import IO, TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from pathlib import Path

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES: Final = 1024 * 1024

# A sandbox's root has no power over modes as the real one has: what it must be able to do
# with its own files, their modes have to say. No bit that changes who runs a program.
_OWNERS_FOLDER: Final = 0o700
_OWNERS_FILE: Final = 0o600
_PASSABLE: Final = 0o711
_KEPT_OF_FOLDER: Final = 0o1777
_KEPT_OF_FILE: Final = 0o777


class PathRefusedError(ValueError):
    """A path that nothing is written to. The message says which, and why."""


def split(path: str) -> tuple[str, ...]:
    """The parts of a path below a root; none for the root itself.

    Raises:
        PathRefusedError: It is absolute, goes upwards, or holds a NUL.
    """
    if path.startswith("/"):
        raise PathRefusedError(f"{path!r} is absolute")
    parts = tuple(part for part in path.split("/") if part not in {"", "."})
    if ".." in parts:
        raise PathRefusedError(f"{path!r} goes upwards")
    if "\0" in path:
        raise PathRefusedError(f"{path!r} holds a NUL")
    return parts


class Tree:
    """A folder, and writes below it that follow no link, wherever one stands.

    Paths are relative to the folder. What is written belongs to one user, whose rights the
    modes say: folders are theirs to enter, files theirs to read and write. Bits that would
    run a program as somebody else are dropped.

    Args:
        root: The folder, which must exist.
        owner: Uid and gid of all that is written. None: this process' own.
    """

    def __init__(self, root: Path, owner: int | None) -> None:
        self._owner = owner
        self._root = os.open(root, _FOLDER)
        self._folders: dict[tuple[str, ...], tuple[int, int]] = {}
        # Neighbours come one after the other, so their folder is opened once.
        self._last: tuple[tuple[str, ...], int] = ((), os.dup(self._root))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._last[1])
        os.close(self._root)

    def add_folder(self, path: str, mode: int, modified_ns: int) -> None:
        """Make a folder, or take over the one that is there. `finish` sets its times."""
        parts = split(path)
        self._enter(parts)
        self._folders[parts] = (mode & _KEPT_OF_FOLDER | _OWNERS_FOLDER, modified_ns)

    def add_file(self, path: str, source: IO[bytes], mode: int, modified_ns: int) -> None:
        """Write a file, in place of any other that is there."""
        parent, name = self._make_room(path)
        descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        with os.fdopen(descriptor, "wb", buffering=0) as target:
            shutil.copyfileobj(source, target, _COPY_BYTES)
            self._own(descriptor)
            os.fchmod(descriptor, mode & _KEPT_OF_FILE | _OWNERS_FILE)
            os.utime(descriptor, ns=(modified_ns, modified_ns))

    def add_symlink(self, path: str, target: str, modified_ns: int) -> None:
        """Make a symbolic link. It may lead anywhere: nothing here ever follows it."""
        if not target or "\0" in target:
            raise PathRefusedError(f"{path!r} is a link to nowhere")
        parent, name = self._make_room(path)
        os.symlink(target, name, dir_fd=parent)
        times = (modified_ns, modified_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)
        if self._owner is not None:
            os.chown(name, self._owner, self._owner, dir_fd=parent, follow_symlinks=False)

    def add_hard_link(self, path: str, existing: str) -> None:
        """Give a file of this tree a second name.

        Raises:
            PathRefusedError: There is no such file in this tree.
        """
        parts = split(existing)
        if not parts:
            raise PathRefusedError(f"{path!r} is a hard link to the root")
        parent, name = self._make_room(path)
        there = self._walk(parts[:-1], make=False)
        try:
            status = os.stat(parts[-1], dir_fd=there, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise PathRefusedError(f"{path!r} is a hard link to {existing!r}, which is no file")
            os.link(parts[-1], name, src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise PathRefusedError(
                f"{path!r} is a hard link to {existing!r}, which is not there"
            ) from None
        finally:
            os.close(there)

    def make_folder(self, path: str) -> None:
        """Make a folder, open to all, unless it is there."""
        self._enter(split(path))

    def mode_of(self, path: str) -> int | None:
        """The `st_mode` of what stands at a path. None: nothing, or it is behind a link."""
        parts = split(path)
        try:
            parent = self._walk(parts[:-1], make=False)
        except (PathRefusedError, OSError):
            return None
        try:
            return os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None
        finally:
            os.close(parent)

    def read_file(self, path: str, limit_bytes: int) -> bytes | None:
        """The beginning of a file. None: there is none, or it is behind a link."""
        parts = split(path)
        with contextlib.ExitStack() as opened:
            try:
                parent = self._walk(parts[:-1], make=False)
                opened.callback(os.close, parent)
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                descriptor = os.open(parts[-1], flags, dir_fd=parent)
            except (PathRefusedError, OSError):
                return None
            opened.callback(os.close, descriptor)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return os.read(descriptor, limit_bytes)

    def clear_way(self, path: str) -> None:
        """See to it that a path leads through folders that can be entered, as far as it goes.

        What stands in the way, such as a link, is removed; what is missing is not made.
        """
        descriptor = os.dup(self._root)
        try:
            for part in split(path):
                _let_in(descriptor)
                try:
                    below = os.open(part, _FOLDER, dir_fd=descriptor)
                except FileNotFoundError:
                    return
                except OSError as error:
                    if error.errno != errno.EACCES:
                        os.unlink(part, dir_fd=descriptor)
                        return
                    # A folder that is closed; of a link, the error is another.
                    os.chmod(part, _PASSABLE, dir_fd=descriptor)
                    below = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            _let_in(descriptor)
        finally:
            os.close(descriptor)

    def finish(self) -> None:
        """Set the modes and times of the folders, now that nothing is written any more."""
        for parts, (mode, modified_ns) in sorted(self._folders.items(), reverse=True):
            descriptor = self._walk(parts, make=False)
            try:
                os.fchmod(descriptor, mode)
                os.utime(descriptor, ns=(modified_ns, modified_ns))
            finally:
                os.close(descriptor)

    def _make_room(self, path: str) -> tuple[int, str]:
        """The folder and the name of something new, after removing what has that name."""
        parts = split(path)
        if not parts:
            raise PathRefusedError(f"{path!r} is the root, and no folder")
        parent = self._enter(parts[:-1])
        try:
            os.unlink(parts[-1], dir_fd=parent)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            raise PathRefusedError(f"{path!r} is a folder already") from None
        return parent, parts[-1]

    def _enter(self, parts: tuple[str, ...]) -> int:
        """A folder's descriptor, making it and its parents; good until the next call."""
        if self._last[0] != parts:
            descriptor = self._walk(parts, make=True)
            os.close(self._last[1])
            self._last = (parts, descriptor)
        return self._last[1]

    def _walk(self, parts: tuple[str, ...], *, make: bool) -> int:
        descriptor = os.dup(self._root)
        try:
            for part in parts:
                below = self._step(descriptor, part, make=make)
                os.close(descriptor)
                descriptor = below
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError) and error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise PathRefusedError(
                    f"{'/'.join(parts)!r} leads through something that is no folder"
                ) from None
            raise
        return descriptor

    def _step(self, folder: int, name: str, *, make: bool) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            if not make:
                raise
        os.mkdir(name, 0o755, dir_fd=folder)
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
        self._own(descriptor)
        # Whatever this process' umask says.
        os.fchmod(descriptor, 0o755)
        return descriptor

    def _own(self, descriptor: int) -> None:
        if self._owner is not None:
            os.fchown(descriptor, self._owner, self._owner)


def _let_in(folder: int) -> None:
    """Let a folder's owner enter it, and others pass, as everything below needs."""
    mode = stat.S_IMODE(os.fstat(folder).st_mode)
    if mode & _PASSABLE != _PASSABLE:
        os.fchmod(folder, mode | _PASSABLE)
