"""Files out of a sandbox: what is told of them, and of what was sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sandbox_service.domain.files import EntryKind, SyncData, SyncDirectory, SyncFile, SyncLink


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """Something in a sandbox's file system.

    Attributes:
        path: Absolute.
        size: In bytes; 0 unless it is a file.
        mode: Permission bits, 0 to 0o7777.
        modify_time: None: it lies outside of the years 1 to 9999.
        link_target: Empty unless it is a link. Bytes that are not UTF-8 are
            shown escaped.
        user, group: By name; by number where there is no name.
    """

    path: str
    kind: EntryKind
    size: int
    mode: int
    modify_time: datetime | None
    link_target: str
    user: str
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRange:
    """Which bytes of a file to read, and as whom.

    Attributes:
        path: Absolute, or relative to the user's home. Links are followed.
        offset: The first byte.
        length: How many. None: to the end.
        user: Empty: the template's default.
    """

    path: str
    offset: int = 0
    length: int | None = None
    user: str = ""


@dataclass(frozen=True, slots=True)
class ReadSummary:
    """What was sent of a file.

    Attributes:
        sent_bytes: Of data.
        sha256: Of the data, 32 bytes.
    """

    sent_bytes: int
    sha256: bytes


ReadPart = FileInfo | bytes | ReadSummary
"""What the file is; its bytes, in pieces; what was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderQuery:
    """Which page of which folder.

    Attributes:
        path: Absolute, or relative to the user's home.
        depth: Levels to go down, at least 1.
        page_size: The most entries, at least 1.
        page_token: Of the page before. Empty: the first page.
        user: Who looks. Empty: the template's default.
    """

    path: str
    depth: int
    page_size: int
    page_token: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class FolderPage:
    """A page of what is in a folder.

    Attributes:
        files: In byte order of their paths.
        next_page_token: Empty: it is the last one.
        unnameable: How many of the page were left out because their names are
            not UTF-8.
    """

    files: tuple[FileInfo, ...]
    next_page_token: str
    unnameable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeQuery:
    """Which tree to bring out.

    Attributes:
        root: Absolute, or relative to the user's home.
        excludes: As in `SyncHeader`.
        user: Who reads. Empty: the template's default.
    """

    root: str
    excludes: tuple[str, ...] = ()
    user: str = ""


@dataclass(frozen=True, slots=True)
class TreeRoot:
    """The root of a tree, absolute and without links."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSummary:
    """What was sent of a tree.

    Attributes:
        entries: Files, links and folders.
        sent_bytes: Of content.
        root_digest: Of what was sent, 32 bytes; see `domain.files`.
        skipped: Sockets, pipes, devices, and what cannot be named in UTF-8.
    """

    entries: int
    sent_bytes: int
    root_digest: bytes
    skipped: int


TreePart = TreeRoot | SyncDirectory | SyncLink | SyncFile | SyncData | TreeSummary
"""The root; then entries, a folder before what is in it, a file before its content; a summary."""
