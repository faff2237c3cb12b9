"""`/files`: whole files in and out of a sandbox."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import hmac
import json
import mimetypes
import os
import posixpath
import re
import stat
import time
import zlib
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, quote

from sandbox_service.e2b_local.envd.connect import ConnectError
from sandbox_service.e2b_local.envd.multipart import (
    FormError,
    PartBegin,
    PartData,
    boundary_of,
    form_events,
)
from sandbox_service.e2b_local.envd.paths import (
    UnknownUserError,
    checked_user,
    resolve,
    user_of_authorization,
)
from sandbox_service.e2b_local.envd.uploads import Upload, UploadError, metadata_of
from sandbox_service.e2b_local.machine import GuestLostError, GuestOSError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.machine import Guest

_READ_BYTES: Final = 256 * 1024
_INFLATE_BYTES: Final = 256 * 1024
_GZIP_WINDOW: Final = 31
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


class TransferError(Exception):
    """A transfer that is refused, with the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class FileTransfer:
    """Downloads and uploads of one sandbox.

    Files are opened inside, by the sandbox's agent; only descriptors come out, so
    no path of a request ever meets the host's file system.

    Args:
        guest: The sandbox.
        access_token: What callers must send, or have signed with. None: nothing.
    """

    def __init__(self, guest: Guest, access_token: str | None) -> None:
        self._guest = guest
        self._access_token = access_token

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        transfer = {"GET": self._download, "HEAD": self._download, "POST": self._upload}
        serve = transfer.get(exchange.method)
        if serve is None:
            _answer_error(exchange, 405, "method not allowed")
            return
        try:
            await serve(exchange)
        except TransferError as error:
            _answer_error(exchange, error.status, error.message)
        except UploadError as error:
            _answer_error(exchange, error.status, error.message)
        except ConnectError as error:
            _answer_error(exchange, error.status, error.message)
        except FormError as error:
            _answer_error(exchange, 400, f"error parsing multipart form: {error}")
        except GuestLostError:
            _answer_error(exchange, 502, "The sandbox was not found")

    # Who may

    def accepts_signature(self, exchange: Exchange) -> bool:
        """Whether this sandbox's token signed the request."""
        query = _query(exchange)
        return self._access_token is not None and hmac.compare_digest(
            query.get("signature", "").encode(),
            self._signature(exchange, query, self._access_token).encode(),
        )

    def _signature(self, exchange: Exchange, query: dict[str, str], token: str) -> str:
        operation = "write" if exchange.method == "POST" else "read"
        parts = [query.get("path", ""), operation, query.get("username", ""), token]
        if "signature_expiration" in query:
            parts.append(query["signature_expiration"])
        digest = hashlib.sha256(":".join(parts).encode()).digest()
        return "v1_" + base64.b64encode(digest).decode("ascii").rstrip("=")

    def _authorize(self, exchange: Exchange, query: dict[str, str]) -> None:
        token = self._access_token
        if token is None:
            return
        given = exchange.headers.get(b"x-access-token")
        if given is not None:
            if hmac.compare_digest(given.encode(), token.encode()):
                return
            raise TransferError(401, "access token present in header but does not match")
        if "signature" not in query:
            raise TransferError(401, "missing signature query parameter")
        if not self.accepts_signature(exchange):
            raise TransferError(401, "invalid signature")
        expiration = query.get("signature_expiration")
        if expiration is not None:
            # The digits are part of what was signed, so they came from a token's owner.
            if not expiration.isascii() or not expiration.isdigit():
                raise TransferError(401, "invalid signature expiration")
            if int(expiration) < time.time():
                raise TransferError(401, "signature is already expired")

    def _user(self, exchange: Exchange, query: dict[str, str]) -> str:
        name = query.get("username")
        if name is None:
            return user_of_authorization(exchange.headers.get(b"authorization"))
        try:
            return checked_user(name)
        except UnknownUserError:
            raise TransferError(
                401, f"error looking up user '{name}': user: unknown user {name}"
            ) from None

    # Out

    async def _download(self, exchange: Exchange) -> None:
        query = _query(exchange)
        self._authorize(exchange, query)
        path = resolve(query.get("path", ""), self._user(exchange, query))
        try:
            fd = await self._guest.open(path, os.O_RDONLY)
        except GuestOSError as error:
            raise _open_failed(error, path) from None
        try:
            await self._send(exchange, path, fd)
        finally:
            os.close(fd)

    async def _send(self, exchange: Exchange, path: str, fd: int) -> None:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise TransferError(400, f"path '{path}' is a directory")
        name = posixpath.basename(path)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = [
            ("content-type", kind),
            ("content-disposition", f"inline; filename*=utf-8''{quote(name)}"),
            ("accept-ranges", "bytes"),
            ("vary", "accept-encoding"),
            ("access-control-allow-origin", "*"),
        ]
        size = status.st_size
        wanted = _range(exchange.headers.get(b"range"), size)
        if wanted is None:
            exchange.respond(416, headers=[("content-range", f"bytes */{size}")])
            return
        begin, end = wanted
        partial = (begin, end) != (0, size)
        if partial:
            headers.append(("content-range", f"bytes {begin}-{end - 1}/{size}"))
        first = b""
        if exchange.method != "HEAD":
            first = os.pread(fd, min(_READ_BYTES, end - begin), begin)
        exchange.start(206 if partial else 200, headers, length=end - begin, first=first)
        begin += len(first)
        while first and begin < end:
            await exchange.drain()
            data = os.pread(fd, min(_READ_BYTES, end - begin), begin)
            if not data:
                # It has shrunk: a cut connection is the one honest end.
                exchange.wire.abort()
                return
            exchange.write(data)
            begin += len(data)
        exchange.finish()

    # In

    async def _upload(self, exchange: Exchange) -> None:
        query = _query(exchange)
        self._authorize(exchange, query)
        user = self._user(exchange, query)
        metadata = metadata_of(exchange.headers.raw)
        content_type = exchange.headers.get(b"content-type") or ""
        body = _decoded(exchange)
        uploads: list[Upload] = []
        if content_type.lower().startswith("multipart/form-data"):
            await self._save_form(body, content_type, query, user, metadata, uploads)
        elif content_type.lower().partition(";")[0].strip() == "application/octet-stream":
            if not query.get("path"):
                raise TransferError(400, "path is required for a raw upload")
            path = resolve(query["path"], user)
            upload = await Upload.open(self._guest, path, metadata)
            uploads.append(upload)
            try:
                async for chunk in body:
                    await upload.write(chunk)
                await upload.flush()
            finally:
                upload.close()
        else:
            raise TransferError(400, f"unsupported content type {content_type!r}")
        answer = [upload.entry() for upload in uploads]
        headers = [("content-type", "application/json"), ("access-control-allow-origin", "*")]
        exchange.respond(200, json.dumps(answer).encode(), headers)

    async def _save_form(
        self,
        body: AsyncIterator[bytes],
        content_type: str,
        query: dict[str, str],
        user: str,
        metadata: dict[str, str],
        uploads: list[Upload],
    ) -> None:
        current: Upload | None = None
        try:
            async for event in form_events(body, boundary_of(content_type)):
                if isinstance(event, PartBegin):
                    current = None
                    if event.name == "file":
                        path = resolve(query.get("path") or event.filename or "", user)
                        if any(upload.path == path for upload in uploads):
                            raise TransferError(
                                400, f"you cannot upload multiple files to the same path '{path}'"
                            )
                        current = await Upload.open(self._guest, path, metadata)
                        uploads.append(current)
                elif current is not None:
                    if isinstance(event, PartData):
                        await current.write(event.data)
                    else:
                        await current.flush()
                        current.close()
                        current = None
        finally:
            if current is not None:
                current.close()


def _open_failed(error: GuestOSError, path: str) -> TransferError:
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return TransferError(404, f"path '{path}' does not exist")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return TransferError(403, f"permission denied: '{path}'")
    if error.errno == errno.ENODEV:
        return TransferError(400, f"path '{path}' is not a regular file")
    return TransferError(500, f"error opening file '{path}': {os.strerror(error.errno or 0)}")


def _query(exchange: Exchange) -> dict[str, str]:
    parsed = parse_qs(exchange.query, keep_blank_values=True, max_num_fields=64)
    return {name: values[0] for name, values in parsed.items()}


def _range(value: str | None, size: int) -> tuple[int, int] | None:
    """Return begin and end of what to send. None: nothing of the range is there.

    Several ranges, and what is no range, are answered with the whole file.
    """
    matched = _RANGE.fullmatch(value or "")
    if matched is None or matched.groups() == ("", ""):
        return 0, size
    first, last = matched.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else None
    begin = int(first)
    if last and int(last) < begin:
        return 0, size
    if begin >= size:
        return None
    return begin, min(size, int(last) + 1) if last else size


async def _decoded(exchange: Exchange) -> AsyncIterator[bytes]:
    """Yield the body without its content encoding, in pieces of bounded size."""
    encoding = (exchange.headers.get(b"content-encoding") or "identity").lower()
    if encoding == "identity":
        async for chunk in exchange.chunks():
            yield chunk
        return
    if encoding != "gzip":
        raise TransferError(400, f"unsupported Content-Encoding: {encoding}")
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    async for chunk in exchange.chunks():
        pending = chunk
        while pending:
            try:
                # A small body can unpack to a huge one: only a piece at a time.
                piece = inflate.decompress(pending, _INFLATE_BYTES)
            except zlib.error as error:
                raise TransferError(400, f"error decoding gzip body: {error}") from None
            pending = inflate.unconsumed_tail
            if inflate.eof and inflate.unused_data:
                pending = inflate.unused_data  # Another member follows.
                inflate = zlib.decompressobj(_GZIP_WINDOW)
            if piece:
                yield piece
            # Unpacking never waits, so give the others their turn.
            await asyncio.sleep(0)
    if not inflate.eof:
        raise TransferError(400, "error decoding gzip body: unexpected end")


def _answer_error(exchange: Exchange, status: int, message: str) -> None:
    if exchange.started:
        exchange.wire.abort()
        return
    body = json.dumps({"code": status, "message": message}).encode()
    headers = [("content-type", "application/json"), ("access-control-allow-origin", "*")]
    exchange.respond(status, body, headers)
