"""File syncs: the stream of requests to parts, receipts to messages."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from heapq import nsmallest
from typing import Final

from miosa.sandbox.v1 import file_sync_pb2, outcome_pb2

from sandbox_service.contract import enums, execs, policy, times
from sandbox_service.contract.refusals import refuse_fields, unserved
from sandbox_service.domain import paths
from sandbox_service.domain.errors import InvalidStreamError
from sandbox_service.domain.execs import ExecSpec
from sandbox_service.domain.files import (
    SyncData,
    SyncDelete,
    SyncDirectory,
    SyncFile,
    SyncHeader,
    SyncLink,
    SyncMode,
    SyncPart,
    SyncReceipt,
    SyncVerify,
)
from sandbox_service.operations.reloads import After, Reloaded

_CHANGES_MAX: Final = 1000
_RELOAD_TIMEOUT: Final = timedelta(seconds=30)
_HOME: Final = "."

_ENTRIES: Final = ("file", "link", "directory")

Requests = AsyncIterator[file_sync_pb2.SyncFilesRequest]


async def header_first(requests: Requests) -> file_sync_pb2.SyncFilesHeader:
    """Return the header, which has to be the first message.

    Raises:
        InvalidStreamError: It is not, or there is none.
    """
    async for request in requests:
        kind = request.WhichOneof("part")
        if kind == "header":
            return request.header
        raise _wrong_order("header", str(kind))
    raise _wrong_order("header", "nothing")


def sync_header(message: file_sync_pb2.SyncFilesHeader) -> SyncHeader:
    """Return where and how to sync.

    Raises:
        NotImplementedYetError: It asks for what this version does not serve.
        InvalidPathError: The root is no path.
    """
    refuse_fields(message, "auto_resume")
    if any(pattern.startswith("!") for pattern in message.excludes):
        raise unserved("excludes: a pattern that begins with !")
    full = message.verify == file_sync_pb2.SYNC_VERIFY_FULL
    mirror = message.mode == file_sync_pb2.SYNC_MODE_MIRROR
    at_home = message.root == _HOME
    return SyncHeader(
        root=_HOME if at_home else paths.in_sandbox(message.root, "header.root"),
        sync_id=message.sync_id,
        mode=SyncMode.MIRROR if mirror else SyncMode.PATCH,
        verify=SyncVerify.FULL if full else SyncVerify.CHANGED,
        excludes=tuple(message.excludes),
        if_root_digest=message.if_root_digest if message.HasField("if_root_digest") else None,
        user=message.user,
        reload_digest=_reload_digest(message),
    )


def reload_spec(message: file_sync_pb2.SyncFilesHeader) -> ExecSpec | None:
    """Return what to run after the sync, if anything.

    Its `cwd` is absolute, or relative to the root and then perhaps empty.

    Raises:
        NotImplementedYetError: It is to run on by itself.
        InvalidPathError: `cwd` is no path, or leaves the root.
    """
    if not message.HasField("reload"):
        return None
    reload = message.reload
    refuse_fields(reload, "detach")
    return ExecSpec(
        program=execs.program(reload.program),
        exec_id=reload.exec_id,
        cwd=_reload_cwd(reload.cwd),
        env=dict(reload.env),
        user=reload.user or message.user,
        timeout=times.optional_duration(reload, "timeout") or _RELOAD_TIMEOUT,
    )


async def parts(requests: Requests) -> AsyncIterator[SyncPart]:
    """Yield what follows the header.

    Raises:
        InvalidStreamError: A part came where it may not come.
    """
    allowed: tuple[str, ...] = (*_ENTRIES, "delete")
    async for request in requests:
        kind = str(request.WhichOneof("part"))
        if kind not in allowed:
            raise _wrong_order(", ".join(allowed), kind)
        if kind == "delete":
            allowed = ("delete",)
        elif kind == "file":
            allowed = ("data", *_ENTRIES, "delete")
        elif kind != "data":
            allowed = (*_ENTRIES, "delete")
        yield _part(request)


def response(receipt: SyncReceipt, after: After) -> file_sync_pb2.SyncFilesResponse:
    """Return the receipt as the contract has it."""
    kinds = (
        (receipt.added, file_sync_pb2.CHANGE_KIND_ADDED),
        (receipt.modified, file_sync_pb2.CHANGE_KIND_MODIFIED),
        (receipt.deleted, file_sync_pb2.CHANGE_KIND_DELETED),
    )
    changes = [(path, kind) for paths_, kind in kinds for path in paths_]
    shown = nsmallest(_CHANGES_MAX, changes, key=lambda it: it[0].encode())
    return file_sync_pb2.SyncFilesResponse(
        sync_id=receipt.sync_id,
        reused=receipt.repeated,
        root=receipt.root,
        added=len(receipt.added),
        modified=len(receipt.modified),
        deleted=len(receipt.deleted),
        unchanged=receipt.unchanged,
        changes=[file_sync_pb2.PathChange(path=path, kind=kind) for path, kind in shown],
        changes_truncated=len(changes) > _CHANGES_MAX,
        received_bytes=receipt.content_bytes,
        written_bytes=receipt.written_bytes,
        root_digest=receipt.root_digest,
        reload=None if after.reloaded is None else _reload_result(after.reloaded),
        preview_state=enums.preview_state(after.preview_state),
        user=receipt.user,
        timings=[
            outcome_pb2.PhaseTiming(phase=phase, duration=times.duration(took))
            for phase, took in (("upload", receipt.uploading), ("apply", receipt.applying))
        ],
    )


def _part(request: file_sync_pb2.SyncFilesRequest) -> SyncPart:
    match request.WhichOneof("part"):
        case "data":
            return SyncData(request.data)
        case "file":
            return _file(request.file)
        case "link":
            return SyncLink(request.link.path, request.link.target)
        case "directory":
            directory = request.directory
            mode = directory.mode if directory.HasField("mode") else None
            return SyncDirectory(directory.path, mode)
        case "delete":
            return SyncDelete(request.delete.path)
        case kind:
            raise AssertionError(kind)


def _reload_cwd(cwd: str) -> str:
    if not cwd or cwd.startswith("/"):
        return paths.absolute(cwd, "header.reload.cwd") if cwd else ""
    # As if the root were the whole file system: no way out of it, and normalised.
    return paths.absolute(f"/{cwd}", "header.reload.cwd").removeprefix("/")


def _reload_digest(message: file_sync_pb2.SyncFilesHeader) -> bytes:
    if not message.HasField("reload"):
        return b""
    return hashlib.sha256(message.reload.SerializeToString(deterministic=True)).digest()


def _file(file: file_sync_pb2.SyncFileHeader) -> SyncFile:
    if file.unchanged:
        raise unserved("file.unchanged")
    return SyncFile(
        path=file.path,
        size=file.size,
        mode=file.mode if file.HasField("mode") else None,
        sha256=file.sha256,
        mtime=times.from_timestamp(file.modify_time) if file.HasField("modify_time") else None,
    )


def _reload_result(it: Reloaded) -> file_sync_pb2.ReloadResult:
    exited = it.exited
    return file_sync_pb2.ReloadResult(
        exec_id=exited.exec_id,
        cause=enums.cause(exited.cause.value),
        fault=enums.fault(exited.fault.value),
        exit_code=exited.exit_code,
        signal=exited.signal or None,
        output_tail=it.output_tail,
        duration=times.duration(it.took),
        verdict=policy.verdict(it.verdict),
    )


def _wrong_order(expected: str, received: str) -> InvalidStreamError:
    return InvalidStreamError(
        f"The stream's next message has to be {expected}, and {received} came.",
        metadata={"expected": expected, "received": received},
    )
