"""The script that applies a sync inside the sandbox: its call and its answer."""

from __future__ import annotations

import hashlib
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
    SyncIdReusedError,
    VerifyFailedError,
)
from sandbox_service.domain.file_errors import ContentMissingError
from sandbox_service.domain.files import RESERVED_NAME, PlanHeader, SyncHeader
from sandbox_service.domain.scripts import script
from sandbox_service.operations.commands import CommandResult
from sandbox_service.operations.file_sync.excludes import Excludes

TREE_SCRIPT: Final = script(__package__, "tree.sh", "root.sh")
"""What every script begins with that is about a tree of the sandbox."""

_STORED: Final = b"=stored\0"
_SECTIONS: Final = (b"=changes", b"=deleted", b"=phases", b"=end")
_END_FIELDS: Final = 5
_PORT: Final = {b"open": True, b"closed": False}
_FAILED_FIELDS: Final = 3
_BUSY_RETRY: Final = timedelta(seconds=1)
_ESCAPED_AT_ONCE: Final = 20_000
_NOTHING_CHANGED: Final = "Nothing was changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What the script reports of a sync that was applied.

    Attributes:
        content_bytes: As `Asked` has it; of a stored receipt, as the first call had.
        uploading: Likewise.
        root: Absolute, without links.
        added: Paths of files, links and folders that were sent.
        modified: Likewise.
        deleted: Paths of whatever is gone.
        root_digest: 32 bytes.
        others: How many entries the digest does not cover.
        user: The name of the user that the script ran as, or its id.
        phases: Names, and how long each took.
        listening: Whether a program listened on the preview's port. None: not known.
        stored: It is the receipt of an earlier sync of the same id.
        reload_result: What was kept of that one's reload action. Empty: nothing.
    """

    content_bytes: int
    uploading: timedelta
    root: str
    added: tuple[str, ...]
    modified: tuple[str, ...]
    deleted: tuple[str, ...]
    root_digest: bytes
    others: int
    user: str
    phases: tuple[tuple[str, timedelta], ...]
    listening: bool | None = None
    stored: bool = False
    reload_result: bytes = b""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a receipt is kept by.

    Attributes:
        sync_id: Of the sync. Empty: no receipt is kept.
        digest: Of all that the sync asks for.
        content_bytes: How many were sent; kept with the receipt.
        uploading: How long that took; kept likewise.
    """

    sync_id: str
    digest: str
    content_bytes: int
    uploading: timedelta


def reload_path(sync_id: str) -> str:
    """Return where the result of a sync's reload action is kept, relative to the home."""
    return f"{RESERVED_NAME}/receipts/{_receipt_name(sync_id)}.reload"


def archive_path(name: str) -> str:
    """Return where the archive of a sync is written to, relative to the home."""
    return f"{RESERVED_NAME}/{name}.tar"


def apply_argv(
    header: SyncHeader,
    name: str,
    size: int,
    longest_path: str,
    asked: Asked,
    port: int,
    excludes: Excludes,
    *,
    may_change: bool,
) -> tuple[str, ...]:
    """Return the command that applies the archive of a sync.

    Args:
        header: What the sync is about.
        name: Unique to this sync, and a file name.
        size: Bytes of the archive.
        longest_path: Of the paths that are written.
        asked: What its receipt is kept by.
        port: The preview's.
        excludes: What is left out.
        may_change: False: it is refused if it would change anything.
    """
    expected = header.if_root_digest.hex() if header.if_root_digest is not None else ""
    return (
        "/bin/bash",
        "-c",
        TREE_SCRIPT + script(__package__, "receipt.sh", "compare.sh", "report.sh", "sync.sh"),
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
        _receipt_name(asked.sync_id),
        asked.digest,
        f"{asked.content_bytes} {round(asked.uploading.total_seconds() * 1e6)}",
        str(port),
        *expressions(excludes),
    )


def plan_argv(header: PlanHeader, name: str, excludes: Excludes) -> tuple[str, ...]:
    """Return the command that describes the tree at a root.

    Args:
        header: Which root, and how it is looked at.
        name: Unique to this plan, and a file name.
        excludes: What is left out.
    """
    return (
        "/bin/bash",
        "-c",
        TREE_SCRIPT + script(__package__, "plan.sh"),
        "plan",
        header.root,
        header.verify.value,
        name,
        *expressions(excludes),
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
    result: CommandResult,
    sandbox_id: str,
    header: SyncHeader,
    refusal: SandboxError | None = None,
) -> Applied:
    """Read the script's answer.

    Args:
        result: How the script ended.
        sandbox_id: For errors.
        header: For errors.
        refusal: Why nothing may be changed, if so.

    Raises:
        SandboxError: The sync was refused or has failed; which says why.
    """
    if result.exit_code != 0:
        error = failure(result, sandbox_id, header.root, refusal)
        if isinstance(error, SyncIdReusedError):
            error.metadata = {"sync_id": header.sync_id}
        raise error
    stored = result.stdout.startswith(_STORED)
    note, *records = result.stdout.removeprefix(_STORED).split(b"\0")
    try:
        changes_at, deleted_at, phases_at, end_at = map(records.index, _SECTIONS)
        at, digest, user, port, others_text = records[end_at + 1 : end_at + 1 + _END_FIELDS]
        root_digest = bytes.fromhex(digest.decode())
        phases = [text(it) for it in records[phases_at + 1 : end_at]]
        took = [timedelta(microseconds=int(it)) for it in phases[1::2]]
        content_bytes, uploading_us = map(int, note.split())
        others = int(others_text)
    except ValueError:
        raise BackendError("A sync's receipt cannot be read. Look before repeating it.") from None
    changes = sorted(records[changes_at + 1 : deleted_at])
    return Applied(
        content_bytes=content_bytes,
        uploading=timedelta(microseconds=uploading_us),
        root=text(at),
        added=tuple(_path(path) for path in changes if not path.startswith(b"\t")),
        modified=tuple(_path(path[1:]) for path in changes if path.startswith(b"\t")),
        deleted=tuple(_path(path) for path in records[deleted_at + 1 : phases_at]),
        root_digest=root_digest,
        others=others,
        user=text(user),
        phases=tuple(zip(phases[::2], took, strict=True)),
        listening=None if stored else _PORT.get(port),
        stored=stored,
        reload_result=b"\0".join(records[end_at + 1 + _END_FIELDS :]),
    )


def disk_full(sandbox_id: str, root: str) -> DiskFullError:
    """Return the error of a sync for which there was no room."""
    return DiskFullError(
        "The sandbox's disk is full. Every file is the old one or the new one.",
        metadata={"sandbox_id": sandbox_id, "path": root},
    )


def failure(
    result: CommandResult, sandbox_id: str, root: str, refusal: SandboxError | None = None
) -> SandboxError:
    """Return why a script failed.

    Args:
        result: How it ended; not well.
        sandbox_id: For the error.
        root: As the caller named it.
        refusal: Why nothing may be changed, if so.
    """
    said, records = result.stderr, result.stdout.split(b"\0")
    if any(words in said for words in (b"No space left on device", b"Disk quota exceeded")):
        return disk_full(sandbox_id, root)
    if records[0] == b"=failed" and len(records) > _FAILED_FIELDS:
        word, detail, kind = map(text, records[1 : 1 + _FAILED_FIELDS])
        if word == "would_change" and refusal is not None:
            return refusal
        if word in ("checksum", "unpack"):
            return VerifyFailedError(
                "What arrived in the sandbox is not what was sent. "
                f"{_NOTHING_CHANGED}; send the sync again.",
                metadata={"sandbox_id": sandbox_id, "path": _of_record(detail) or root},
            )
        if word == "unchanged":
            path = _of_record(detail)
            return ContentMissingError(
                f"{path!r} is named as unchanged, but the sandbox has another one, or none. "
                f"{_NOTHING_CHANGED}; plan the sync anew, or send the file.",
                metadata={"sandbox_id": sandbox_id, "path": path},
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
        case "sync_id":
            return SyncIdReusedError("The sync id was used for another sync. Choose a new one.")
        case "busy":
            return SandboxNotReadyError(
                f"Another sync of this sandbox has not ended. {_NOTHING_CHANGED}; repeat the call.",
                retry_after=_BUSY_RETRY,
            )
    return None


def _receipt_name(sync_id: str) -> str:
    return hashlib.sha256(sync_id.encode()).hexdigest()[:32] if sync_id else ""


def _of_record(record: str) -> str:
    """Return the path that a record of the digest is about."""
    _, found, path = record.partition("./")
    return path.partition("//")[0] if found else ""


def expressions(excludes: Excludes) -> tuple[str, ...]:
    """Return arguments for the scripts' `exclude_escaped`."""
    anything, folders = _escaped(excludes.anything), _escaped(excludes.folders)
    return (str(len(anything)), *anything, *folders)


def _escaped(expression: bytes) -> list[str]:
    """Return bytes as arguments, which are UTF-8 and limited, for bash's `printf %b`."""
    return [
        "".join(
            chr(byte) if byte < 0x80 and byte != ord("\\") else f"\\0{byte:03o}"
            for byte in expression[at : at + _ESCAPED_AT_ONCE]
        )
        for at in range(0, len(expression), _ESCAPED_AT_ONCE)
    ]


def _path(raw: bytes) -> str:
    return text(raw.removeprefix(b"./"))


def text(raw: bytes) -> str:
    """Return a text of the script's, with what is not UTF-8 escaped."""
    return raw.decode(errors="backslashreplace")
