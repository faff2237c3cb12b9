"""Connections that fail in the middle of a response."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox_service.e2b_local.http1 import Connection, Exchange

# A client that is told to go on with its upload has not been answered yet.
_INFORMATIONAL: Final = (b"HTTP/1.1 100 ", b"HTTP/1.1 102 ", b"HTTP/1.1 103 ")


class _CountingWire:
    """Stands between an exchange and its connection, and counts what is sent.

    Args:
        exchange: Sends through this from now on.
        after_bytes: What goes out before the fault; the response's head counts.
        happens: Asked once, when the fault is due: whether it happens after all.
    """

    def __init__(self, exchange: Exchange, after_bytes: int, happens: Callable[[], bool]) -> None:
        # Whatever else stands here is another of these, and passes everything on.
        self._inner = cast("Connection", exchange.wire)
        self._left: int | None = after_bytes
        self._happens = happens

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a connection has
        """Give what an upgrade needs of the connection, besides a wire."""
        return getattr(self._inner, name)

    @property
    def writable(self) -> bool:
        """Whether the connection takes more."""
        return self._inner.writable

    def send(self, data: bytes) -> None:
        """Pass bytes on, until the fault is due."""
        if self._left is None:
            self._send_after(data)
        elif len(data) < self._left:
            self._left -= len(data)
            self._inner.send(data)
        elif data.startswith(_INFORMATIONAL):
            self._inner.send(data)
        else:
            before, rest = data[: self._left], data[self._left :]
            self._left = None
            if not self._happens():
                self._inner.send(data)
                return
            self._inner.send(before)
            self._fail(rest)

    def _fail(self, rest: bytes) -> None:
        """Begin the fault; `rest` is due next."""
        raise NotImplementedError

    def _send_after(self, data: bytes) -> None:
        """Take what is sent once the fault has begun, or did not happen."""
        raise NotImplementedError

    def update_reading(self) -> None:
        """Pause or resume the socket, as the waiting bodies ask."""
        self._inner.update_reading()

    def abort(self) -> None:
        """Cut the connection without sending what is queued."""
        self._inner.abort()


class CutWire(_CountingWire):
    """Is closed after so many bytes, whatever was still to come."""

    _is_cut = False

    def _fail(self, rest: bytes) -> None:
        self._is_cut = True
        # What was to go out still does: exactly that much arrives.
        self._inner.close()

    def _send_after(self, data: bytes) -> None:
        if not self._is_cut:
            self._inner.send(data)


class StalledWire(_CountingWire):
    """Holds back what comes after so many bytes, for a while.

    Args:
        exchange: Sends through this from now on.
        after_bytes: What goes out before; the response's head counts.
        happens: Asked once, when it is due: whether it happens after all.
        seconds: For how long.
    """

    def __init__(
        self, exchange: Exchange, after_bytes: int, happens: Callable[[], bool], seconds: float
    ) -> None:
        super().__init__(exchange, after_bytes, happens)
        self._exchange = exchange
        self._seconds = seconds
        self._held: list[bytes] | None = None
        self._keep_alive = True

    @property
    def writable(self) -> bool:
        """Whether the connection takes more: not while it stalls."""
        return self._held is None and self._inner.writable

    def _fail(self, rest: bytes) -> None:
        self._held = [rest]
        # A connection that ends with its response has to wait for the response.
        self._keep_alive = self._exchange.keep_alive
        self._exchange.keep_alive = True
        asyncio.get_running_loop().call_later(self._seconds, self._flow_again)

    def _send_after(self, data: bytes) -> None:
        if self._held is None:
            self._inner.send(data)
        else:
            self._held.append(data)

    def _flow_again(self) -> None:
        held, self._held = self._held or [], None
        self._inner.send(b"".join(held))
        if self._exchange.finished:
            if not self._keep_alive:
                self._inner.close()
            return
        self._exchange.keep_alive = self._keep_alive
        if self._exchange.on_writable is not None:
            self._exchange.on_writable()
