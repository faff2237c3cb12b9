"""Turning the parts of a sync into one tar archive, while they arrive."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from sandbox_service.domain.errors import ChecksumMismatchError, InvalidRequestError
from sandbox_service.domain.files import (
    SyncData,
    SyncDelete,
    SyncDirectory,
    SyncFile,
    SyncLink,
    SyncPart,
)
from sandbox_service.domain.limits import KIB, SYNC_CHUNK_BYTES_MAX
from sandbox_service.operations.file_sync import tar_stream
from sandbox_service.operations.file_sync.manifest import Manifest

_PIECE_BYTES: Final = 256 * KIB
"""Small parts are gathered to pieces of this size."""


class Packer:
    """Packs one sync.

    The archive holds the tree below `t/`, and below `c/` the lists of the
    manifest, which come last because only then every hash is known. Memory is
    the manifest, and at most one piece and one part of content.

    Args:
        manifest: Filled on the way.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._file: _OpenFile | None = None

    async def pack(self, parts: AsyncIterator[SyncPart]) -> AsyncGenerator[bytes, None]:
        """Yield the archive.

        Raises:
            InvalidRequestError: A part cannot be synced, or is out of order.
            ChecksumMismatchError: A file's content is not what was announced.
        """
        piece = bytearray(
            tar_stream.folder_header(b"t", mode=0o755, mtime_ns=self._manifest.mtime_ns)
        )
        async for part in parts:
            if isinstance(part, SyncData):
                self._data(part.data, piece)
            else:
                self._end_file(piece)
                piece += self._header(part)
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        self._end_file(piece)
        self._manifest.check_whole()
        for name, content in self._manifest.lists():
            piece += tar_stream.small_file(b"c/" + name.encode(), content, mtime_ns=0)
            if len(piece) >= _PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        # What says that nothing is missing comes last.
        piece += tar_stream.small_file(b"c/complete", b"", mtime_ns=0)
        piece += tar_stream.END_OF_ARCHIVE
        yield bytes(piece)

    def _header(self, part: SyncFile | SyncLink | SyncDirectory | SyncDelete) -> bytes:
        match part:
            case SyncFile(unchanged=True):
                self._manifest.add_unchanged(part)
                return b""
            case SyncFile():
                mode, mtime_ns = self._manifest.begin_file(part)
                self._file = _OpenFile(part, mode)
                return tar_stream.file_header(
                    _name(part.path), size=part.size, mode=mode, mtime_ns=mtime_ns
                )
            case SyncLink():
                mtime_ns = self._manifest.add_link(part)
                return tar_stream.link_header(
                    _name(part.path), part.target.encode(), mtime_ns=mtime_ns
                )
            case SyncDirectory():
                mode, mtime_ns = self._manifest.add_folder(part)
                return tar_stream.folder_header(_name(part.path), mode=mode, mtime_ns=mtime_ns)
            case SyncDelete():
                self._manifest.add_delete(part)
                return b""

    def _data(self, data: bytes, piece: bytearray) -> None:
        if self._file is None:
            raise InvalidRequestError.of("data", "does not follow a file")
        if len(data) > SYNC_CHUNK_BYTES_MAX:
            raise InvalidRequestError.of("data", f"is more than {SYNC_CHUNK_BYTES_MAX} bytes")
        self._file.update(data)
        piece += data

    def _end_file(self, piece: bytearray) -> None:
        """Finish the file whose content came last, if there is one."""
        if self._file is None:
            return
        file, self._file = self._file, None
        self._manifest.end_file(file.header.path, file.mode, file.sha256())
        piece += tar_stream.padding(file.header.size)


class _OpenFile:
    """A file whose content is arriving."""

    def __init__(self, header: SyncFile, mode: int) -> None:
        self.header = header
        self.mode = mode
        self._digest = hashlib.sha256()
        self._missing = header.size

    def update(self, data: bytes) -> None:
        """Count and hash the next bytes."""
        self._missing -= len(data)
        if self._missing < 0:
            raise self._mismatch(f"has more than the {self.header.size} bytes announced")
        self._digest.update(data)

    def sha256(self) -> bytes:
        """Return the hash, once all has arrived and is what was announced."""
        if self._missing:
            raise self._mismatch(f"has {self._missing} bytes less than announced")
        sha256 = self._digest.digest()
        if self.header.sha256 is not None and self.header.sha256 != sha256:
            raise self._mismatch("does not have the SHA-256 announced")
        return sha256

    def _mismatch(self, what: str) -> ChecksumMismatchError:
        path = self.header.path
        return ChecksumMismatchError(
            f"The content of {path!r} {what}. Nothing was changed; send the sync again.",
            metadata={"path": path},
        )


def _name(path: str) -> bytes:
    return b"t/" + path.encode()
