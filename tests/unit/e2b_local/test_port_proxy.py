"""What a program's connection loses, and what it must not lose."""

from __future__ import annotations

import socket

from sandbox_service.e2b_local.gateway.proxy import _Upstream
from tests.unit.e2b_local.wire_double import exchange_of

REFUSAL = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 8\r\n\r\ntoo much"


async def test_an_answer_before_a_reset_is_not_lost_with_the_connection():
    """A program may refuse an upload and close while more of it is on its way."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.sendall(REFUSAL)
    theirs.close()
    exchange, wire = exchange_of("POST", "/upload", body=None)
    upstream = _Upstream(exchange, ours)
    upstream.connection_lost(ConnectionResetError())
    ours.close()

    assert upstream.closed.done()
    assert (wire.status, wire.body) == (413, b"too much")
