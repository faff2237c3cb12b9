"""The `filesystem.Filesystem` service."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from protobuf.wkt import Timestamp

from sandbox_service.e2b_local.envd.connect import ConnectError
from sandbox_service.e2b_local.envd.messages import filesystem_pb
from sandbox_service.e2b_local.envd.paths import as_text, resolve, user_of_authorization
from sandbox_service.e2b_local.machine import GuestOSError

if TYPE_CHECKING:
    from sandbox_service.e2b_local.envd.connect import Code
    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.machine import FileEntry, Guest

_CODES: Final[dict[int, Code]] = {
    errno.ENOENT: "not_found",
    errno.EEXIST: "already_exists",
    errno.ENOTEMPTY: "already_exists",
    errno.ENOTDIR: "invalid_argument",
    errno.EISDIR: "invalid_argument",
    errno.EINVAL: "invalid_argument",
    errno.ENAMETOOLONG: "invalid_argument",
    errno.ELOOP: "invalid_argument",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
    errno.EROFS: "permission_denied",
    errno.ENOSPC: "resource_exhausted",
    errno.EDQUOT: "resource_exhausted",
    errno.EOVERFLOW: "resource_exhausted",
    errno.EAGAIN: "resource_exhausted",
}
# The letters of Go's `fs.FileMode.String`, in its order.
_KIND_LETTERS: Final = (
    (stat.S_IFDIR, "d"),
    (stat.S_IFLNK, "L"),
    (stat.S_IFBLK, "D"),
    (stat.S_IFCHR, "D"),
    (stat.S_IFIFO, "p"),
    (stat.S_IFSOCK, "S"),
)


def permissions(mode: int) -> str:
    """Write a mode as envd does, for example `-rw-r--r--`, `Lrwxrwxrwx`, `dtrwxrwxrwx`."""
    letters = "".join(letter for kind, letter in _KIND_LETTERS if stat.S_IFMT(mode) == kind)
    letters += "u" if mode & stat.S_ISUID else ""
    letters += "g" if mode & stat.S_ISGID else ""
    letters += "c" if stat.S_ISCHR(mode) else ""
    letters += "t" if mode & stat.S_ISVTX else ""
    bits = "".join(
        letter if mode & (1 << (8 - place)) else "-" for place, letter in enumerate("rwxrwxrwx")
    )
    return (letters or "-") + bits


def entry_info(entry: FileEntry) -> filesystem_pb.EntryInfo:
    """Describe a file to a client."""
    kind = filesystem_pb.FileType.UNSPECIFIED
    if entry.target_mode is not None and stat.S_ISDIR(entry.target_mode):
        kind = filesystem_pb.FileType.DIRECTORY
    elif entry.target_mode is not None and stat.S_ISREG(entry.target_mode):
        kind = filesystem_pb.FileType.FILE
    link = entry.symlink_target
    seconds, nanos = divmod(entry.modified_ns, 1_000_000_000)
    return filesystem_pb.EntryInfo(
        name=as_text(entry.name),
        type=kind,
        path=as_text(entry.path),
        size=entry.size,
        mode=(entry.target_mode or 0) & 0o777,
        permissions=permissions(entry.mode),
        owner=entry.owner,
        group=entry.group,
        modified_time=Timestamp(seconds=seconds, nanos=nanos),
        symlink_target=None if link is None else as_text(link),
        metadata={as_text(key): value for key, value in entry.metadata.items()},
        is_symlink=link is not None,
    )


def refused(error: GuestOSError, path: str, missing: str = "path not found") -> ConnectError:
    """Say what the sandbox's kernel said about a path.

    Args:
        error: What it said.
        path: Absolute, inside.
        missing: What to say when there is nothing at the path.
    """
    number = error.errno or 0
    code = _CODES.get(number, "internal")
    if number == errno.ENOENT:
        return ConnectError(code, f"{missing}: lstat {path}: no such file or directory")
    return ConnectError(code, f"{path}: {os.strerror(number)}")


class FilesystemService:
    """Files of one sandbox.

    Args:
        guest: The sandbox.
    """

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    async def stat(
        self, exchange: Exchange, request: filesystem_pb.StatRequest
    ) -> filesystem_pb.StatResponse:
        """Describe one path."""
        path = requested_path(exchange, request.path)
        return filesystem_pb.StatResponse(entry=await self._entry(path))

    async def make_dir(
        self, exchange: Exchange, request: filesystem_pb.MakeDirRequest
    ) -> filesystem_pb.MakeDirResponse:
        """Create a folder and its parents."""
        path = requested_path(exchange, request.path)
        try:
            created = await self._guest.make_dir(path)
        except GuestOSError as error:
            if error.errno == errno.ENOTDIR:
                message = f"path already exists but it is not a directory: {path}"
                raise ConnectError("invalid_argument", message) from None
            raise refused(error, path) from None
        if not created:
            raise ConnectError("already_exists", f"directory already exists: {path}")
        return filesystem_pb.MakeDirResponse(entry=await self._entry(path))

    async def move(
        self, exchange: Exchange, request: filesystem_pb.MoveRequest
    ) -> filesystem_pb.MoveResponse:
        """Rename a file or folder, and create the parents of its new place."""
        source = requested_path(exchange, request.source)
        target = requested_path(exchange, request.destination)
        try:
            await self._guest.move(source, target)
        except GuestOSError as error:
            raise refused(error, source, "source file not found") from None
        return filesystem_pb.MoveResponse(entry=await self._entry(target))

    async def list_dir(
        self, exchange: Exchange, request: filesystem_pb.ListDirRequest
    ) -> filesystem_pb.ListDirResponse:
        """List a folder to a depth; links on the way are not followed."""
        path = requested_path(exchange, request.path)
        try:
            entries = await self._guest.list_dir(path, depth=max(1, request.depth))
        except GuestOSError as error:
            if error.errno == errno.ENOTDIR:
                message = f"path is not a directory: {path}"
                raise ConnectError("invalid_argument", message) from None
            raise refused(error, path) from None
        return filesystem_pb.ListDirResponse(entries=[entry_info(entry) for entry in entries])

    async def remove(
        self, exchange: Exchange, request: filesystem_pb.RemoveRequest
    ) -> filesystem_pb.RemoveResponse:
        """Remove whatever is there; nothing there is fine too."""
        path = requested_path(exchange, request.path)
        try:
            await self._guest.remove(path)
        except GuestOSError as error:
            raise refused(error, path) from None
        return filesystem_pb.RemoveResponse()

    async def _entry(self, path: str) -> filesystem_pb.EntryInfo:
        try:
            return entry_info(await self._guest.stat(path))
        except GuestOSError as error:
            raise refused(error, path, "file not found") from None


def requested_path(exchange: Exchange, path: str) -> str:
    """Return what a request's path means for its user."""
    user = user_of_authorization(exchange.headers.get(b"authorization"))
    return resolve(path, user)
