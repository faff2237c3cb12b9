"""One file that is read out of a sandbox."""

from __future__ import annotations

import asyncio
import errno
import mimetypes
import os
import posixpath
import stat
import zlib
from email.utils import formatdate
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from sandbox_service.e2b_local.envd.conditions import (
    RangeError,
    accepted_encoding,
    is_conditional,
    requested_range,
    unmet_condition,
)
from sandbox_service.e2b_local.envd.connect import READABLE
from sandbox_service.e2b_local.envd.transfer import TransferError
from sandbox_service.e2b_local.machine import GuestOSError

if TYPE_CHECKING:
    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.machine import Guest

_READ_BYTES: Final = 256 * 1024
_GZIP_WINDOW: Final = 31
# Packing less than this takes less time than asking a thread to do it.
_PACKED_AT_ONCE_BYTES: Final = 16 * 1024
# What decides whether a file without a telling name is text.
_SNIFFED_BYTES: Final = 512
_CONTROL_CHARACTERS: Final = bytes(range(9)) + b"\x0b" + bytes(range(14, 27)) + bytes(range(28, 32))


async def download(exchange: Exchange, guest: Guest, path: str) -> None:
    """Answer with a file, or with the part of it that is asked for.

    The file is opened inside, by the sandbox's agent; only its descriptor comes out.

    Args:
        exchange: A GET or HEAD.
        guest: The sandbox.
        path: Absolute, inside.

    Raises:
        TransferError: There is no such file, or it cannot be sent as asked.
    """
    try:
        fd = await guest.open(path, os.O_RDONLY)
    except GuestOSError as error:
        raise _open_failed(error, path) from None
    try:
        await _answer(exchange, path, fd)
    finally:
        os.close(fd)


async def _answer(exchange: Exchange, path: str, fd: int) -> None:
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise TransferError(400, f"path '{path}' is a directory")
    conditional = is_conditional(exchange.headers)
    encoding = accepted_encoding(exchange.headers.get(b"accept-encoding"))
    if encoding is None:
        message = "error parsing Accept-Encoding: no acceptable encoding found, supported: [gzip]"
        raise TransferError(406, message)
    headers = [
        ("content-disposition", f"inline; filename*=utf-8''{quote(posixpath.basename(path))}"),
        ("vary", "Accept-Encoding"),
        READABLE,
    ]
    modified_at = max(0, int(status.st_mtime))
    if modified_at:
        headers.append(("last-modified", formatdate(modified_at, usegmt=True)))
    unmet = unmet_condition(exchange.headers, modified_at)
    if unmet is not None:
        exchange.respond(unmet, headers=headers)
        return
    headers.append(("content-type", _content_type(path, fd)))
    if encoding == "gzip" and not conditional and exchange.method != "HEAD":
        headers.append(("content-encoding", "gzip"))
        await _send_packed(exchange, headers, fd)
        return
    headers.append(("accept-ranges", "bytes"))
    size = status.st_size
    try:
        wanted = requested_range(exchange.headers, modified_at, size)
    except RangeError as error:
        refused = [("content-type", "text/plain; charset=utf-8")]
        if error.beyond:
            refused.append(("content-range", f"bytes */{size}"))
        exchange.respond(416, error.message.encode() + b"\n", refused)
        return
    if wanted is None:
        await _send(exchange, 200, headers, fd, (0, size))
        return
    begin, end = wanted
    headers.append(("content-range", f"bytes {begin}-{end - 1}/{size}"))
    await _send(exchange, 206, headers, fd, wanted)


async def _send(
    exchange: Exchange, status: int, headers: list[tuple[str, str]], fd: int, part: tuple[int, int]
) -> None:
    begin, end = part
    if exchange.method == "HEAD":
        exchange.start(status, headers, length=end - begin)
        exchange.finish()
        return
    first = os.pread(fd, min(_READ_BYTES, end - begin), begin)
    if status == 200 and end <= _READ_BYTES:
        # All there is, read at once, whatever its size was a moment ago.
        end = len(first)
    exchange.start(status, headers, length=end - begin, first=first)
    begin += len(first)
    while begin < end:
        await exchange.drain()
        data = os.pread(fd, min(_READ_BYTES, end - begin), begin)
        if not data:
            # It has shrunk: a cut connection is the one honest end.
            exchange.wire.abort()
            return
        exchange.write(data)
        begin += len(data)
    exchange.finish()


async def _send_packed(exchange: Exchange, headers: list[tuple[str, str]], fd: int) -> None:
    exchange.start(200, headers)
    packer = zlib.compressobj(wbits=_GZIP_WINDOW)
    at = 0
    while data := os.pread(fd, _READ_BYTES, at):
        at += len(data)
        if len(data) < _PACKED_AT_ONCE_BYTES:
            packed = packer.compress(data)
        else:
            packed = await asyncio.to_thread(packer.compress, data)
        exchange.write(packed)
        await exchange.drain()
    exchange.finish(packer.flush())


def _content_type(path: str, fd: int) -> str:
    kind, packing = mimetypes.guess_type(path)
    if packing is not None:
        kind = "application/gzip" if packing == "gzip" else "application/octet-stream"
    if kind is None:
        beginning = os.pread(fd, _SNIFFED_BYTES, 0)
        binary = any(byte in _CONTROL_CHARACTERS for byte in beginning)
        kind = "application/octet-stream" if binary else "text/plain"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _open_failed(error: GuestOSError, path: str) -> TransferError:
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return TransferError(404, f"path '{path}' does not exist")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return TransferError(403, f"permission denied: '{path}'")
    if error.errno == errno.ENODEV:
        return TransferError(400, f"path '{path}' is not a regular file")
    return TransferError(500, f"error opening file '{path}': {os.strerror(error.errno or 0)}")
