"""The script that applies a sync inside the sandbox: its call and its answer."""

from __future__ import annotations

import functools
import importlib.resources
from dataclasses import dataclass
from typing import Final, NoReturn

from sandbox_service.domain.errors import (
    BackendError,
    ChecksumMismatchError,
    DiskFullError,
    InvalidPathError,
    InvalidRequestError,
    OutcomeUnknownError,
    RootDigestMismatchError,
    SandboxNotReadyError,
)
from sandbox_service.domain.files import RESERVED_NAME, SyncHeader
from sandbox_service.operations.commands import CommandResult

_FILES: Final = ("tree.sh", "sync.sh")
_END_FIELDS: Final = 6
_NOTHING_CHANGED: Final = "Nothing was changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What the script reports of a sync that was applied.

    Attributes:
        root: Absolute, without links.
        added: Paths of files and links.
        modified: Likewise.
        deleted: Likewise.
        root_digest: 32 bytes.
    """

    root: str
    added: tuple[str, ...]
    modified: tuple[str, ...]
    deleted: tuple[str, ...]
    root_digest: bytes
    uid: int
    folders_added: int
    folders_modified: int
    folders_deleted: int


def archive_path(name: str) -> str:
    """Return where the archive of a sync is written to, relative to the home."""
    return f"{RESERVED_NAME}/{name}.tar"


def apply_argv(header: SyncHeader, name: str, size: int) -> tuple[str, ...]:
    """Return the command that applies the archive of a sync.

    Args:
        header: What the sync is about.
        name: Unique to this sync, and a file name.
        size: Bytes of the archive.
    """
    expected = header.if_root_digest.hex() if header.if_root_digest is not None else ""
    return (
        "/bin/bash",
        "-c",
        _script(),
        "sync",
        archive_path(name),
        header.root,
        header.mode.value,
        header.verify.value,
        expected,
        name,
        str(size),
    )


def discard_argv(name: str) -> tuple[str, ...]:
    """Return the command that removes an archive, and what was staged of it by a killed sync."""
    remove = 'cd -- "${HOME:-~}" && rm -rf -- "$@"'
    return (
        "/bin/bash",
        "-c",
        remove,
        "sync",
        archive_path(name),
        f"{RESERVED_NAME}/stage/{name}",
    )


def parse(result: CommandResult) -> Applied:
    """Read the script's answer.

    Raises:
        SandboxError: The sync was refused or has failed; which says why.
    """
    records = result.stdout.split(b"\0")
    if result.exit_code != 0:
        _raise_failure(records, result)
    try:
        changes_at, deleted_at, end_at = (
            records.index(b"=changes"),
            records.index(b"=deleted"),
            records.index(b"=end"),
        )
        root, digest, *numbers = records[end_at + 1 : end_at + 1 + _END_FIELDS]
        uid, folders_added, folders_modified, folders_deleted = map(int, numbers)
        root_digest = bytes.fromhex(digest.decode())
    except ValueError:
        raise BackendError("A sync's receipt cannot be read. Look before repeating it.") from None
    changes = records[changes_at + 1 : deleted_at]
    return Applied(
        root=_text(root),
        added=tuple(_path(path) for path in changes if not path.startswith(b"\t")),
        modified=tuple(_path(path[1:]) for path in changes if path.startswith(b"\t")),
        deleted=tuple(_path(path) for path in records[deleted_at + 1 : end_at]),
        root_digest=root_digest,
        uid=uid,
        folders_added=folders_added,
        folders_modified=folders_modified,
        folders_deleted=folders_deleted,
    )


def _raise_failure(records: list[bytes], result: CommandResult) -> NoReturn:
    said = result.stderr
    if any(words in said for words in (b"No space left on device", b"Disk quota exceeded")):
        raise DiskFullError("The sandbox's disk is full. Every file is the old one or the new one.")
    word, detail = "", ""
    if records[0] == b"=failed" and len(records) > 2:
        word, detail = records[1].decode(), _text(records[2])
    path = {"path": detail.removeprefix("./")}
    shown = repr(path["path"])
    match word:
        case "digest":
            raise RootDigestMismatchError(
                f"The root is not the one you expect. {_NOTHING_CHANGED}; plan the sync anew.",
                metadata={"root_digest": detail},
            )
        case "checksum" | "unpack":
            raise ChecksumMismatchError(
                "What arrived in the sandbox is not what was sent. "
                f"{_NOTHING_CHANGED}; send the sync again.",
            )
        case "leaves_root":
            raise InvalidPathError(
                f"{shown} is a link out of the root, so nothing is written below it. "
                f"{_NOTHING_CHANGED}; delete it in the same sync to have a folder there.",
                metadata=path,
            )
        case "in_the_way":
            raise InvalidPathError(
                f"{shown} is a folder where a file is to be written, or the reverse, or excluded. "
                f"{_NOTHING_CHANGED}; delete it in the same sync to replace it.",
                metadata=path,
            )
        case "not_a_folder":
            raise InvalidPathError(
                f"The root needs {shown} to be a folder. {_NOTHING_CHANGED}.", metadata=path
            )
        case "denied":
            raise InvalidRequestError(
                f"The sync's user cannot write to {shown}. {_NOTHING_CHANGED}.", metadata=path
            )
        case "busy":
            raise SandboxNotReadyError(
                f"Another sync of this sandbox has not ended. {_NOTHING_CHANGED}; repeat the call."
            )
    if any(words in said for words in (b"Permission denied", b"not permitted", b"Read-only")):
        raise InvalidRequestError(
            "The sync's user may not write all of it. Each file is the old one or the new one; "
            "look at owners and modes in the root."
        )
    if result.exit_code is None:
        raise OutcomeUnknownError(
            "The sync was killed while it was applied. Each file is the old one or the new one; "
            "repeat the call."
        )
    raise BackendError("A sync failed in the sandbox. Each file is the old one or the new one.")


def _path(raw: bytes) -> str:
    return _text(raw.removeprefix(b"./"))


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


@functools.cache
def _script() -> str:
    package = importlib.resources.files(__package__)
    return "\n".join((package / name).read_text(encoding="utf-8") for name in _FILES)
