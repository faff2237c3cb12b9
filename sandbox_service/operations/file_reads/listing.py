"""Listing a folder, page by page."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from sandbox_service.domain.errors import BackendError
from sandbox_service.domain.file_reads import FileInfo, FolderPage, FolderQuery
from sandbox_service.domain.files import EntryKind
from sandbox_service.domain.limits import MIB
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.operations import page_tokens
from sandbox_service.operations.file_reads.script_output import running, text
from sandbox_service.operations.file_reads.tar_entries import point_in_time

_PAGE_BYTES_MAX: Final = 3 * MIB
"""A page with long names ends early: it is one message."""

_ENTRY_BYTES: Final = 64
"""What an entry takes in a message beside its texts, about."""

_KINDS: Final = {b"f": EntryKind.FILE, b"d": EntryKind.DIRECTORY, b"l": EntryKind.LINK}


async def list_folder(provider: SandboxProvider, sandbox_id: str, query: FolderQuery) -> FolderPage:
    """Return a page of what is in a folder; see `FileReads.list`."""
    asked = repr((query.path, query.depth, query.user)).encode()
    mark = f"{sandbox_id}/{hashlib.sha256(asked).hexdigest()[:16]}"
    after = page_tokens.decode_path(query.page_token, mark)
    arguments = (
        query.path,
        str(query.depth),
        str(query.page_size),
        base64.b64encode(after).decode(),
    )
    async with running(provider, sandbox_id, "list.sh", arguments, query.user) as output:
        if await output.word() != b"=folder":
            raise BackendError("What the sandbox answered cannot be read. Repeat the call.")
        folder = await output.field()
        if await output.word() != b"=next":
            raise BackendError("What the sandbox answered cannot be read. Repeat the call.")
        page = _Page(folder.rstrip(b"/"), await output.field())
        while not page.full and (kind := await output.word()) != b"=end":
            page.add(kind, [await output.field() for _ in range(7)])
        if not page.full:
            await output.finish()
    return FolderPage(
        files=tuple(page.files),
        next_page_token=page_tokens.encode_path(page.next, mark) if page.next else "",
        unnameable=page.unnameable,
    )


class _Page:
    """A page that is being read.

    Args:
        folder: The real path of the folder, without a slash at its end.
        following: The path behind which the next page begins, as the script says.
    """

    def __init__(self, folder: bytes, following: bytes) -> None:
        self._folder = folder
        self._size = 0
        self.next = following.removeprefix(b"./")
        self.files: list[FileInfo] = []
        self.unnameable = 0
        self.full = False

    def add(self, kind: bytes, fields: list[bytes]) -> None:
        """Add an entry, given as list.sh writes it."""
        size, mode, mtime, user, group, path, target = fields
        path = path.removeprefix(b"./")
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
        if self._size > _PAGE_BYTES_MAX:
            self.full, self.next = True, path
