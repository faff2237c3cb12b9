"""One file that is being written into a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import posixpath
import stat
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.envd.transfer import TransferError
from sandbox_service.e2b_local.machine import GuestOSError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox_service.e2b_local.machine import Guest

# Gathered before it is written; more than this at once is written by a thread,
# for a disk that is behind makes writers wait.
_BUFFER_BYTES: Final = 512 * 1024
_METADATA_HEADER: Final = "x-metadata-"
_METADATA_ATTRIBUTE: Final = "user.e2b."
_METADATA_KEY_LIMIT_BYTES: Final = 246
_METADATA_LIMIT_BYTES: Final = 4096

_CALLERS_FAULT: Final = frozenset(
    {
        errno.EEXIST,
        errno.EINVAL,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENODEV,
        errno.ENOTDIR,
        errno.ENXIO,
        errno.ETXTBSY,
    }
)


def metadata_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Read the metadata that an upload's header fields carry.

    Raises:
        TransferError: 400: a key or value is not printable ASCII, or they are too large.
    """
    metadata: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        key = name.removeprefix(_METADATA_HEADER)
        if key == name or not key or key in metadata:
            continue
        value = raw_value.decode("latin-1")
        if len(key) > _METADATA_KEY_LIMIT_BYTES:
            text = f'metadata key "{key}" exceeds {_METADATA_KEY_LIMIT_BYTES} bytes'
            raise TransferError(400, f"invalid metadata: {text}")
        _check_printable("key", key)
        _check_printable(f'value for key "{key}"', value)
        size += len(_METADATA_ATTRIBUTE) + len(key) + len(value)
        metadata[key] = value
    if size > _METADATA_LIMIT_BYTES:
        text = f"total metadata size {size} exceeds {_METADATA_LIMIT_BYTES} bytes"
        raise TransferError(400, f"invalid metadata: {text}")
    return metadata


def _check_printable(what: str, text: str) -> None:
    for at, character in enumerate(text):
        if not " " <= character <= "~":
            found = f"non-printable-ASCII byte 0x{ord(character):02x} at offset {at}"
            raise TransferError(400, f"invalid metadata: metadata {what} contains {found}")


class Upload:
    """One file that is being written.

    Args:
        guest: The sandbox.
        path: Where it is, inside.
        fd: Open for writing; owned from now on.
        metadata: What is written on it.
    """

    def __init__(self, guest: Guest, path: str, fd: int, metadata: dict[str, str]) -> None:
        self._guest = guest
        self.path = path
        self._fd: int | None = fd
        self._metadata = metadata
        self._parts: list[bytes] = []
        self._waiting_bytes = 0

    @classmethod
    async def open(cls, guest: Guest, path: str, metadata: dict[str, str]) -> Upload:
        """Create or empty a file inside, and its folders where they are missing.

        Raises:
            TransferError: It cannot be opened for writing.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            try:
                fd = await guest.open(path, flags, 0o666)
            except GuestOSError as error:
                if error.errno != errno.ENOENT:
                    raise
                await guest.make_dir(posixpath.dirname(path))
                fd = await guest.open(path, flags, 0o666)
        except GuestOSError as error:
            raise _refused(error, path) from None
        upload = cls(guest, path, fd, metadata)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            upload.close()
            raise TransferError(400, f"path '{path}' is not a regular file")
        try:
            upload._write_metadata(fd)
        except TransferError:
            upload.close()
            raise
        return upload

    def _write_metadata(self, fd: int) -> None:
        """Replace the metadata of an earlier upload."""
        # Where attributes cannot be listed there are none to replace.
        with contextlib.suppress(OSError):
            for name in os.listxattr(fd):
                if name.startswith(_METADATA_ATTRIBUTE):
                    os.removexattr(fd, name)
        for key, value in self._metadata.items():
            try:
                os.setxattr(fd, _METADATA_ATTRIBUTE + key, value.encode("ascii"))
            except OSError as error:
                if error.errno == errno.ENOTSUP:
                    # The file matters more, and the answer does not claim what is not there.
                    self._metadata = {}
                    return
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    message = f"not enough space for file metadata: {error.strerror}"
                    raise TransferError(507, message) from None
                message = f"error writing file metadata: {error.strerror}"
                raise TransferError(500, message) from None

    async def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            TransferError: The disk is full, or the file is too large.
        """
        self._parts.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _BUFFER_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write what was gathered.

        Raises:
            TransferError: The disk is full, or the file is too large.
        """
        parts, self._parts = self._parts, []
        large = self._waiting_bytes >= _BUFFER_BYTES
        self._waiting_bytes = 0
        if self._fd is None or not parts:
            return
        if self._guest.disk_full:
            # What this process writes is no program's, which would have been killed.
            raise _refused(OSError(errno.ENOSPC, ""), self.path)
        try:
            if large:
                # The thread has a descriptor of its own, which nobody closes under it.
                await asyncio.to_thread(_write_and_close, os.dup(self._fd), parts)
            else:
                _write_all(self._fd, parts)
        except OSError as error:
            raise _refused(error, self.path) from None

    def entry(self) -> dict[str, object]:
        """Describe the file in the answer to an upload."""
        entry: dict[str, object] = {
            "path": self.path,
            "name": posixpath.basename(self.path),
            "type": "file",
        }
        if self._metadata:
            entry["metadata"] = self._metadata
        return entry

    def close(self) -> None:
        """Close the file; repeated calls do nothing."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


def _write_all(fd: int, parts: list[bytes]) -> None:
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _write_and_close(fd: int, parts: list[bytes]) -> None:
    try:
        _write_all(fd, parts)
    finally:
        os.close(fd)


def _refused(error: OSError, path: str) -> TransferError:
    number = error.errno or 0
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return TransferError(507, "not enough disk space available")
    if number == errno.EISDIR:
        return TransferError(400, f"path is a directory: {path}")
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return TransferError(403, f"permission denied: '{path}'")
    if number == errno.EFBIG:
        return TransferError(413, f"file is too large: '{path}'")
    status = 400 if number in _CALLERS_FAULT else 500
    return TransferError(status, f"error opening file '{path}': {os.strerror(number)}")
