"""What one sync is made of: checked entry by entry, then as a whole."""

from __future__ import annotations

import hashlib
import posixpath
import time
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Final

from sandbox_service.domain.errors import (
    FieldViolation,
    InvalidPathError,
    InvalidRequestError,
    PayloadTooLargeError,
)
from sandbox_service.domain.files import (
    FILE_MODE_DEFAULT,
    FOLDER_MODE_DEFAULT,
    RESERVED_NAME,
    SyncDelete,
    SyncDirectory,
    SyncFile,
    SyncLink,
    file_record,
    folder_record,
    link_record,
)
from sandbox_service.domain.limits import MIB, PATH_BYTES_MAX, Limits
from sandbox_service.domain.paths import absolute, link_stays_inside, relative_inside
from sandbox_service.operations.file_sync.excludes import Excludes

RECORDS_BYTES_MAX: Final = 64 * MIB
"""All paths, targets and hashes of one sync: what is kept in memory of it."""

# The kernel takes 4095 bytes; where it is staged comes before it.
_RELATIVE_PATH_BYTES_MAX: Final = PATH_BYTES_MAX - 96

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MTIME_NS_MAX: Final = 0o77777777777 * 1_000_000_000
_SHA256_BYTES: Final = 32
_PATH_SHOWN_MAX: Final = 100
_UNCHANGED: Final = ("unchanged", "unchanged-but-mode")


class Manifest:
    """The entries of one sync so far.

    Holds paths and hashes, never content, and refuses to hold more than
    `RECORDS_BYTES_MAX`.

    Args:
        limits: How many entries and bytes one sync may have.
        excludes: What it may not touch.
    """

    def __init__(self, limits: Limits, excludes: Excludes) -> None:
        self._limits = limits
        self.excludes = excludes
        self._records: list[bytes] = []
        self._unchanged: list[bytes] = []
        self._unchanged_but_mode: list[bytes] = []
        self._entries: dict[str, int] = {}
        self._folders: set[str] = set()
        self._sent_folders: set[str] = set()
        self._deletes: set[str] = set()
        self._without_mode: set[str] = set()
        self._records_bytes = 0
        self._entry_count = 0
        self._longest_bytes = 0
        self.longest_path = ""
        self.mtime_ns = time.time_ns()
        self.content_bytes = 0

    @property
    def named(self) -> int:
        """How many files, links and folders were sent."""
        return len(self._entries) + len(self._sent_folders)

    def size_of(self, paths: Iterable[str]) -> int:
        """Return the bytes of content of those paths that are files."""
        return sum(self._entries.get(path, 0) for path in paths)

    def begin_file(self, file: SyncFile) -> tuple[int, int]:
        """Check a file before its content is there.

        Returns:
            Its mode, and its mtime in nanoseconds since 1970.

        Raises:
            InvalidRequestError: It cannot be written.
            InvalidPathError: Its path cannot be written.
            PayloadTooLargeError: The sync becomes larger than one may be.
        """
        mode = self._begin_file(file)
        if file.mode is None:
            self._without_mode.add(file.path)
        self.content_bytes += file.size
        if self.content_bytes > self._limits.sync_bytes:
            raise too_large("file.size", "bytes", self._limits.sync_bytes, self.content_bytes)
        return mode, self._mtime_ns(file.mtime)

    def end_file(self, path: str, mode: int, sha256: bytes) -> None:
        """Note the hash of a file, now that all of it has been seen."""
        self._record(file_record(path, mode, sha256))

    def add_unchanged(self, file: SyncFile) -> None:
        """Check a file whose content the root has.

        Raises:
            InvalidRequestError: It has no hash to verify it by, or could not be written.
            InvalidPathError: Its path could not be written.
        """
        mode = self._begin_file(file)
        if file.sha256 is None:
            raise InvalidRequestError.of("file.sha256", "is not set: it is how it is verified")
        if file.mode is None:
            record = b"%b ./%b\0" % (file.sha256.hex().encode(), file.path.encode())
            self._unchanged_but_mode.append(record)
        else:
            record = file_record(file.path, mode, file.sha256)
            self._unchanged.append(record)
        self._count(len(record), entries=0)

    def add_link(self, link: SyncLink) -> int:
        """Check a link. Returns the mtime it gets.

        Raises:
            InvalidPathError: Its path cannot be written, or it points outside.
        """
        self._add(link.path, "link.path")
        self._entries[link.path] = 0
        link_stays_inside(link.path, link.target, "link.target")
        names = link.target.split("/")
        ups = next((at for at, name in enumerate(names) if name != ".."), len(names))
        if ".." in names[ups:]:
            # `a/..` is the root's parent when `a` is itself a link into a deeper folder.
            raise invalid_path("link.target", link.target, "inside_root", "has '..' after a name")
        self._record(link_record(link.path, link.target))
        return self.mtime_ns

    def add_folder(self, folder: SyncDirectory) -> tuple[int, int]:
        """Check a folder. Returns its mode, and the mtime it gets.

        Raises:
            InvalidRequestError: Its mode would lock its owner out.
            InvalidPathError: Its path cannot be written.
        """
        self._add(folder.path, "directory.path", folder=True)
        self._sent_folders.add(folder.path)
        if folder.mode is None:
            self._without_mode.add(folder.path)
        mode = _mode(folder.mode, FOLDER_MODE_DEFAULT, 0o700, "directory.mode")
        self._record(folder_record(folder.path, mode))
        return mode, self.mtime_ns

    def add_delete(self, delete: SyncDelete) -> None:
        """Check a delete.

        Raises:
            InvalidPathError: Its path is not one below the root.
        """
        check_path(delete.path, "delete.path")
        if self.excludes.match(delete.path, folder=True):
            raise InvalidRequestError.of("delete.path", f"{delete.path!r} is excluded")
        if delete.path in self._deletes:
            raise InvalidRequestError.of("delete.path", f"{delete.path!r} is there twice")
        self._deletes.add(delete.path)
        self._count(len(delete.path))

    def check_whole(self) -> None:
        """Check what only shows when all entries are known.

        Raises:
            InvalidPathError: A path lies below a file or link of the same sync.
        """
        self._folders |= self._sent_folders
        both = self._entries.keys() & self._folders
        if both:
            raise invalid_path(
                "path", min(both), "one_kind", "is a file or link of this sync, and a folder too"
            )

    def digest(self) -> bytes:
        """Return a digest of everything that the sync asks for.

        Whether content was sent or named as unchanged makes no difference: who
        repeats a sync may find that the sandbox has more of it by then.
        """
        digest = hashlib.sha256()
        but_mode = [
            b"%b f%04o%b" % (record[:64], FILE_MODE_DEFAULT, record[64:])
            for record in self._unchanged_but_mode
        ]
        asked = b"".join(sorted((*self._records, *self._unchanged, *but_mode)))
        without_mode = self._without_mode | {it[67:-1].decode() for it in self._unchanged_but_mode}
        lists = dict(self.lists()) | {"want": asked, "without-mode": _paths(without_mode)}
        for content in (content for name, content in lists.items() if name not in _UNCHANGED):
            digest.update(b"%d\n" % len(content))
            digest.update(content)
        return digest.digest()

    def lists(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and content of each list that the script in the sandbox reads.

        Sorted as byte strings, each entry ending with NUL, each path beginning with `./`.
        """
        yield "want", b"".join(sorted(self._records))
        yield "unchanged", b"".join(sorted(self._unchanged))
        yield "unchanged-but-mode", b"".join(sorted(self._unchanged_but_mode))
        yield "nondirs", _paths(self._entries.keys())
        yield "dirs", _paths(self._folders)
        yield "named-dirs", _paths(self._sent_folders)
        yield "without-mode", _paths(self._without_mode)
        yield "paths", _paths(self._entries.keys() | self._folders)
        yield "deletes", _paths(self._deletes)

    def _begin_file(self, file: SyncFile) -> int:
        """Check what is said of a file. Returns its mode."""
        self._add(file.path, "file.path")
        if file.size < 0:
            raise InvalidRequestError.of("file.size", "is negative")
        if file.sha256 is not None and len(file.sha256) != _SHA256_BYTES:
            raise InvalidRequestError.of("file.sha256", f"is not {_SHA256_BYTES} bytes")
        self._entries[file.path] = file.size
        return _mode(file.mode, FILE_MODE_DEFAULT, 0o400, "file.mode")

    def _add(self, path: str, field: str, *, folder: bool = False) -> None:
        """Check a path that is new, and note the folders that it lies in."""
        check_path(path, field)
        if self.excludes.match(path, folder=folder):
            raise InvalidRequestError.of(field, f"{path!r} is excluded")
        if path in self._entries or path in self._sent_folders:
            raise InvalidRequestError.of(field, f"{path!r} is there twice")
        self._count(len(path))
        if (size := len(path.encode())) > self._longest_bytes:
            self._longest_bytes, self.longest_path = size, path
        parent = posixpath.dirname(path)
        while parent and parent not in self._folders:
            self._folders.add(parent)
            self._count(len(parent), entries=0)
            parent = posixpath.dirname(parent)

    def _record(self, record: bytes) -> None:
        self._records.append(record)
        self._count(len(record), entries=0)

    def _count(self, size: int, *, entries: int = 1) -> None:
        self._records_bytes += size
        if self._records_bytes > RECORDS_BYTES_MAX:
            raise too_large("paths", "bytes", RECORDS_BYTES_MAX, self._records_bytes)
        if not entries:
            return
        self._entry_count += 1
        if self._entry_count > self._limits.sync_files:
            raise too_large("part", "entries", self._limits.sync_files, self._entry_count)

    def _mtime_ns(self, mtime: datetime | None) -> int:
        if mtime is None:
            return self.mtime_ns
        if mtime.tzinfo is None:
            raise InvalidRequestError.of("file.mtime", "has no time zone")
        since = mtime - _EPOCH
        nanoseconds = (
            (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        ) * 1000
        if not 0 <= nanoseconds <= _MTIME_NS_MAX:
            raise InvalidRequestError.of("file.mtime", "is before 1970 or after 2242")
        return nanoseconds


def check_root(root: str) -> None:
    """Check that a root is a folder that may be synced.

    Raises:
        InvalidPathError: It is none.
    """
    if root.startswith("/"):
        root = absolute(root, "header.root")
        if root == "/":
            raise InvalidPathError.of("header.root", "is the whole file system", "path")
    elif root not in ("", "."):
        relative_inside(root, "header.root")
    if RESERVED_NAME in root.split("/"):
        raise InvalidPathError.of("header.root", f"has the reserved name {RESERVED_NAME!r}", "path")


def check_path(path: str, field: str) -> None:
    """Check that a path is one below the root, and that a sync can write it.

    Raises:
        InvalidPathError: It is none.
    """
    relative_inside(path, field)
    if len(path) * 4 > _RELATIVE_PATH_BYTES_MAX < len(path.encode()):
        why = f"is longer than {_RELATIVE_PATH_BYTES_MAX} bytes"
        raise invalid_path(field, path, "path_length", why)
    if RESERVED_NAME in path.split("/"):
        raise invalid_path(field, path, "reserved", f"has the reserved name {RESERVED_NAME!r}")


def _mode(mode: int | None, default: int, needed: int, field: str) -> int:
    """Return the permission bits alone: no setuid, setgid or sticky bit is ever set."""
    bits = default if mode is None else mode & 0o777
    if bits & needed != needed:
        raise InvalidRequestError.of(
            field, f"lacks {needed:04o}: without it the entry cannot be verified or synced again"
        )
    return bits


def invalid_path(field: str, path: str, rule: str, why: str) -> InvalidPathError:
    """Return the error for a path that breaks a rule."""
    shown = path if len(path) <= _PATH_SHOWN_MAX else path[:_PATH_SHOWN_MAX] + "..."
    return InvalidPathError(
        f"{field}: the path {shown!r} {why}",
        (FieldViolation(field, why, rule),),
        metadata={"field": field, "path": shown, "rule": rule},
    )


def too_large(field: str, unit: str, limit: int, actual: int) -> PayloadTooLargeError:
    """Return the error for a call that brings more than it may."""
    return PayloadTooLargeError(
        f"{field}: brings the call above {limit} {unit}. Nothing was changed; split it.",
        metadata={"field": field, f"limit_{unit}": str(limit), f"actual_{unit}": str(actual)},
    )


def _paths(paths: AbstractSet[str]) -> bytes:
    return b"".join(sorted(b"./%b\0" % path.encode() for path in paths))
