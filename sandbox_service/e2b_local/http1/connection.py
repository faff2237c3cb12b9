"""Connections: parsing, pipelining, keep-alive, and the server that owns them."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from sandbox_service.e2b_local.http1.exchange import (
    BODY_HIGH_WATER_BYTES,
    BodyTooLargeError,
    ClientGoneError,
    Exchange,
    Headers,
)

if TYPE_CHECKING:
    from sandbox_service.e2b_local.http1.server import Server

logger = logging.getLogger(__name__)

HEAD_LIMIT_BYTES: Final = 64 * 1024
PIPELINE_LIMIT: Final = 8
WRITE_HIGH_WATER_BYTES: Final = 256 * 1024
# So long the rest of a request is read whose answer is already out.
_LINGER_SECONDS: Final = 5.0


_NONSENSE_BODY: Final = b'{"code": 400, "message": "the request is not valid HTTP"}'
_NONSENSE: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
) % (len(_NONSENSE_BODY), _NONSENSE_BODY)


class Handler(Protocol):
    """Answers one exchange."""

    async def __call__(self, exchange: Exchange) -> None:
        """Read the request and send the whole response."""


class Tunnel(Protocol):
    """Takes a connection's bytes after an upgrade."""

    def client_data(self, data: bytes) -> None:
        """Take bytes from the client."""

    def client_gone(self) -> None:
        """Note that the client has closed."""


class Connection(asyncio.Protocol):
    """One client's connection: its exchanges one after another.

    Args:
        server: What it belongs to.
        early: What the client has sent and somebody else has read.
    """

    def __init__(self, server: Server, early: bytes = b"") -> None:
        self._server = server
        self._early = early
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._receiving: Exchange | None = None
        self._current: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._pipeline: deque[Exchange] = deque()
        self._tunnel: Tunnel | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._reading = True
        self.writable = True
        self.idle_since: float | None = self._loop.time()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        # asyncio does this only for sockets that were made with the protocol's number.
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.add(self)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """Parse what came, or hand it to the tunnel."""
        if self._tunnel is not None:
            self._tunnel.client_data(data)
            return
        if self._linger is not None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._receiving is not None:
                self._receiving.leftover += data[upgrade.args[0] :]
            elif self._pipeline or self._current is not None:
                last = self._pipeline[-1] if self._pipeline else self._current
                if last is not None:
                    last.leftover += data[upgrade.args[0] :]
            self.update_reading()
        except httptools.HttpParserError:
            self._refuse_nonsense()

    def _refuse_nonsense(self) -> None:
        """Close; say why, unless that would be mixed with the answer to an earlier request."""
        current = self._current
        if current is None or (current is self._receiving and not current.started):
            self.send(_NONSENSE)
        self._close()

    def eof_received(self) -> bool:
        """Treat a half-close as leaving: no client of ours does it in earnest."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever works for this client that it is gone."""
        self._server.connections.discard(self)
        self._transport = None
        if self._linger is not None:
            self._linger.cancel()
        self.writable = True
        if self._tunnel is not None:
            self._tunnel.client_gone()
        for exchange in (self._current, *self._pipeline):
            if exchange is not None:
                exchange.connection_lost()
        if self._current is not None and self._current.cancel_when_gone and self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Note that the socket is full."""
        self.writable = False

    def resume_writing(self) -> None:
        """Let whoever waits for room go on."""
        self.writable = True
        if self._current is not None and self._current.on_writable is not None:
            self._current.on_writable()

    # httptools callbacks

    def on_message_begin(self) -> None:
        """Start a request."""
        self._target = b""
        self._fields = []
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Collect the request's target."""
        self._count_head(url)
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header field."""
        self._count_head(name + value)
        self._fields.append((name, value))

    def _count_head(self, data: bytes) -> None:
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_LIMIT_BYTES:
            raise httptools.HttpParserError("request head too large")

    def on_headers_complete(self) -> None:
        """Begin the exchange; its body follows."""
        self._check_codings()
        exchange = Exchange(
            self,
            method=self._parser.get_method().decode("ascii"),
            target=self._target,
            version=self._parser.get_http_version(),
            headers=Headers(self._fields),
        )
        exchange.upgrade = bool(self._parser.should_upgrade())
        exchange.keep_alive = bool(self._parser.should_keep_alive()) and not exchange.upgrade
        # Only now: a client that never ends its request's head is as idle as a silent one.
        self.idle_since = None
        self._receiving = exchange
        if self._current is None:
            self._begin(exchange)
        else:
            self._pipeline.append(exchange)
            self.update_reading()

    def _check_codings(self) -> None:
        """Refuse a body whose length we and a program behind us could read differently."""
        codings = [value for name, value in self._fields if name.lower() == b"transfer-encoding"]
        if codings and (
            [coding.strip().lower() for coding in codings] != [b"chunked"]
            or self._parser.get_http_version() != "1.1"
        ):
            raise httptools.HttpParserError("no transfer coding that is known here")

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on."""
        if self._receiving is not None:
            self._receiving.feed(body)
            self.update_reading()

    def on_message_complete(self) -> None:
        """End the request."""
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.feed_end()
            if exchange is self._current and exchange.finished and self._task is None:
                self._next()

    # Exchanges

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self._task = self._loop.create_task(self._run(exchange))

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._server.handler(exchange)
        except ClientGoneError:
            pass
        except BodyTooLargeError:
            _refuse(exchange, 413, "the request body is too large")
        except Exception:
            logger.exception("request failed: %s %s", exchange.method, exchange.path)
            _refuse(exchange, 500, "internal error")
        finally:
            self._task = None
            self._after(exchange)

    def _after(self, exchange: Exchange) -> None:
        if self._transport is None or self._tunnel is not None:
            return
        if not exchange.finished:
            self.abort()
        elif exchange.complete:
            if exchange.keep_alive:
                self._next()
            else:
                self._close()
        else:
            # Reading the rest lets the client see the answer; closing would
            # reset the connection under its feet.
            exchange.discarding = True
            exchange.buffered_bytes = 0
            if exchange.keep_alive:
                self.update_reading()
            else:
                self._close_gently(self._transport)

    def _close_gently(self, transport: asyncio.Transport) -> None:
        """Say that no more will come, and read on until the client leaves too."""
        if not transport.can_write_eof():
            self._close()  # TLS: its own goodbye does the same.
            return
        transport.write_eof()
        self._linger = self._loop.call_later(_LINGER_SECONDS, self._close)
        self.set_reading(True)

    def _next(self) -> None:
        self._current = None
        if self._pipeline:
            self._begin(self._pipeline.popleft())
        else:
            self.idle_since = self._loop.time()
        self.update_reading()

    # What an exchange asks for

    def send(self, data: bytes) -> None:
        """Queue bytes on the socket; on one that closes they are lost."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def update_reading(self) -> None:
        """Read from the socket only while there is room for what comes."""
        if self._transport is None or self._transport.is_closing():
            return
        exchange = self._receiving
        wanted = (
            (exchange is None or exchange.buffered_bytes < BODY_HIGH_WATER_BYTES)
            and len(self._pipeline) < PIPELINE_LIMIT
            and not (self._current is not None and self._current.upgrade and self._tunnel is None)
        )
        self.set_reading(wanted)

    def set_reading(self, wanted: bool) -> None:  # noqa: FBT001 - the value is the verb here
        """Pause or resume reading from the socket."""
        if self._transport is None or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def become_tunnel(self, tunnel: Tunnel) -> None:
        """Hand every further byte of the client to a tunnel, for good."""
        self._tunnel = tunnel
        self.idle_since = None
        self.set_reading(True)

    def abort(self) -> None:
        """Cut the connection without sending what is queued."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close after what is queued has been sent."""
        self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def busy(self) -> bool:
        """Whether an exchange or a tunnel is under way."""
        return self._current is not None or self._tunnel is not None


def _refuse(exchange: Exchange, status: int, message: str) -> None:
    """Answer in JSON, for clients parse the body of every error."""
    if not exchange.started:
        body = json.dumps({"code": status, "message": message}).encode()
        exchange.respond(status, body, [("content-type", "application/json")])
