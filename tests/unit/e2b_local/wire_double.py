"""An exchange without a connection: what the handler under test sends is kept."""

from __future__ import annotations

import json
from typing import Any

from sandbox_service.e2b_local.http1 import Exchange, Headers


class WireDouble:
    """Stands in for a connection."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.writable = True
        self.aborted = False

    def send(self, data: bytes) -> None:
        self.sent += data

    def update_reading(self) -> None:
        """There is no socket to pause."""

    def abort(self) -> None:
        self.aborted = True

    @property
    def status(self) -> int:
        return int(self.sent[9:12])

    @property
    def head(self) -> str:
        return bytes(self.sent).partition(b"\r\n\r\n")[0].decode()

    @property
    def body(self) -> bytes:
        return bytes(self.sent).partition(b"\r\n\r\n")[2]

    def json(self) -> Any:
        return json.loads(self.body)


def exchange_of(
    method: str, target: str, body: bytes | None = b"", **headers: str
) -> tuple[Exchange, WireDouble]:
    """Make an exchange; `x_access_token="t"` becomes a header. A body of None is still to come."""
    wire = WireDouble()
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    exchange = Exchange(
        wire, method=method, target=target.encode(), version="1.1", headers=Headers(raw)
    )
    if body is not None:
        if body:
            exchange.feed(body)
        exchange.feed_end()
    return exchange, wire
