"""Bringing a tree out of a sandbox."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from sandbox_service.domain.errors import BackendError, PayloadTooLargeError
from sandbox_service.domain.file_errors import FileChangedError
from sandbox_service.domain.file_reads import TreePart, TreeQuery, TreeRoot, TreeSummary
from sandbox_service.domain.files import (
    SyncData,
    SyncDirectory,
    SyncFile,
    SyncLink,
    file_record,
    folder_record,
    link_record,
    root_digest,
)
from sandbox_service.domain.limits import MIB, OUTPUT_FRAME_BYTES
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.operations.file_reads.script_output import ScriptOutput, running, text
from sandbox_service.operations.file_reads.tar_entries import (
    TarEntry,
    TarKind,
    TarReader,
    point_in_time,
)
from sandbox_service.operations.file_sync.excludes import Excludes
from sandbox_service.operations.file_sync.script import expressions

_BATCH_FILES_MAX: Final = 256
_HASH_DIGITS: Final = 64
_DIGITS_MAX: Final = 18

RECORDS_BYTES_MAX: Final = 32 * MIB
"""All paths, targets and hashes of one tree: what is kept in memory of it, for its digest."""

_MODE_MAX: Final = 0o7777


async def download_tree(
    provider: SandboxProvider, sandbox_id: str, query: TreeQuery
) -> AsyncGenerator[TreePart, None]:
    """Yield a tree; see `FileReads.download`."""
    arguments = (query.root, *expressions(Excludes(query.excludes, "excludes")))
    async with running(provider, sandbox_id, "download.sh", arguments, query.user) as output:
        if await output.word() != b"=root":
            raise _unreadable()
        tree = _Tree(text(await output.field()))
        yield TreeRoot(tree.root)
        while (word := await output.word()) == b"=batch":
            async with aclosing(_batch(output, tree)) as parts:
                async for part in parts:
                    yield part
        if word != b"=end":
            raise _unreadable()
        skipped = await _number(output)
        await output.finish()
        yield tree.summary(skipped)


async def _batch(output: ScriptOutput, tree: _Tree) -> AsyncGenerator[TreePart, None]:
    """Yield a batch of entries, each file followed by its content."""
    missing = await _number(output)
    hashes = await _hashes(output)
    archive = TarReader(output.stdout)
    while (entry := await archive.entry()) is not None:
        missing -= 1
        content = archive.content(OUTPUT_FRAME_BYTES)
        async with aclosing(content), aclosing(_entry(tree, entry, hashes, content)) as parts:
            async for part in parts:
                yield part
    while (word := await output.word()) == b"=file":
        missing -= 1
        entry = await _entry_alone(output, hashes)
        content = output.stdout.pieces(entry.size, OUTPUT_FRAME_BYTES)
        async with aclosing(content), aclosing(_entry(tree, entry, hashes, content)) as parts:
            async for part in parts:
                yield part
    if word != b"=gone":
        raise _unreadable()
    if await _number(output) != missing:
        # Something has vanished and come again.
        raise tree.changed(b"")


async def _entry(
    tree: _Tree,
    entry: TarEntry,
    hashes: dict[bytes, bytes],
    content: AsyncGenerator[bytes, None],
) -> AsyncGenerator[TreePart, None]:
    """Yield how an entry is told, and the content of a file; nothing if it is left out."""
    digest = hashlib.sha256()
    head = tree.add(entry, hashes)
    if head is not None:
        yield head
    async for piece in content:
        if head is not None:
            digest.update(piece)
            yield SyncData(piece)
    if isinstance(head, SyncFile):
        tree.end_file(head, digest.digest())


async def _entry_alone(output: ScriptOutput, hashes: dict[bytes, bytes]) -> TarEntry:
    """Return a file that comes without an archive. Its hash takes the place of the earlier one."""
    path, size, mode, mtime, digest = [await output.field() for _ in range(5)]
    try:
        hashes[path] = bytes.fromhex(digest.decode())
        if not size.isdigit():
            raise _unreadable()
        return TarEntry(
            kind=TarKind.FILE,
            path=path,
            size=int(size),
            mode=int(mode, 8) & _MODE_MAX,
            mtime=point_in_time(mtime),
            target=b"",
        )
    except ValueError:
        raise _unreadable() from None


class _Tree:
    """What has been sent of a tree so far.

    Whatever the sandbox says, what is sent can be made by one who makes it in
    order: each entry lies in a folder that was sent before it, and nothing
    comes twice.

    Args:
        root: Its path.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._records: list[bytes] = []
        self._records_bytes = 0
        self._sent_bytes = 0
        self._skipped = 0
        self._folders: set[str] = set()
        self._others: set[str] = set()

    def add(
        self, entry: TarEntry, hashes: dict[bytes, bytes]
    ) -> SyncFile | SyncLink | SyncDirectory | None:
        """Return how an entry is told. None: it is left out.

        Args:
            entry: Its path begins with `./`.
            hashes: By path, of the files to come; that of this one is taken out.

        Raises:
            FileChangedError: It is not what it was when it was listed.
            PayloadTooLargeError: The tree has more entries than can be counted.
        """
        sha256 = hashes.pop(entry.path, None)
        try:
            path = entry.path.decode()
            target = entry.target.decode()
        except UnicodeDecodeError:
            self._skipped += 1
            return None
        path = self._placed(path)
        if entry.kind is not TarKind.FOLDER:
            self._others.add(path)
        if entry.kind is TarKind.LINK:
            self._count(link_record(path, target))
            return SyncLink(path, target)
        if entry.kind is TarKind.FOLDER:
            self._folders.add(path)
            self._count(folder_record(path, entry.mode))
            return SyncDirectory(path, entry.mode)
        if sha256 is None:
            raise self.changed(entry.path)
        self._count(file_record(path, entry.mode, sha256))
        return SyncFile(
            path=path, size=entry.size, mode=entry.mode, sha256=sha256, mtime=entry.mtime
        )

    def end_file(self, file: SyncFile, sha256: bytes) -> None:
        """Count a file whose content has been sent.

        Raises:
            FileChangedError: The content is not what was announced.
        """
        if file.sha256 != sha256:
            raise self.changed(file.path.encode())
        self._sent_bytes += file.size

    def summary(self, skipped: int) -> TreeSummary:
        """Return what was sent.

        Args:
            skipped: What the sandbox has left out beside.
        """
        return TreeSummary(
            entries=len(self._records),
            sent_bytes=self._sent_bytes,
            root_digest=root_digest(self._records),
            skipped=self._skipped + skipped,
        )

    def changed(self, path: bytes) -> FileChangedError:
        """Return the error for a file that changed on the way. Without a path: for some entry."""
        whole = f"{self.root}/{text(path.removeprefix(b'./'))}" if path else self.root
        return FileChangedError(
            f"{whole!r} changed while the tree was read. Begin again.", metadata={"path": whole}
        )

    def _placed(self, path: str) -> str:
        """Return a path without `./`, once it is known to lie in a folder that was sent."""
        path = path.removeprefix("./")
        names = path.split("/")
        if any(name in ("", ".", "..") for name in names):
            raise _unreadable()
        folder = path.rpartition("/")[0]
        if folder and folder not in self._folders:
            raise self.changed(path.encode())
        if path in self._folders or path in self._others:
            raise self.changed(path.encode())
        return path

    def _count(self, record: bytes) -> None:
        self._records.append(record)
        self._records_bytes += len(record)
        if self._records_bytes > RECORDS_BYTES_MAX:
            raise PayloadTooLargeError(
                "The tree has too many entries for one call. Exclude some, or take its folders "
                "one by one.",
                metadata={"field": "root", "limit": str(RECORDS_BYTES_MAX)},
            )


async def _number(output: ScriptOutput) -> int:
    digits = await output.field()
    if not digits.isdigit() or len(digits) > _DIGITS_MAX:
        raise _unreadable()
    return int(digits)


async def _hashes(output: ScriptOutput) -> dict[bytes, bytes]:
    """Return the hashes of a batch's files, by their paths."""
    found: dict[bytes, bytes] = {}
    while line := await output.field():
        digits, path = line[:_HASH_DIGITS], line[_HASH_DIGITS + 2 :]
        try:
            found[path] = bytes.fromhex(digits.decode())
        except ValueError:
            raise _unreadable() from None
        if len(found) > _BATCH_FILES_MAX:
            raise _unreadable()
    return found


def _unreadable() -> BackendError:
    return BackendError("What the sandbox sent of the tree cannot be read. Repeat the call.")
