"""`/files`: whole files in and out of a sandbox."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
import zlib
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.envd.compose import compose
from sandbox_service.e2b_local.envd.connect import ConnectError
from sandbox_service.e2b_local.envd.downloads import download
from sandbox_service.e2b_local.envd.multipart import (
    FormError,
    PartBegin,
    PartData,
    boundary_of,
    form_events,
)
from sandbox_service.e2b_local.envd.paths import resolve, user_of_authorization
from sandbox_service.e2b_local.envd.transfer import (
    TransferError,
    answer_error,
    answer_json,
    known_user,
    query_of,
)
from sandbox_service.e2b_local.envd.uploads import Upload, metadata_of
from sandbox_service.e2b_local.machine import GuestFrozenError, GuestLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.machine import Guest

_INFLATE_BYTES: Final = 256 * 1024
_GZIP_WINDOW: Final = 31
_NO_SPACE: Final = 507


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
        """Answer one request for `/files`."""
        transfer = {"GET": self._download, "HEAD": self._download, "POST": self._upload}
        serve = transfer.get(exchange.method)
        if serve is None:
            answer_error(exchange, 405, "method not allowed")
        else:
            await _answered(exchange, serve)

    async def compose(self, exchange: Exchange) -> None:
        """Answer one request for `/files/compose`, of a caller who may."""

        async def serve(exchange: Exchange) -> None:
            answer_json(exchange, 200, await compose(exchange, self._guest))

        await _answered(exchange, serve)

    # Who may

    def accepts_signature(self, exchange: Exchange) -> bool:
        """Whether this sandbox's token signed the request."""
        if self._access_token is None:
            return False
        try:
            query = query_of(exchange)
        except TransferError:
            return False
        expected = self._signature(exchange, query, self._access_token)
        return hmac.compare_digest(query.get("signature", "").encode(), expected.encode())

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
        if given:
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
        return known_user(name)

    # Out

    async def _download(self, exchange: Exchange) -> None:
        query = query_of(exchange)
        self._authorize(exchange, query)
        path = resolve(query.get("path", ""), self._user(exchange, query))
        await download(exchange, self._guest, path)

    # In

    async def _upload(self, exchange: Exchange) -> None:
        query = query_of(exchange)
        self._authorize(exchange, query)
        user = self._user(exchange, query)
        metadata = metadata_of(exchange.headers.raw)
        content_type = exchange.headers.get(b"content-type") or ""
        body = _decoded(exchange)
        media_type = content_type.lower().partition(";")[0].strip()
        uploads: list[Upload] = []
        try:
            if media_type == "application/octet-stream":
                await self._save_body(body, query, user, metadata, uploads)
            elif media_type.startswith("multipart/"):
                await self._save_form(body, content_type, query, user, metadata, uploads)
            else:
                expected = "expected multipart/form-data or application/octet-stream"
                raise TransferError(400, f"unsupported content type: {content_type}, {expected}")
        except TransferError as error:
            announced = exchange.headers.get(b"content-length")
            if error.status == _NO_SPACE and announced:
                message = f"attempted to write {announced} bytes: {error.message}"
                raise TransferError(_NO_SPACE, message) from None
            raise
        answer_json(exchange, 200, [upload.entry() for upload in uploads])

    async def _save_body(
        self,
        body: AsyncIterator[bytes],
        query: dict[str, str],
        user: str,
        metadata: dict[str, str],
        uploads: list[Upload],
    ) -> None:
        if "path" not in query:
            raise TransferError(400, "path query parameter is required for raw body upload")
        upload = await Upload.open(self._guest, resolve(query["path"], user), metadata)
        uploads.append(upload)
        try:
            async for chunk in body:
                await upload.write(chunk)
            await upload.flush()
        finally:
            upload.close()

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
                            raise _uploaded_twice(path, uploads)
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


async def _answered(exchange: Exchange, serve: Callable[[Exchange], Awaitable[None]]) -> None:
    """Serve a request, and answer with what stood in the way."""
    try:
        await serve(exchange)
    except (TransferError, ConnectError) as error:
        answer_error(exchange, error.status, error.message)
    except FormError as error:
        answer_error(exchange, 400, f"error parsing multipart form: {error}")
    except (GuestLostError, GuestFrozenError):
        answer_error(exchange, 502, "The sandbox was not found")


def _uploaded_twice(path: str, uploads: list[Upload]) -> TransferError:
    message = (
        f"you cannot upload multiple files to the same path '{path}' in one upload request,"
        " only the first specified file was uploaded"
    )
    others = [upload.path for upload in uploads if upload.path != path]
    if len(others) > 1:
        message += f", also the following files were uploaded: {', '.join(others)}"
    return TransferError(400, message)


async def _decoded(exchange: Exchange) -> AsyncIterator[bytes]:
    """Yield the body without its content encoding, in pieces of bounded size."""
    header = exchange.headers.get(b"content-encoding") or "identity"
    encoding = header.lower().partition(";")[0].strip()
    if encoding == "identity":
        async for chunk in exchange.chunks():
            yield chunk
        return
    if encoding != "gzip":
        reason = f"unsupported Content-Encoding: {header}, supported: [gzip]"
        raise TransferError(400, f"error decompressing request body: {reason}")
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
