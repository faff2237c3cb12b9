"""Listing a folder, page by page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from sandbox_service.domain.errors import BackendError
from sandbox_service.domain.file_reads import FileInfo, FolderPage, FolderQuery
from sandbox_service.domain.files import EntryKind
from sandbox_service.domain.limits import KIB, MIB
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.operations import page_tokens
from sandbox_service.operations.file_reads.script_output import (
    FIELD_BYTES_MAX,
    ScriptOutput,
    running,
    text,
)
from sandbox_service.operations.file_reads.tar_entries import point_in_time
from sandbox_service.operations.file_reads.windows import Window, Windows

_PAGE_BYTES_MAX: Final = 3 * MIB
"""A page with long names ends early: it is one message."""

_WINDOW_BYTES_MAX: Final = 3 * MIB
_WINDOW_ENTRIES: Final = 10_000
"""What is listed for a page that is not the first: whoever turns one page will turn more."""

_ENTRY_BYTES: Final = 64
"""What an entry takes in a message beside its texts, about."""

_FIELDS: Final = 8
_PATH: Final = 6
_PIECE_BYTES: Final = 64 * KIB
_KINDS: Final = {b"f": EntryKind.FILE, b"d": EntryKind.DIRECTORY, b"l": EntryKind.LINK}


async def list_folder(
    provider: SandboxProvider, sandbox_id: str, query: FolderQuery, windows: Windows
) -> FolderPage:
    """Return a page of what is in a folder; see `FileReads.list`."""
    asked = repr((query.path, query.depth, query.user)).encode()
    mark = f"{sandbox_id}/{hashlib.sha256(asked).hexdigest()[:16]}"
    after = page_tokens.decode_path(query.page_token, mark)
    window = windows.find(mark, after) if after else None
    if window is None:
        most = max(query.page_size, _WINDOW_ENTRIES) if after else query.page_size
        window = await _listed(provider, sandbox_id, query, after, most)
        if after:
            windows.keep(mark, window)
    page = _Page(window, after, query.page_size)
    return FolderPage(
        files=tuple(page.files),
        next_page_token=page_tokens.encode_path(page.next, mark) if page.next else "",
        unnameable=page.unnameable,
    )


async def _listed(
    provider: SandboxProvider, sandbox_id: str, query: FolderQuery, after: bytes, most: int
) -> Window:
    """List a folder from behind a path, as many entries as are asked for or go into a window."""
    arguments = (query.path, str(query.depth), str(most), base64.b64encode(after).decode())
    async with running(provider, sandbox_id, "list.sh", arguments, query.user) as output:
        if await output.word() != b"=folder":
            raise _unreadable()
        folder = (await output.field()).rstrip(b"/")
        if await output.word() != b"=next":
            raise _unreadable()
        following = (await output.field()).removeprefix(b"./")
        paths: list[bytes] = []
        entries: list[list[bytes]] = []
        size = 0
        async with aclosing(_entries(output)) as found:
            async for entry in found:
                path = entry[_PATH] = entry[_PATH].removeprefix(b"./")
                paths.append(path)
                entries.append(entry)
                size += _ENTRY_BYTES + sum(map(len, entry))
                if size > _WINDOW_BYTES_MAX:
                    following = path
                    break
    return Window(folder, after, paths, entries, following)


async def _entries(output: ScriptOutput) -> AsyncGenerator[list[bytes], None]:
    """Yield the fields of each entry, up to the end of the list."""
    fields: list[bytes] = []
    held = b""
    while piece := await output.stdout.some(_PIECE_BYTES):
        *whole, held = (held + piece).split(b"\0")
        fields += whole
        at = 0
        while at < len(fields) and fields[at] != b"=end":
            if at + _FIELDS > len(fields):
                break
            yield fields[at : at + _FIELDS]
            at += _FIELDS
        fields = fields[at:]
        if fields[:1] == [b"=end"]:
            if held or len(fields) > 1:
                raise _unreadable()
            await output.finish()
            return
        if len(held) > FIELD_BYTES_MAX:
            raise _unreadable()
    raise _unreadable()


class _Page:
    """A page of a window.

    Args:
        window: Where it begins.
        after: The path behind which it does.
        most: The most entries.
    """

    def __init__(self, window: Window, after: bytes, most: int) -> None:
        self._folder = window.folder
        self._size = 0
        self.files: list[FileInfo] = []
        self.unnameable = 0
        begin = window.begin(after)
        end = begin
        while end < len(window.entries) and end < begin + most and self._size <= _PAGE_BYTES_MAX:
            self._add(window.entries[end])
            end += 1
        self.next = window.paths[end - 1] if end < len(window.entries) else window.following

    def _add(self, entry: list[bytes]) -> None:
        kind, size, mode, mtime, user, group, path, target = entry
        try:
            shown = b"%b/%b" % (self._folder, path)
            info = FileInfo(
                path=shown.decode(),
                kind=_KINDS.get(kind, EntryKind.OTHER),
                size=int(size) if kind == b"f" else 0,
                mode=int(mode, 8),
                modify_time=point_in_time(mtime),
                link_target=text(target),
                user=text(user),
                group=text(group),
            )
        except UnicodeDecodeError:
            self.unnameable += 1
            return
        except ValueError:
            raise BackendError("What the sandbox says of a file cannot be read.") from None
        self.files.append(info)
        self._size += _ENTRY_BYTES + sum(map(len, (shown, target, user, group)))


def _unreadable() -> BackendError:
    return BackendError("What the sandbox answered cannot be read. Repeat the call.")
