"""`/files/compose`: one file out of several that were uploaded in parts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import posixpath
import stat
import uuid
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox_service.e2b_local.envd.paths import resolve
from sandbox_service.e2b_local.envd.transfer import TransferError, known_user
from sandbox_service.e2b_local.http1 import BodyTooLargeError
from sandbox_service.e2b_local.machine import GuestOSError

if TYPE_CHECKING:
    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.machine import Guest

_BODY_LIMIT_BYTES: Final = 1024**2
# Copied by a thread in one go: long enough to be fast, short enough to be stopped.
_PIECE_BYTES: Final = 32 * 1024**2
_NOT_IN_KERNEL: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class _Request(BaseModel):
    model_config = ConfigDict(strict=True)

    source_paths: list[str] = Field(default=[])
    destination: str = ""
    username: str = ""


async def compose(exchange: Exchange, guest: Guest) -> dict[str, str]:
    """Put files together, in the order given, and remove them.

    What stood at the destination stays whole until its successor is.

    Args:
        exchange: A POST with `source_paths`, `destination` and perhaps `username`.
        guest: The sandbox.

    Returns:
        `path`, `name` and `type` of the new file.

    Raises:
        TransferError: A source is missing or no file, or the disk is full.
    """
    exchange.cancel_when_gone = True
    request = await _read(exchange)
    user = known_user(request.username)
    destination = resolve(request.destination, user)
    sources = [resolve(source, user) for source in request.source_paths]
    for source, given in zip(sources, request.source_paths, strict=True):
        await _check_source(guest, source, given, destination)
    unfinished = f"{destination}.e2b-compose.{uuid.uuid4()}.tmp"
    try:
        await guest.make_dir(posixpath.dirname(destination))
        target = await guest.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            for source in sources:
                await _append(guest, source, target)
        finally:
            os.close(target)
        await guest.move(unfinished, destination)
    except BaseException as error:
        with contextlib.suppress(GuestOSError):
            await guest.remove(unfinished)
        if isinstance(error, OSError):
            raise _refused(error, destination) from None
        raise
    for source in sources:
        with contextlib.suppress(GuestOSError):
            await guest.remove(source)
    return {"path": destination, "name": posixpath.basename(destination), "type": "file"}


async def _read(exchange: Exchange) -> _Request:
    try:
        body = await exchange.read(_BODY_LIMIT_BYTES)
        request = _Request.model_validate_json(body)
    except BodyTooLargeError:
        raise TransferError(413, "invalid request body: it is too large") from None
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise TransferError(400, f"invalid request body: {reason}") from None
    if not request.source_paths:
        raise TransferError(400, "source_paths must not be empty")
    if not request.destination:
        raise TransferError(400, "destination is required")
    return request


async def _check_source(guest: Guest, source: str, given: str, destination: str) -> None:
    if source == destination:
        message = f'source path "{given}" cannot be the same as destination'
        raise TransferError(400, message)
    try:
        entry = await guest.stat(source)
    except GuestOSError:
        raise TransferError(404, f"source file not found: {given}") from None
    if entry.target_mode is None:
        raise TransferError(404, f"source file not found: {given}")
    if not stat.S_ISREG(entry.target_mode):
        raise TransferError(400, f"source path is not a regular file: {given}")


async def _append(guest: Guest, path: str, target: int) -> None:
    """Copy what a file holds now to the end of another."""
    source = await guest.open(path, os.O_RDONLY)
    try:
        at, end = 0, os.fstat(source).st_size
        while at < end:
            if guest.disk_full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            # Descriptors of the thread's own, which nobody closes under it.
            work = (os.dup(source), os.dup(target), at, min(_PIECE_BYTES, end - at))
            copied = await asyncio.to_thread(_copy_and_close, *work)
            if not copied:
                return
            at += copied
    finally:
        os.close(source)


def _copy_and_close(source: int, target: int, at: int, size: int) -> int:
    """Copy without the bytes passing through this process; return how many it were."""
    try:
        try:
            return os.copy_file_range(source, target, size, at)
        except OSError as error:
            if error.errno not in _NOT_IN_KERNEL:
                raise
        return os.sendfile(target, source, at, size)
    finally:
        os.close(source)
        os.close(target)


def _refused(error: OSError, path: str) -> TransferError:
    number = error.errno or 0
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return TransferError(507, "not enough disk space available")
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return TransferError(403, f"permission denied: '{path}'")
    return TransferError(500, f"error finalizing compose: {path}: {os.strerror(number)}")
