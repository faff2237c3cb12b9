"""Raw connections to the edge, for tests of it: none is left open, TLS included."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

HEALTH = b"GET /health HTTP/1.1\r\nHost: api.sbx.localhost\r\n\r\n"


@asynccontextmanager
async def opened(port, *, host="127.0.0.1", **tls):
    reader, writer = await asyncio.open_connection(host, port, **tls)
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.transport.abort()  # To close politely takes a peer who does the same.
        with suppress(OSError):
            await writer.wait_closed()


async def ask(reader, writer, request):
    """Send a request and give the answer's head."""
    writer.write(request)
    return (await reader.readuntil(b"\r\n\r\n")).decode()


async def tunnel(reader, writer, place):
    return await ask(reader, writer, f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
