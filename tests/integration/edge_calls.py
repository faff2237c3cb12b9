"""Raw connections to the edge, for its tests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

HEALTH = b"GET /health HTTP/1.1\r\nHost: api.sbx.localhost\r\n\r\n"


@asynccontextmanager
async def opened(port, **tls):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **tls)
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.transport.abort()


async def ask(reader, writer, request):
    """Send a request and give the answer's head."""
    writer.write(request)
    return (await reader.readuntil(b"\r\n\r\n")).decode()


async def tunnel(reader, writer, place):
    return await ask(reader, writer, f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
