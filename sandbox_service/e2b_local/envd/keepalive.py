"""A sign of life on streams that are silent for long, for proxies on the way close those."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sandbox_service.e2b_local.http1 import Exchange

_DEFAULT_SECONDS: Final = 90
_HEADER: Final = b"keepalive-ping-interval"


class Keepalive:
    """Sends a message whenever a stream was silent for as long as its client asked for.

    Args:
        exchange: The stream; its header says how long.
        message: What is sent.
    """

    def __init__(self, exchange: Exchange, message: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._exchange = exchange
        self._message = message
        self._interval = _seconds(exchange)
        self._last_sent_at = self._loop.time()
        self._timer = self._loop.call_later(self._interval, self._fire)

    def sent(self) -> None:
        """Note that something else was just sent."""
        self._last_sent_at = self._loop.time()

    def cancel(self) -> None:
        """Send no more of them."""
        self._timer.cancel()

    def _fire(self) -> None:
        wait = self._last_sent_at + self._interval - self._loop.time()
        if wait <= 0:
            wait = self._interval
            self.sent()
            # A full socket is not silent, and its reader needs no more to read.
            if self._exchange.wire.writable:
                self._exchange.write(self._message)
        self._timer = self._loop.call_later(wait, self._fire)


def _seconds(exchange: Exchange) -> float:
    value = exchange.headers.get(_HEADER) or ""
    if not value.isascii() or not value.isdigit() or len(value) > 9:
        return _DEFAULT_SECONDS
    return int(value) or _DEFAULT_SECONDS
