"""From a preview URL to a program's port in a sandbox, and back.

The request is parsed, for it ends where its own framing says; the response is
passed on byte by byte, so whatever a program answers arrives as it was sent. Each
connection into a sandbox serves one request. After an upgrade (WebSocket) both
directions are passed on untouched.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, cast

from sandbox_service.e2b_local.http1 import ClientGoneError, Connection

if TYPE_CHECKING:
    from sandbox_service.e2b_local.http1 import Exchange

_HIGH_WATER_BYTES: Final = 256 * 1024
_HEAD_LIMIT_BYTES: Final = 64 * 1024
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
# For the backend, not for the program behind it.
_NOT_FORWARDED: Final = frozenset(
    {b"e2b-sandbox-id", b"e2b-sandbox-port", b"e2b-traffic-access-token", b"expect"}
)


class _Upstream(asyncio.Protocol):
    """The connection into the sandbox: what it sends goes to the client."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._client = cast("Connection", exchange.wire)
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._head_done = False
        self._room: asyncio.Future[None] | None = None
        self.upgraded = False
        self.answered = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # From the sandbox

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        if not self._head_done:
            data = self._take_head(data)
        if data:
            self._to_client(data)

    def _to_client(self, data: bytes) -> None:
        self._exchange.send_raw(data)
        if not self._client.writable and self._transport is not None:
            self._transport.pause_reading()

    def client_has_room(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _take_head(self, data: bytes) -> bytes:
        """Pass the response's head on, saying that the connection ends with it."""
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
                self._to_client(_closing(head))
            self.answered = True
        rest, self._head = self._head, b""
        return rest

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.resume_writing()
        if not self.closed.done():
            self.closed.set_result(None)
        if self.upgraded:
            self._client.close()

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
        host: What the program is told as its host. None: what the client said.

    Raises:
        ClientGoneError: The client left in the middle.
    """
    loop = asyncio.get_running_loop()
    upstream = _Upstream(exchange)
    upstream_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await loop.create_connection(lambda: upstream, sock=upstream_socket)
    # One response without known framing ends the client's connection too.
    exchange.keep_alive = False
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
    if exchange.closed:
        raise ClientGoneError
    exchange.finished = exchange.started


async def _send_request(exchange: Exchange, upstream: _Upstream, host: str | None) -> None:
    await upstream.send(_request_head(exchange, host))
    if exchange.upgrade:
        await upstream.send(exchange.leftover)
        return
    chunked = "chunked" in (exchange.headers.get(b"transfer-encoding") or "").lower()
    async for data in exchange.chunks():
        await upstream.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
    if chunked:
        await upstream.send(b"0\r\n\r\n")


def _request_head(exchange: Exchange, host: str | None) -> bytes:
    lines = [f"{exchange.method} {exchange.target} HTTP/{exchange.version}".encode("latin-1")]
    for name, value in exchange.headers.raw:
        lower = name.lower()
        if lower in _NOT_FORWARDED or lower in _HOP_BY_HOP:
            continue
        lines.append(name + b": " + (host.encode() if host and lower == b"host" else value))
    if "chunked" in (exchange.headers.get(b"transfer-encoding") or "").lower():
        lines.append(b"Transfer-Encoding: chunked")
    if exchange.upgrade:
        upgrade = (exchange.headers.get(b"upgrade") or "").encode("latin-1")
        lines += [b"Connection: Upgrade", b"Upgrade: " + upgrade]
    else:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _closing(head: bytes) -> bytes:
    lines = [
        line
        for line in head.split(b"\r\n")
        if not line.lower().startswith((b"connection:", b"keep-alive:"))
    ]
    return b"\r\n".join(lines) + b"\r\nConnection: close\r\n\r\n"
