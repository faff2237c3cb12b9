"""The operations that bring files out of sandboxes. They change nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from sandbox_service.domain.file_reads import (
    FileRange,
    FolderPage,
    FolderQuery,
    ReadPart,
    TreePart,
    TreeQuery,
)
from sandbox_service.domain.files import SyncData
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.sandboxes import SandboxRecord
from sandbox_service.operations.file_reads.download import download_tree
from sandbox_service.operations.file_reads.listing import list_folder
from sandbox_service.operations.file_reads.reading import read_file
from sandbox_service.operations.file_reads.windows import Windows


class FileReads:
    """Reads files, folders and trees of sandboxes.

    Each is one command in the sandbox, run as the user that is asked for, so
    that the kernel there decides what may be read. Its output is read no faster
    than it is wanted, and stops when it is wanted no more.

    Args:
        provider: Where the sandboxes are.
        on_sent: Told how many bytes of content went out, piece by piece.
    """

    def __init__(
        self, provider: SandboxProvider, *, on_sent: Callable[[int], None] | None = None
    ) -> None:
        self._provider = provider
        self._on_sent = on_sent
        self._windows = Windows()

    async def read(self, record: SandboxRecord, what: FileRange) -> AsyncGenerator[ReadPart, None]:
        """Yield what a file is, then its bytes, then what was sent.

        The bytes are those of the file that was opened: it may meanwhile be
        renamed, deleted, or grow behind the range.

        Args:
            record: A running sandbox of the caller.
            what: Which bytes.

        Raises:
            FileNotFoundInSandboxError: There is no such file.
            NotAFileError: It is a folder, a pipe, a socket or a device.
            FileNotAccessibleError: The user may not read it.
            UserNotFoundError: There is no such user.
            PositionOutOfRangeError: It is shorter than the offset.
            FileChangedError: The range was written to on the way.
            BackendUnavailableError: Contact was lost. Read on by offset.
        """
        async with aclosing(read_file(self._provider, record.sandbox_id, what)) as parts:
            async for part in parts:
                if isinstance(part, bytes):
                    self._sent(part)
                yield part

    async def list(self, record: SandboxRecord, query: FolderQuery) -> FolderPage:
        """Return a page of what is in a folder, in byte order of the paths.

        Folders below it that the user may not read are listed without what is
        in them. The first page shows the folder as it is; later ones may show
        it as it was some seconds before.

        Args:
            record: A running sandbox of the caller.
            query: Which page.

        Raises:
            InvalidPageTokenError: The token is none of this list's.
            FileNotFoundInSandboxError: There is no such folder.
            NotAFileError: It is no folder.
            FileNotAccessibleError: The user may not read it.
            UserNotFoundError: There is no such user.
            BackendUnavailableError: Contact was lost.
        """
        return await list_folder(self._provider, record.sandbox_id, query, self._windows)

    async def download(
        self, record: SandboxRecord, query: TreeQuery
    ) -> AsyncGenerator[TreePart, None]:
        """Yield a tree's root, its entries, each file followed by its content, and a summary.

        A file is hashed in the sandbox before it is sent, and its content has
        that hash, or the call fails.

        Args:
            record: A running sandbox of the caller.
            query: Which tree.

        Raises:
            InvalidRequestError: A pattern cannot be understood.
            InvalidPathError: The root is the whole file system.
            FileNotFoundInSandboxError: There is no such folder.
            NotAFileError: It is no folder.
            FileNotAccessibleError: The user may not read all of it.
            UserNotFoundError: There is no such user.
            FileChangedError: A file changed on the way.
            PayloadTooLargeError: It has too many entries.
            BackendUnavailableError: Contact was lost.
        """
        async with aclosing(download_tree(self._provider, record.sandbox_id, query)) as parts:
            async for part in parts:
                if isinstance(part, SyncData):
                    self._sent(part.data)
                yield part

    def _sent(self, data: bytes) -> None:
        if self._on_sent is not None:
            self._on_sent(len(data))
