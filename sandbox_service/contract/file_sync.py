"""File syncs: the stream of requests to parts, receipts to messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from heapq import nsmallest
from typing import Final, TypeVar

from google.protobuf.message import DecodeError
from miosa.sandbox.v1 import file_plan_pb2, file_sync_pb2, outcome_pb2

from sandbox_service.contract import enums, times
from sandbox_service.contract.reloads import reload_digest, reload_result
from sandbox_service.domain import paths
from sandbox_service.domain.errors import InvalidStreamError
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
from sandbox_service.operations.reloads import After

_CHANGES_MAX: Final = 1000
_HOME: Final = "."

_ENTRIES: Final = ("file", "link", "directory")

Requests = AsyncIterator[file_sync_pb2.SyncFilesRequest]
_Request = TypeVar("_Request", file_sync_pb2.SyncFilesRequest, file_plan_pb2.PlanSyncRequest)


async def header_first(requests: AsyncIterator[_Request]) -> _Request:
    """Return the first message of a sync or a plan, which has to be the one with the header.

    Raises:
        InvalidStreamError: It is not, or there is none.
    """
    async for request in requests:
        kind = request.WhichOneof("part")
        if kind == "header":
            return request
        raise wrong_order("header", str(kind))
    raise wrong_order("header", "nothing")


def sync_header(message: file_sync_pb2.SyncFilesHeader) -> SyncHeader:
    """Return where and how to sync.

    Raises:
        InvalidPathError: The root is no path.
    """
    mirror = message.mode == file_sync_pb2.SYNC_MODE_MIRROR
    return SyncHeader(
        root=root(message.root),
        sync_id=message.sync_id,
        mode=SyncMode.MIRROR if mirror else SyncMode.PATCH,
        verify=verify(message.verify),
        excludes=tuple(message.excludes),
        if_root_digest=message.if_root_digest if message.HasField("if_root_digest") else None,
        user=message.user,
        reload_digest=reload_digest(message),
    )


def root(value: str) -> str:
    """Return the root that a header names.

    Raises:
        InvalidPathError: It is no path.
    """
    return _HOME if value == _HOME else paths.in_sandbox(value, "header.root")


def verify(value: int) -> SyncVerify:
    """Return how to find out what the sandbox has."""
    full = value == file_sync_pb2.SYNC_VERIFY_FULL
    return SyncVerify.FULL if full else SyncVerify.CHANGED


async def parts(requests: Requests) -> AsyncIterator[SyncPart]:
    """Yield what follows the header.

    Raises:
        InvalidStreamError: A part came where it may not come.
    """
    order = _Order()
    async for request in requests:
        kind = str(request.WhichOneof("part"))
        if kind != "entries":
            order.take(kind, data_follows=kind == "data" or not request.file.unchanged)
            yield SyncData(request.data) if kind == "data" else _part(kind, request)
            continue
        for entry in request.entries.entries:
            inner = str(entry.WhichOneof("entry"))
            order.take(inner, data_follows=bool(entry.data) and not entry.file.unchanged)
            yield _part(inner, entry)
            if entry.data:
                order.take("data", data_follows=False)
                yield SyncData(entry.data)


class _Order:
    """Which parts may come, from one to the next."""

    def __init__(self) -> None:
        self._expected: tuple[str, ...] = (*_ENTRIES, "delete")

    def take(self, kind: str, *, data_follows: bool) -> None:
        """Note what came.

        Args:
            kind: The part.
            data_follows: Whether data may follow, if this is a file or data.

        Raises:
            InvalidStreamError: It may not come here.
        """
        if kind not in self._expected:
            raise wrong_order(", ".join(self._expected), kind)
        if kind == "delete":
            self._expected = ("delete",)
        elif kind in ("file", "data") and data_follows:
            self._expected = ("data", *_ENTRIES, "delete")
        else:
            self._expected = (*_ENTRIES, "delete")


def response(
    receipt: SyncReceipt, after: After, stored_reload: file_sync_pb2.ReloadResult | None
) -> file_sync_pb2.SyncFilesResponse:
    """Return the receipt as the contract has it.

    Args:
        receipt: It.
        after: What followed.
        stored_reload: What a stored receipt says of the reload action.
    """
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
        others=receipt.others,
        reload=stored_reload if after.reloaded is None else reload_result(after.reloaded),
        preview_state=enums.preview_state(after.preview_state),
        user=receipt.user,
        timings=[
            outcome_pb2.PhaseTiming(phase=phase, duration=times.duration(took))
            for phase, took in receipt.timings
        ],
    )


def stored_reload(receipt: SyncReceipt) -> file_sync_pb2.ReloadResult | None:
    """Return what a stored receipt says of the reload action. None: nothing whole."""
    with suppress(DecodeError):
        if receipt.reload_result:
            return file_sync_pb2.ReloadResult.FromString(receipt.reload_result)
    return None


def reload_to_keep(after: After) -> bytes:
    """Return what is to be kept of a reload action with its receipt. Empty: nothing.

    What could not start is tried again by a repeated call, so it is not kept.
    """
    done = after.reloaded
    return b"" if done is None or done.refusal else reload_result(done).SerializeToString()


def _part(kind: str, message: file_sync_pb2.SyncFilesRequest | file_sync_pb2.SyncEntry) -> SyncPart:
    match kind:
        case "file":
            return _file(message.file)
        case "link":
            return SyncLink(message.link.path, message.link.target)
        case "directory":
            directory = message.directory
            mode = directory.mode if directory.HasField("mode") else None
            return SyncDirectory(directory.path, mode)
        case "delete":
            return SyncDelete(message.delete.path)
        case _:
            raise AssertionError(kind)


def _file(file: file_sync_pb2.SyncFileHeader) -> SyncFile:
    return SyncFile(
        path=file.path,
        size=file.size,
        mode=file.mode if file.HasField("mode") else None,
        sha256=file.sha256,
        mtime=times.from_timestamp(file.modify_time) if file.HasField("modify_time") else None,
        unchanged=file.unchanged,
    )


def wrong_order(expected: str, received: str) -> InvalidStreamError:
    """Return the error for a message that came where another one has to."""
    return InvalidStreamError(
        f"The stream's next message has to be {expected}, and {received} came.",
        metadata={"expected": expected, "received": received},
    )
