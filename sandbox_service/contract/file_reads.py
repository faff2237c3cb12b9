"""Files out of a sandbox: requests to what is asked for, parts of answers to messages."""

from __future__ import annotations

from typing import Final

from miosa.sandbox.v1 import file_read_pb2, file_sync_pb2

from sandbox_service.contract import times
from sandbox_service.domain import paths
from sandbox_service.domain.file_reads import (
    FileInfo,
    FileRange,
    FolderPage,
    FolderQuery,
    ReadPart,
    TreePart,
    TreeQuery,
    TreeRoot,
    TreeSummary,
)
from sandbox_service.domain.files import SyncData, SyncDirectory, SyncFile, SyncLink

_PAGE: Final = 1000
_HOME: Final = "."


def file_range(request: file_read_pb2.ReadFileRequest) -> FileRange:
    """Return which bytes of a file to read.

    Raises:
        InvalidPathError: The path is none.
    """
    return FileRange(
        path=paths.in_sandbox(request.path, "path"),
        offset=request.offset,
        length=request.length if request.HasField("length") else None,
        user=request.user,
    )


def folder_query(request: file_read_pb2.ListFilesRequest) -> FolderQuery:
    """Return which page of which folder to list.

    Raises:
        InvalidPathError: The path is none.
    """
    return FolderQuery(
        path=_folder(request.path, "path"),
        depth=request.depth if request.HasField("depth") else 1,
        page_size=request.page_size or _PAGE,
        page_token=request.page_token,
        user=request.user,
    )


def tree_query(request: file_read_pb2.DownloadTreeRequest) -> TreeQuery:
    """Return which tree to bring out.

    Raises:
        InvalidPathError: The root is no path.
    """
    return TreeQuery(
        root=_folder(request.root, "root"), excludes=tuple(request.excludes), user=request.user
    )


def read_response(part: ReadPart) -> file_read_pb2.ReadFileResponse:
    """Return one part of a file."""
    match part:
        case FileInfo():
            return file_read_pb2.ReadFileResponse(info=_file_info(part))
        case bytes():
            return file_read_pb2.ReadFileResponse(data=part)
    summary = file_read_pb2.ReadFileSummary(sent_bytes=part.sent_bytes, sha256=part.sha256)
    return file_read_pb2.ReadFileResponse(summary=summary)


def list_response(page: FolderPage) -> file_read_pb2.ListFilesResponse:
    """Return a page of what is in a folder."""
    return file_read_pb2.ListFilesResponse(
        files=[_file_info(it) for it in page.files],
        next_page_token=page.next_page_token,
        unnameable_count=page.unnameable,
    )


def tree_response(part: TreePart) -> file_read_pb2.DownloadTreeResponse:
    """Return one part of a tree."""
    response = file_read_pb2.DownloadTreeResponse
    match part:
        case SyncData(data):
            return response(data=data)
        case SyncFile():
            return response(file=_tree_file(part))
        case SyncDirectory(path, mode):
            return response(directory=file_sync_pb2.SyncDirectory(path=path, mode=mode))
        case SyncLink(path, target):
            return response(link=file_sync_pb2.SyncLink(path=path, target=target))
        case TreeRoot(path):
            return response(header=file_read_pb2.DownloadTreeHeader(root=path))
        case TreeSummary():
            summary = file_read_pb2.DownloadTreeSummary(
                entry_count=part.entries,
                sent_bytes=part.sent_bytes,
                root_digest=part.root_digest,
                skipped_count=part.skipped,
            )
            return response(summary=summary)


def _folder(path: str, field: str) -> str:
    return path if path == _HOME else paths.in_sandbox(path, field)


def _file_info(info: FileInfo) -> file_read_pb2.FileInfo:
    return file_read_pb2.FileInfo(
        path=info.path,
        kind=f"ENTRY_KIND_{info.kind.name}",
        size=info.size,
        mode=info.mode,
        modify_time=None if info.modify_time is None else times.timestamp(info.modify_time),
        link_target=info.link_target,
        user=info.user,
        group=info.group,
    )


def _tree_file(file: SyncFile) -> file_sync_pb2.SyncFileHeader:
    return file_sync_pb2.SyncFileHeader(
        path=file.path,
        mode=file.mode,
        size=file.size,
        sha256=file.sha256,
        modify_time=None if file.mtime is None else times.timestamp(file.mtime),
    )
