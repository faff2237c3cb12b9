"""File syncs: a tree that is sent into a sandbox, and what came of it.

The digest of a root is SHA-256 over one record per entry below it. A record is

* `<sha256 of the content> f<mode> ./<path>` and a NUL for a file,
* `d<mode> ./<path>` and a NUL for a folder, the root itself left out,
* `l ./<path>//<target>` and a NUL for a symbolic link,

with the SHA-256 in lower-case hex, the mode as four octal digits, and the
records sorted as byte strings. Sockets, pipes and devices have none; nor has
what the sync excludes. `root_digest` computes it from entries.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

FILE_MODE_DEFAULT: Final = 0o644
"""A file's mode when the caller gives none."""

FOLDER_MODE_DEFAULT: Final = 0o755
"""A folder's mode when the caller gives none, or when only its files were sent."""

RESERVED_NAME: Final = ".sandbox-sync"
"""The one name that a sync cannot write: where it stages what it is sent."""


class SyncMode(enum.StrEnum):
    """What happens to entries of the root that are not part of the sync.

    PATCH leaves them alone. MIRROR deletes them, unless they are excluded.
    """

    PATCH = "patch"
    MIRROR = "mirror"


class SyncVerify(enum.StrEnum):
    """Which files of the root are read to learn whether they differ.

    CHANGED reads those whose inode, size, mtime or ctime is not what the last
    sync of the root left behind. FULL reads all. What is sent is verified in
    both.
    """

    CHANGED = "changed"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncHeader:
    """What a sync is about.

    Attributes:
        root: The folder to write to: absolute, or relative to the user's home.
            Empty: the home itself. Made when there is none.
        sync_id: Makes a retry return the first receipt. Empty: none.
        excludes: Patterns as in `.gitignore`, without negation. What they
            match is neither read, nor deleted, nor part of the digest.
        if_root_digest: Write only while the root has this digest, 32 bytes.
        user: Who writes, and owns what is written. Empty: the template's default.
        reload_digest: SHA-256 of what is to be run afterwards: a retry by the
            same sync id must ask for the same. Empty: nothing is.
    """

    root: str
    sync_id: str = ""
    mode: SyncMode = SyncMode.PATCH
    verify: SyncVerify = SyncVerify.CHANGED
    excludes: tuple[str, ...] = ()
    if_root_digest: bytes | None = None
    user: str = ""
    reload_digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncFile:
    """A file. Its content follows as `SyncData`, unless it is unchanged.

    Attributes:
        path: Relative to the root.
        size: Bytes of content.
        mode: Permission bits; others are dropped. None: those that a file at
            the path has, else 0644.
        sha256: Of the content, 32 bytes. None: it is computed.
        mtime: Aware of its zone. None: the time of the sync. A file whose
            content and mode are there already keeps the time it has.
        unchanged: The root has it as it is described here, which is verified.
            It is named so that a mirror keeps it.
    """

    path: str
    size: int
    mode: int | None = None
    sha256: bytes | None = None
    mtime: datetime | None = None
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class SyncData:
    """The next bytes of the file that came last, at most 1 MiB."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SyncLink:
    """A symbolic link.

    Attributes:
        path: Relative to the root.
        target: Relative to the link's folder, and inside the root.
    """

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    """A folder, which may stay empty. Folders of files need not be sent.

    Attributes:
        path: Relative to the root.
        mode: Permission bits; others are dropped. None: those that a folder at
            the path has, else 0755.
    """

    path: str
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class SyncDelete:
    """An entry to delete, with all that is below it. There may be none.

    What the same sync writes at the path or below it stays: the delete then
    allows a file to become a folder, or a folder a file.
    """

    path: str


SyncPart = SyncFile | SyncData | SyncLink | SyncDirectory | SyncDelete


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReceipt:
    """What a sync did.

    Paths of files, links and folders, sorted as byte strings. A folder that was
    made only because of what is in it is not among them.

    Attributes:
        root: The folder, absolute and without links.
        added: Paths that were not there.
        modified: Paths whose content, mode, target or kind changed.
        deleted: Paths that are gone, also those below a folder that is gone. A
            name that is not UTF-8 is shown escaped.
        unchanged: How many were sent and were there already.
        content_bytes: Bytes of content that were sent.
        written_bytes: Bytes of content of the files that were added or modified.
        root_digest: Of the root after the sync, 32 bytes.
        others: How many sockets, pipes and devices are in the root; the digest does not
            cover them.
        user: The name of the user that wrote; its id when it has no name.
        timings: Of each phase, one after the other: its name and how long it took.
        repeated: This receipt is of an earlier call with the same sync id.
        listening: Whether a program listened on the preview's port, right after the
            files were written. None: not known.
        reload_result: What was kept with it by `FileSync.keep_reload`. Empty: nothing.
    """

    sync_id: str
    root: str
    added: tuple[str, ...]
    modified: tuple[str, ...]
    deleted: tuple[str, ...]
    unchanged: int
    content_bytes: int
    written_bytes: int
    root_digest: bytes
    others: int
    user: str
    timings: tuple[tuple[str, timedelta], ...]
    repeated: bool = False
    listening: bool | None = None
    reload_result: bytes = b""

    @property
    def changed(self) -> bool:
        """Whether anything was changed."""
        return bool(self.added or self.modified or self.deleted)


class EntryKind(enum.StrEnum):
    """What an entry of a tree is. OTHER is a socket, a pipe or a device."""

    FILE = "file"
    LINK = "link"
    DIRECTORY = "directory"
    OTHER = "other"


class DifferenceKind(enum.StrEnum):
    """How the sandbox's tree differs from the caller's in one path."""

    MISSING = "missing"
    CHANGED = "changed"
    EXTRA = "extra"
    EQUAL = "equal"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeader:
    """What to compare.

    Attributes:
        root: As in `SyncHeader`. One that is not there is an empty tree.
        excludes: What is neither compared nor part of the digest.
        user: Whose home a relative root is in. Empty: the template's default.
        include_equal: Whether what is equal is named too, and not only counted.
    """

    root: str
    verify: SyncVerify = SyncVerify.CHANGED
    excludes: tuple[str, ...] = ()
    user: str = ""
    include_equal: bool = False


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """An entry of the caller's tree. Folders that other entries lie in need none.

    Attributes:
        path: Relative to the root.
        size: Of a file's content, in bytes.
        mode: Permission bits. None: not compared.
        sha256: Of a file's content or a link's target, 32 bytes. Empty for a
            folder; a file without it is compared by its size.
    """

    path: str
    kind: EntryKind
    size: int = 0
    mode: int | None = None
    sha256: bytes = b""


@dataclass(frozen=True, slots=True)
class Difference:
    """A path in which the trees differ, or are equal.

    Attributes:
        path: Relative to the root. A name that is not UTF-8 is shown escaped.
        sandbox_kind: What the sandbox has there. None: nothing.
        content_changed: False where only the permission bits differ.
    """

    path: str
    kind: DifferenceKind
    sandbox_kind: EntryKind | None
    content_changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """What a comparison came to.

    Attributes:
        root: Absolute, without links.
        root_digest: Of the sandbox's tree, 32 bytes.
        needed_bytes: Of content of files that are missing or changed.
    """

    root: str
    root_digest: bytes
    missing: int
    changed: int
    extra: int
    equal: int
    needed_bytes: int


def file_record(path: str, mode: int, sha256: bytes) -> bytes:
    """Return the digest's record of a file."""
    return b"%b f%04o ./%b\0" % (sha256.hex().encode(), mode, path.encode())


def folder_record(path: str, mode: int) -> bytes:
    """Return the digest's record of a folder."""
    return b"d%04o ./%b\0" % (mode, path.encode())


def link_record(path: str, target: str) -> bytes:
    """Return the digest's record of a symbolic link."""
    return b"l ./%b//%b\0" % (path.encode(), target.encode())


def root_digest(records: Iterable[bytes]) -> bytes:
    """Return the digest of a root whose entries have these records."""
    digest = hashlib.sha256()
    for record in sorted(records):
        digest.update(record)
    return digest.digest()
