"""One request and the response to it."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

# A body is read from the socket while less than this waits for its handler.
BODY_HIGH_WATER_BYTES: Final = 256 * 1024
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


class ClientGoneError(Exception):
    """The connection was lost before the exchange was complete."""


class BodyTooLargeError(Exception):
    """The request's body is larger than its handler takes."""


class Wire(Protocol):
    """What an exchange needs of the connection that carries it."""

    @property
    def writable(self) -> bool:
        """Whether the socket has room."""

    def send(self, data: bytes) -> None:
        """Queue bytes on the socket; nothing happens on a closed one."""

    def update_reading(self) -> None:
        """Pause or resume the socket, as the waiting bodies ask."""

    def abort(self) -> None:
        """Cut the connection without sending what is queued."""


class Headers:
    """A request's header fields, in the order and case they came in.

    Args:
        raw: Name and value of each field.
    """

    __slots__ = ("_first", "raw")

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.raw = raw
        self._first: dict[bytes, bytes] = {}
        for name, value in raw:
            self._first.setdefault(name.lower(), value)

    def get(self, name: bytes) -> str | None:
        """Return the first field of that (lower-case) name, as text."""
        value = self._first.get(name)
        return None if value is None else value.decode("latin-1").strip()

    def __contains__(self, name: bytes) -> bool:
        return name in self._first


class Exchange:
    """One request and the response to it.

    A handler reads the body by `read` or `chunks` and answers by `respond`, or
    by `start`, any number of `write` and one `finish`.

    Attributes:
        method: Upper-case method.
        target: Path and query as they came.
        host: Whom the client means to talk to: a name or an address, and a port if one was
            given. Empty: it did not say.
        absolute: Whether the target was a whole URL, as clients send it to a proxy. Its
            host then beats the `Host` field.
        path: Decoded path, without the query.
        query: The query, undecoded, without its question mark.
        headers: The request's header fields.
        started: Whether the response's head is out.
        finished: Whether the response is complete.
        cancel_when_gone: Whether a lost connection also cancels the handler.
        on_body: Called with the size of each part of the body that comes.
        on_writable: Called when the socket has room again after it had none.
    """

    __slots__ = (
        "_chunked_in",
        "_closed_callbacks",
        "_framing",
        "_parts",
        "_waiter",
        "absolute",
        "buffered_bytes",
        "cancel_when_gone",
        "closed",
        "complete",
        "discarding",
        "finished",
        "headers",
        "host",
        "keep_alive",
        "leftover",
        "method",
        "on_body",
        "on_writable",
        "path",
        "query",
        "started",
        "target",
        "upgrade",
        "version",
        "wire",
    )

    def __init__(
        self, wire: Wire, *, method: str, target: bytes, version: str, headers: Headers
    ) -> None:
        self.wire = wire
        self.method = method
        self.target = target.decode("latin-1")
        self.version = version
        self.headers = headers
        self.host = headers.get(b"host") or ""
        url = _ABSOLUTE.match(self.target)
        self.absolute = url is not None
        if url is not None:
            self.host = url[1].rpartition("@")[2]
            self.target = url[2] if url[2].startswith("/") else f"/{url[2]}"
        path, _, self.query = self.target.partition("?")
        self.path = unquote(path)
        self.keep_alive = True
        self.upgrade = False
        self.leftover = b""
        self.started = False
        self.finished = False
        self.closed = False
        self.cancel_when_gone = False
        self.on_body: Callable[[int], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        # The request's body: parts that nobody has taken yet.
        self._parts: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.buffered_bytes = 0
        self.complete = False
        self.discarding = False
        self._framing = "length"
        self._closed_callbacks: list[Callable[[], None]] = []

    # The connection's side.

    def feed(self, data: bytes) -> None:
        """Take a part of the request's body from the parser."""
        if self.discarding:
            return
        self._parts.append(data)
        self.buffered_bytes += len(data)
        if self.on_body is not None:
            self.on_body(len(data))
        self._wake()

    def feed_end(self) -> None:
        """Note that the request's body is complete."""
        self.complete = True
        self._wake()

    def connection_lost(self) -> None:
        """Note that nobody will read the response, nor send more of the body."""
        self.closed = True
        self._wake()
        callbacks, self._closed_callbacks = self._closed_callbacks, []
        for callback in callbacks:
            callback()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The handler's side: the request.

    def when_closed(self, callback: Callable[[], None]) -> None:
        """Call back when the connection is lost; at once when it already is."""
        if self.closed:
            callback()
        else:
            self._closed_callbacks.append(callback)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, in pieces of no particular size.

        Raises:
            ClientGoneError: The connection was lost in the middle.
        """
        if not self.complete and (self.headers.get(b"expect") or "").lower() == "100-continue":
            self.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while True:
            while self._parts:
                part = self._parts.popleft()
                self.buffered_bytes -= len(part)
                self.wire.update_reading()
                yield part
            if self.complete:
                return
            if self.closed:
                raise ClientGoneError
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            BodyTooLargeError: It is larger than `limit_bytes`.
            ClientGoneError: The connection was lost in the middle.
        """
        parts: list[bytes] = []
        size = 0
        async for part in self.chunks():
            size += len(part)
            if size > limit_bytes:
                raise BodyTooLargeError
            parts.append(part)
        return b"".join(parts)

    # The handler's side: the response.

    def respond(
        self,
        status: int,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send a whole response."""
        bare = status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        length = () if bare else (("content-length", str(len(body))),)
        head = self._head(status, (*headers, *length))
        self._framing = "length"
        self.started = self.finished = True
        self.wire.send(head if self.method == "HEAD" else head + body)

    def start(
        self,
        status: int,
        headers: Iterable[tuple[str, str]] = (),
        *,
        length: int | None = None,
        first: bytes = b"",
    ) -> None:
        """Send the response's head and its first bytes in one write.

        Args:
            status: HTTP status.
            headers: More header fields.
            length: Size of the body in bytes; None when it is not known before.
            first: The body's first bytes, if there are some.
        """
        extra: tuple[tuple[str, str], ...]
        if length is not None:
            self._framing, extra = "length", (("content-length", str(length)),)
        elif self.version == "1.0":
            self._framing, extra = "close", ()
            self.keep_alive = False
        else:
            self._framing, extra = "chunked", (("transfer-encoding", "chunked"),)
        head = self._head(status, (*headers, *extra))
        self.started = True
        self.wire.send(head + self._frame(first) if first else head)

    def write(self, data: bytes) -> None:
        """Queue a part of the body. See `wire.writable` before a large one."""
        if data and not self.finished:
            self.wire.send(self._frame(data))

    def finish(self, last: bytes = b"") -> None:
        """Queue the body's last bytes and its end, in one write."""
        if self.finished:
            return
        self.finished = True
        data = self._frame(last) if last else b""
        if self._framing == "chunked":
            data += b"0\r\n\r\n"
        if data:
            self.wire.send(data)

    def send_raw(self, data: bytes) -> None:
        """Queue bytes that carry their own framing, the head included."""
        self.started = True
        self.wire.send(data)

    async def drain(self) -> None:
        """Wait until the socket has room.

        Raises:
            ClientGoneError: The connection was lost meanwhile.
        """
        while not self.wire.writable and not self.closed:
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def wake(room: asyncio.Future[None] = room) -> None:
                if not room.done():
                    room.set_result(None)

            self.on_writable = wake
            self.when_closed(wake)
            try:
                await room
            finally:
                self.on_writable = None
                if wake in self._closed_callbacks:
                    self._closed_callbacks.remove(wake)
        if self.closed:
            raise ClientGoneError

    def _frame(self, data: bytes) -> bytes:
        if self._framing != "chunked":
            return data
        return b"%x\r\n%b\r\n" % (len(data), data)

    def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        lines = [_status_line(status)]
        lines.extend(f"{name}: {value}" for name, value in headers)
        lines.append(f"date: {_http_date(int(time.time()))}")
        if not self.keep_alive:
            lines.append("connection: close")
        lines.append("\r\n")
        # UTF-8 where a header quotes a file's name; all else is ASCII.
        return "\r\n".join(lines).encode()


@functools.lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"


@functools.lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)
