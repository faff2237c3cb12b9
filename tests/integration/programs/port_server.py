"""Runs inside a sandbox: a small HTTP server that shows what reached it.

It answers each path in its own odd way, so that a proxy in front of it has to cope:
an upgrade echoes, POST answers the body's digest, `/slow` comes in two parts, `/big`
is 50 MB, `/watch` notes in a file that its client has left, `/silent` closes without a
word, and everything else answers the host that was asked for, claiming to keep the
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request and close."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    pairs = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    fields = {name.lower(): value for name, value in pairs}
    method, path, _ = head.split(" ", 2)
    if "upgrade" in fields:
        writer.write(SWITCHING)
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    elif method == "POST":
        body = await reader.readexactly(int(fields["content-length"]))
        digest = hashlib.sha256(body).hexdigest().encode()
        writer.write(OK + b"Content-Length: %d\r\n\r\n%b" % (len(digest), digest))
    elif path == "/slow":
        writer.write(OK + b"\r\nfirst\n")
        await writer.drain()
        await asyncio.sleep(0.3)
        writer.write(b"second\n")
    elif path == "/watch":
        writer.write(OK + b"\r\n")
        await writer.drain()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        await asyncio.to_thread(Path("client-left").write_text, "yes")
    elif path == "/big":
        writer.write(OK + b"Content-Length: 50000000\r\n\r\n")
        for _ in range(50):
            writer.write(b"x" * 1_000_000)
            await writer.drain()
    elif path != "/silent":
        host = fields.get("host", "").encode()
        head_lines = b"Connection: keep-alive\r\nContent-Length: %d\r\n\r\n" % len(host)
        writer.write(OK + head_lines + host)
    await writer.drain()
    writer.close()


async def main() -> None:
    """Serve on port 3000 until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", 3000)
    await server.serve_forever()


asyncio.run(main())
