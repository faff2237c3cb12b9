"""A folder as a sync sees it: what is in it, without what is left out."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from sandbox_service.client.ignores import GITIGNORE, Ignores, left_out

RESERVED: Final = ".sandbox-sync"
"""The one name that the service keeps for itself."""

_PATH_BYTES_MAX: Final = 4000
_TARGET_BYTES_MAX: Final = 4095
_FILE_NEEDS: Final = 0o400
_FOLDER_NEEDS: Final = 0o700
_VANISHED: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


class TreeError(Exception):
    """The folder cannot be synced as it is; the message says what to do."""


class Stamp(NamedTuple):
    """What tells that a file has not been written since: `ctime_ns` cannot be set back."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp of what was looked at."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )


class StoppedError(Exception):
    """Nobody waits for it any more."""


def check(stop: threading.Event | None) -> None:
    """Raise `StoppedError` once it is set."""
    if stop is not None and stop.is_set():
        raise StoppedError


class File(NamedTuple):
    """A regular file.

    Attributes:
        mode: Its permission bits, with those that its owner needs to read it.
        sha256: Of its content, 32 bytes. Empty until it was hashed.
    """

    path: str
    mode: int
    stamp: Stamp
    sha256: bytes = b""


@dataclass(slots=True)
class Tree:
    """What is in a folder.

    Attributes:
        folder: It, without links on the way.
        ignores: What was left out by rule.
        files: By path, relative to the folder.
        links: Targets of symbolic links by path.
        folders: Permission bits by path, the folder itself left out.
        left_out: Why, by path, of what cannot be synced, whatever is below it too.
    """

    folder: Path
    ignores: Ignores
    files: dict[str, File] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def has(self, path: str) -> bool:
        """Return whether there is an entry at a path."""
        return path in self.files or path in self.folders or path in self.links

    def keeps(self, path: str, *, folder: bool) -> bool:
        """Return whether what the sandbox has at a path is none of the sync's business."""
        above = path
        while above:
            if above in self.left_out:
                return True
            above = posixpath.dirname(above)
        return self.ignores.match(path, folder=folder)


def walk(
    folder: Path,
    ignores: Ignores,
    *,
    gitignore: bool = True,
    stop: threading.Event | None = None,
) -> Tree:
    """Look at everything in a folder.

    What vanishes meanwhile is not part of it. No link is followed.

    Args:
        folder: What to look at.
        ignores: The caller's patterns; those of `.gitignore` files are added.
        gitignore: Whether to heed `.gitignore` files, those of the repository above
            the folder among them.
        stop: Set when nobody waits for it any more.

    Raises:
        StoppedError: Nobody does.
        TreeError: It is no folder, or cannot be read, or a `.gitignore` cannot be read.
    """
    try:
        root = folder.resolve(strict=True)
        if not root.is_dir():
            raise TreeError(f"{folder} is not a folder. Name one to sync.")
        if gitignore:
            _read_above(root, ignores)
        tree = Tree(root, ignores)
        _Walk(tree, gitignore=gitignore).run(stop)
    except FileNotFoundError as error:
        raise TreeError(f"There is no folder {folder}. Name one to sync.") from error
    except OSError as error:
        raise TreeError(
            f"{error.filename or folder} cannot be read: {error.strerror}. "
            "Make it readable, or exclude it."
        ) from error
    return tree


class _Walk:
    def __init__(self, tree: Tree, *, gitignore: bool) -> None:
        self._tree = tree
        self._gitignore = gitignore
        self._root = str(tree.folder)

    def run(self, stop: threading.Event | None) -> None:
        todo = [""]
        while todo:
            check(stop)
            folder = todo.pop()
            try:
                with os.scandir(f"{self._root}/{folder}") as found:
                    entries = sorted(found, key=lambda it: it.name)
            except OSError as error:
                # A root that has just gone is not an empty one.
                if not folder:
                    raise
                if error.errno in _VANISHED:
                    continue
                # Nobody can tell what is in it, so nothing in it is touched.
                self._leave_out(folder, f"cannot be listed: {error.strerror}")
                continue
            if self._gitignore:
                self._read_rules(folder, entries)
            todo += self._look(folder, entries)

    def _read_rules(self, folder: str, entries: list[os.DirEntry[str]]) -> None:
        for entry in entries:
            if entry.name == GITIGNORE and entry.is_file(follow_symlinks=False):
                self._tree.ignores.add(Path(entry.path).read_bytes(), folder)

    def _look(self, folder: str, entries: list[os.DirEntry[str]]) -> Iterator[str]:
        """Note the entries of a folder, and yield the folders to go on with."""
        tree = self._tree
        lists = tree.ignores.of_folder(folder)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if left_out(lists, os.fsencode(path), folder=is_folder):
                continue
            if why := _unfit(path, entry.name):
                self._leave_out(path, why)
                continue
            try:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    mode = status.st_mode & 0o777 | _FILE_NEEDS
                    tree.files[path] = File(path, mode, Stamp.of(status))
                elif stat.S_ISDIR(status.st_mode):
                    tree.folders[path] = status.st_mode & 0o777 | _FOLDER_NEEDS
                    yield path
                elif stat.S_ISLNK(status.st_mode):
                    self._link(path, os.readlink(entry.path))  # noqa: PTH115 - it would tidy the target.
                else:
                    self._leave_out(path, "is neither a file, a folder nor a link")
            except FileNotFoundError:
                continue

    def _link(self, path: str, target: str) -> None:
        if why := _leaves(path, target):
            self._leave_out(path, why)
        else:
            self._tree.links[path] = target

    def _leave_out(self, path: str, why: str) -> None:
        self._tree.folders.pop(path, None)
        self._tree.left_out[path] = why


def _unfit(path: str, name: str) -> str:
    """Return why the service cannot have a path; empty when it can."""
    if name == RESERVED:
        return "has a name that is kept for the sync itself"
    if len(path) <= _PATH_BYTES_MAX and path.isascii():
        return ""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    return f"is longer than {_PATH_BYTES_MAX} bytes" if size > _PATH_BYTES_MAX else ""


def _leaves(path: str, target: str) -> str:
    """Return why a link cannot be synced; empty when it can."""
    try:
        if len(target.encode()) > _TARGET_BYTES_MAX:
            return "is a link to a path that is too long"
    except UnicodeEncodeError:
        return "is a link to a name that is not UTF-8"
    if target.startswith("/"):
        return "is a link to an absolute path, which is another one in the sandbox"
    names = target.split("/")
    ups = next((at for at, name in enumerate(names) if name != ".."), len(names))
    if ".." in names[ups:]:
        # A name before `..` may be a link itself: nobody can tell where that leads.
        return "is a link with '..' after a name"
    resolved = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if resolved == ".." or resolved.startswith("../"):
        return "is a link that points outside the folder"
    return ""


def _read_above(root: Path, ignores: Ignores) -> None:
    """Heed the rules of the repository that the folder lies in, the outermost first."""
    above = [] if (root / ".git").exists() else list(root.parents)
    repository = next((at for at, it in enumerate(above) if (it / ".git").exists()), None)
    if repository is None:
        return
    found = above[: repository + 1]
    for parent in reversed(found):
        rules = parent / GITIGNORE
        if rules.is_file() and not rules.is_symlink():
            ignores.add_above(rules.read_bytes(), f"{root.relative_to(parent).as_posix()}/")
