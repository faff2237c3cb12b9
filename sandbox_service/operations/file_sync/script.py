"""The script that applies a sync inside the sandbox: its call and its answer."""

from __future__ import annotations

import functools
import importlib.resources
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sandbox_service.domain.errors import (
    BackendError,
    DiskFullError,
    FileNotAccessibleError,
    InvalidPathError,
    NotAFileError,
    OutcomeUnknownError,
    RootDigestMismatchError,
    SandboxError,
    SandboxNotReadyError,
    VerifyFailedError,
)
from sandbox_service.domain.files import RESERVED_NAME, SyncHeader
from sandbox_service.operations.commands import CommandResult

_FILES: Final = ("tree.sh", "sync.sh")
_END_FIELDS: Final = 3
_FAILED_FIELDS: Final = 3
_BUSY_RETRY: Final = timedelta(seconds=1)
_NOTHING_CHANGED: Final = "Nothing was changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What the script reports of a sync that was applied.

    Attributes:
        root: Absolute, without links.
        added: Paths of files, links and folders that were sent.
        modified: Likewise.
        deleted: Paths of whatever is gone.
        root_digest: 32 bytes.
        user: The name of the user that the script ran as, or its id.
    """

    root: str
    added: tuple[str, ...]
    modified: tuple[str, ...]
    deleted: tuple[str, ...]
    root_digest: bytes
    user: str


def archive_path(name: str) -> str:
    """Return where the archive of a sync is written to, relative to the home."""
    return f"{RESERVED_NAME}/{name}.tar"


def apply_argv(
    header: SyncHeader, name: str, size: int, longest_path: str, *, may_change: bool
) -> tuple[str, ...]:
    """Return the command that applies the archive of a sync.

    Args:
        header: What the sync is about.
        name: Unique to this sync, and a file name.
        size: Bytes of the archive.
        longest_path: Of the paths that are written.
        may_change: False: it is refused if it would change anything.
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
        longest_path,
        "change" if may_change else "keep",
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


def parse(
    result: CommandResult, sandbox_id: str, root: str, refusal: SandboxError | None = None
) -> Applied:
    """Read the script's answer.

    Args:
        result: How the script ended.
        sandbox_id: For errors.
        root: As the caller named it, for errors.
        refusal: Why nothing may be changed, if so.

    Raises:
        SandboxError: The sync was refused or has failed; which says why.
    """
    records = result.stdout.split(b"\0")
    if result.exit_code != 0:
        raise _failure(records, result, sandbox_id, root, refusal)
    try:
        changes_at, deleted_at, end_at = (
            records.index(b"=changes"),
            records.index(b"=deleted"),
            records.index(b"=end"),
        )
        at, digest, user = records[end_at + 1 : end_at + 1 + _END_FIELDS]
        root_digest = bytes.fromhex(digest.decode())
    except ValueError:
        raise BackendError("A sync's receipt cannot be read. Look before repeating it.") from None
    changes = records[changes_at + 1 : deleted_at]
    return Applied(
        root=_text(at),
        added=tuple(_path(path) for path in changes if not path.startswith(b"\t")),
        modified=tuple(_path(path[1:]) for path in changes if path.startswith(b"\t")),
        deleted=tuple(_path(path) for path in records[deleted_at + 1 : end_at]),
        root_digest=root_digest,
        user=_text(user),
    )


def disk_full(sandbox_id: str, root: str) -> DiskFullError:
    """Return the error of a sync for which there was no room."""
    return DiskFullError(
        "The sandbox's disk is full. Every file is the old one or the new one.",
        metadata={"sandbox_id": sandbox_id, "path": root},
    )


def _failure(
    records: list[bytes],
    result: CommandResult,
    sandbox_id: str,
    root: str,
    refusal: SandboxError | None,
) -> SandboxError:
    said = result.stderr
    if any(words in said for words in (b"No space left on device", b"Disk quota exceeded")):
        return disk_full(sandbox_id, root)
    if records[0] == b"=failed" and len(records) > _FAILED_FIELDS:
        word, detail, kind = map(_text, records[1 : 1 + _FAILED_FIELDS])
        if word == "would_change" and refusal is not None:
            return refusal
        if word in ("checksum", "unpack"):
            return VerifyFailedError(
                "What arrived in the sandbox is not what was sent. "
                f"{_NOTHING_CHANGED}; send the sync again.",
                metadata={"sandbox_id": sandbox_id, "path": _of_record(detail) or root},
            )
        refused = _refused(word, detail.removeprefix("./"), kind)
        if refused is not None:
            return refused
    if any(words in said for words in (b"Permission denied", b"not permitted", b"Read-only")):
        return FileNotAccessibleError(
            "The sync's user may not write all of it. Each file is the old one or the new one; "
            "look at owners and modes in the root.",
            metadata={"path": root},
        )
    if result.exit_code is None:
        return OutcomeUnknownError(
            "The sync was killed while it was applied. Each file is the old one or the new one; "
            "repeat the call.",
            metadata={"sandbox_id": sandbox_id},
        )
    return BackendError("A sync failed in the sandbox. Each file is the old one or the new one.")


def _refused(word: str, detail: str, kind: str) -> SandboxError | None:
    """Return what the script refused before it changed anything. None: it did not."""
    path = {"path": detail}
    match word:
        case "digest":
            return RootDigestMismatchError(
                f"The root is not the one you expect. {_NOTHING_CHANGED}; plan the sync anew.",
                metadata={"root_digest": detail},
            )
        case "leaves_root":
            return InvalidPathError(
                f"{detail!r} is a link out of the root, so nothing is written below it. "
                f"{_NOTHING_CHANGED}; delete it in the same sync to have a folder there.",
                metadata={"field": "path", **path, "rule": "inside_root"},
            )
        case "in_the_way":
            return NotAFileError(
                f"{detail!r} is of another kind than what is to be written there, or excluded. "
                f"{_NOTHING_CHANGED}; delete it in the same sync to replace it.",
                metadata={**path, "actual": kind},
            )
        case "not_a_folder":
            return NotAFileError(
                f"The root needs {detail!r} to be a folder. {_NOTHING_CHANGED}.",
                metadata={**path, "actual": kind},
            )
        case "no_root":
            return InvalidPathError(
                f"{detail!r} cannot be a root. {_NOTHING_CHANGED}.",
                metadata={"field": "header.root", **path, "rule": "root"},
            )
        case "too_long":
            return InvalidPathError(
                "The longest path is too long for the kernel, with the root's before it. "
                f"{_NOTHING_CHANGED}; sync to a shorter root.",
                metadata={"field": "path", **path, "rule": "path_length"},
            )
        case "denied":
            return FileNotAccessibleError(
                f"The sync's user cannot write to {detail!r}. {_NOTHING_CHANGED}.", metadata=path
            )
        case "busy":
            return SandboxNotReadyError(
                f"Another sync of this sandbox has not ended. {_NOTHING_CHANGED}; repeat the call.",
                retry_after=_BUSY_RETRY,
            )
    return None


def _of_record(record: str) -> str:
    """Return the path that a record of the digest is about."""
    _, found, path = record.partition("./")
    return path.partition("//")[0] if found else ""


def _path(raw: bytes) -> str:
    return _text(raw.removeprefix(b"./"))


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


@functools.cache
def _script() -> str:
    package = importlib.resources.files(__package__)
    return "\n".join((package / name).read_text(encoding="utf-8") for name in _FILES)
