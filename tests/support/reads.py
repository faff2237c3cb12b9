"""What ReadFile, ListFiles and DownloadTree answer, with what holds for every stream checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from miosa.sandbox import v1 as pb

from tests.support.calls import Box
from tests.support.trees import Entry, File, Folder, Link

PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Read:
    """A file from its first message to its last."""

    info: pb.FileInfo
    data: bytes
    summary: pb.ReadFileSummary


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A tree from its first message to its last.

    Attributes:
        files: Of each file what was told before its content.
    """

    root: str
    tree: dict[str, Entry]
    files: dict[str, pb.SyncFileHeader]
    summary: pb.DownloadTreeSummary


def opened(box: Box, path: str, **fields: Any) -> Any:
    """Begin to read a file; returns the call."""
    request = pb.ReadFileRequest(sandbox_id=box.sandbox_id, path=path, **fields)
    return box.client.call("ReadFile", request)


async def read(box: Box, path: str, **fields: Any) -> Read:
    """Read a file."""
    first, *middle, last = [it async for it in opened(box, path, **fields)]
    pieces = [it.data for it in middle]
    data = b"".join(pieces)

    assert first.WhichOneof("part") == "info"
    assert all(it.WhichOneof("part") == "data" for it in middle)
    assert all(1 <= len(it) <= PIECE for it in pieces)
    assert last.WhichOneof("part") == "summary"
    assert last.summary.sent_bytes == len(data)
    assert last.summary.sha256 == hashlib.sha256(data).digest()
    return Read(first.info, data, last.summary)


async def page(box: Box, path: str, **fields: Any) -> pb.ListFilesResponse:
    """List a page of a folder."""
    request = pb.ListFilesRequest(sandbox_id=box.sandbox_id, path=path, **fields)
    return await box.client.call("ListFiles", request)


async def listed(box: Box, path: str, **fields: Any) -> list[pb.FileInfo]:
    """List a folder, page by page."""
    found: list[pb.FileInfo] = []
    token = ""
    while True:
        answer = await page(box, path, page_token=token, **fields)
        found += answer.files
        token = answer.next_page_token
        if not token:
            return found


def downloading(box: Box, root: str, **fields: Any) -> Any:
    """Begin to bring a tree out; returns the call."""
    request = pb.DownloadTreeRequest(sandbox_id=box.sandbox_id, root=root, **fields)
    return box.client.call("DownloadTree", request)


async def download(box: Box, root: str, **fields: Any) -> Downloaded:
    """Bring a tree out."""
    first, *middle, last = [it async for it in downloading(box, root, **fields)]
    assert first.WhichOneof("part") == "header"
    assert last.WhichOneof("part") == "summary"

    tree: dict[str, Entry] = {}
    files: dict[str, pb.SyncFileHeader] = {}
    current = ""
    for part in middle:
        kind = part.WhichOneof("part")
        if kind == "data":
            assert 1 <= len(part.data) <= PIECE
            before = tree[current]
            tree[current] = File(before.content + part.data, before.mode)
            continue
        told = getattr(part, kind)
        parent = told.path.rpartition("/")[0]
        assert not parent or isinstance(tree[parent], Folder)
        assert told.path not in tree
        current = told.path
        match kind:
            case "file":
                files[current] = told
                tree[current] = File(b"", told.mode)
            case "link":
                tree[current] = Link(told.target)
            case "directory":
                tree[current] = Folder(told.mode)
            case _:
                raise AssertionError(kind)
    for path, told in files.items():
        assert told.size == len(tree[path].content)
        assert told.sha256 == hashlib.sha256(tree[path].content).digest()
    assert last.summary.entry_count == len(tree)
    assert last.summary.sent_bytes == sum(it.size for it in files.values())
    return Downloaded(first.header.root, tree, files, last.summary)
