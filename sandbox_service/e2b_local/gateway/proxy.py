"""From a preview URL to a program's port in a sandbox, and back.

The request is parsed, for it ends where its own framing says; the response is
passed on byte by byte, so whatever a program answers arrives as it was sent. Each
connection into a sandbox serves one request; the client's goes on where the response
says how long it is. After an upgrade (WebSocket) both directions are passed on untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Final, cast

import httptools

from sandbox_service.e2b_local.http1 import ClientGoneError, Connection

if TYPE_CHECKING:
    from sandbox_service.e2b_local.http1 import Exchange

_HIGH_WATER_BYTES: Final = 256 * 1024
_HEAD_LIMIT_BYTES: Final = 64 * 1024
_WITHOUT_BODY: Final = frozenset({204, 304})
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
# For the backend, not for the program behind it; and what is said in its own way.
_NOT_FORWARDED: Final = frozenset(
    {b"e2b-sandbox-id", b"e2b-sandbox-port", b"e2b-traffic-access-token", b"expect", b"host"}
)


class _Ending:
    """Finds where a response ends, if it says so itself.

    Args:
        has_body: False for the answer to HEAD, whatever its head says.

    Attributes:
        framed: Whether its end can be seen without the end of the connection.
        complete: Whether it has ended.
        broken: Whether it is not as it should be, or goes on after its end.
    """

    def __init__(self, *, has_body: bool) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._has_body = has_body
        self.framed = self.complete = self.broken = False

    def feed(self, data: bytes) -> None:
        """Look at the next bytes; the head must be in the first ones."""
        if self.broken:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.broken = True

    def on_message_begin(self) -> None:
        if self.complete:
            self.broken = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self.framed = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status in _WITHOUT_BODY or not self._has_body:
            self.framed = True
        if self._parser.get_http_version() != "1.1":
            self.framed = False
        if not self._has_body:
            self.complete = True

    def on_message_complete(self) -> None:
        self.complete = True


class _Upstream(asyncio.Protocol):
    """The connection into the sandbox: what it sends goes to the client."""

    def __init__(self, exchange: Exchange, connection: socket.socket) -> None:
        self._exchange = exchange
        self._socket = connection
        self._ending = _Ending(has_body=exchange.method != "HEAD")
        self._client = cast("Connection", exchange.wire)
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._head_done = False
        self._room: asyncio.Future[None] | None = None
        self.upgraded = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # From the sandbox

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self._head_done:
            if not self.upgraded:
                self._ending.feed(data)
        else:
            data = self._take_head(data)
        if data:
            self._to_client(data)
        if self._ending.complete and self._transport is not None:
            # A program may keep its end open for requests that never come.
            self._transport.close()

    @property
    def leaves_client_open(self) -> bool:
        """Whether the client knows where the response ended, and may ask again."""
        ending = self._ending
        return ending.framed and ending.complete and not ending.broken

    def _to_client(self, data: bytes) -> None:
        self._exchange.send_raw(data)
        if not self._client.writable and self._transport is not None:
            self._transport.pause_reading()

    def client_has_room(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _take_head(self, data: bytes) -> bytes:
        """Pass the response's head on, and say if the client's connection ends with it."""
        self._head += data
        while not self._head_done:
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._head) > _HEAD_LIMIT_BYTES:
                    self.abort()
                return b""
            head, self._head = self._head[:end], self._head[end + 4 :]
            status = head[9:12]
            if status == b"101" and self._exchange.upgrade:
                self.upgraded = self._head_done = True
                self._to_client(head + b"\r\n\r\n")
                self._client.become_tunnel(self)
            elif status[:1] == b"1":
                self._to_client(head + b"\r\n\r\n")
                continue
            else:
                self._head_done = True
                self._ending.feed(head + b"\r\n\r\n" + self._head)
                ending = self._ending
                if not ending.framed or ending.broken:
                    self._exchange.keep_alive = False
                self._to_client(_own_framing(head, keep_alive=self._exchange.keep_alive))
        rest, self._head = self._head, b""
        return b"" if self._head_done and self._exchange.method == "HEAD" else rest

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if exc is not None:
            self._take_last_words()
        self.resume_writing()
        if not self.closed.done():
            self.closed.set_result(None)
        if self.upgraded:
            self._client.close()

    def _take_last_words(self) -> None:
        """Pass on what the program answered before it closed under what it was being sent."""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(_HEAD_LIMIT_BYTES):
                self.data_received(data)

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        if self.upgraded:
            self._client.set_reading(False)

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        if self.upgraded:
            self._client.set_reading(True)

    # To the sandbox

    async def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
        if self._room is not None:
            await asyncio.shield(self._room)

    def client_data(self, data: bytes) -> None:
        """Take what the client sends through an upgraded connection."""
        if self._transport is not None:
            self._transport.write(data)

    def client_gone(self) -> None:
        """Close what an upgraded connection leads to."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def forward(exchange: Exchange, upstream_socket: socket.socket, host: str | None) -> None:
    """Pass one request into a sandbox, and what comes back to the client.

    Args:
        exchange: The request.
        upstream_socket: Connected to the program; owned from now on.
        host: What the program is told as its host. None: whom the client asked for.

    Raises:
        ClientGoneError: The client left in the middle.
    """
    loop = asyncio.get_running_loop()
    upstream = _Upstream(exchange, upstream_socket)
    upstream_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await loop.create_connection(lambda: upstream, sock=upstream_socket)
    exchange.keep_alive = exchange.keep_alive and exchange.version == "1.1"
    exchange.on_writable = upstream.client_has_room
    exchange.when_closed(upstream.abort)
    sending = loop.create_task(_send_request(exchange, upstream, host))
    try:
        await upstream.closed
    finally:
        sending.cancel()
        await asyncio.wait([sending])
        if not sending.cancelled():
            sending.exception()
    exchange.on_writable = None
    if exchange.closed:
        raise ClientGoneError
    exchange.keep_alive = exchange.keep_alive and upstream.leaves_client_open
    exchange.finished = exchange.started


async def _send_request(exchange: Exchange, upstream: _Upstream, host: str | None) -> None:
    await upstream.send(_request_head(exchange, host))
    if exchange.upgrade:
        await upstream.send(exchange.leftover)
        return
    chunked = _is_chunked(exchange)
    async for data in exchange.chunks():
        await upstream.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
    if chunked:
        await upstream.send(b"0\r\n\r\n")


def _request_head(exchange: Exchange, host: str | None) -> bytes:
    lines = [f"{exchange.method} {exchange.target} HTTP/{exchange.version}".encode("latin-1")]
    host = host or exchange.host
    if host:
        lines.append(b"Host: " + host.encode("latin-1"))
    chunked = _is_chunked(exchange)
    for name, value in exchange.headers.raw:
        lower = name.lower()
        if lower in _NOT_FORWARDED or lower in _HOP_BY_HOP:
            continue
        if chunked and lower == b"content-length":
            continue  # Two lengths for one body is how requests are smuggled.
        lines.append(name + b": " + value)
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if exchange.upgrade:
        upgrade = (exchange.headers.get(b"upgrade") or "").encode("latin-1")
        lines += [b"Connection: Upgrade", b"Upgrade: " + upgrade]
    else:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _is_chunked(exchange: Exchange) -> bool:
    return "chunked" in (exchange.headers.get(b"transfer-encoding") or "").lower()


def _own_framing(head: bytes, *, keep_alive: bool) -> bytes:
    """Say what becomes of the client's connection, in place of the program's own."""
    lines = [
        line
        for line in head.split(b"\r\n")
        if not line.lower().startswith((b"connection:", b"keep-alive:"))
    ]
    end = b"\r\n\r\n" if keep_alive else b"\r\nConnection: close\r\n\r\n"
    return b"\r\n".join(lines) + end
