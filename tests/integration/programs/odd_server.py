"""Runs inside a sandbox: a server whose answers are hard to pass on, and a WebSocket echo.

Each path answers in a way of its own: `/events` sends an event, waits until somebody asks for
`/heard`, and sends another; `/echo` answers every part of the body as it comes; `/early`
refuses an upload without reading it; `/trailers` is chunked and ends with a field; `/old` is
HTTP/1.0 without a length; `/keep` ignores the wish to close; `/none` is 204 and `/same` is
304; `/short` promises more than it sends; `/ws` is a WebSocket that echoes; all else answers
how many connections there were. HEAD answers a length and no body.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib

OK = b"HTTP/1.1 200 OK\r\n"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
connections = 0
heard = asyncio.Event()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, and close unless the answer says otherwise."""
    global connections
    connections += 1
    head = await reader.readuntil(b"\r\n\r\n")
    method, path, _ = head.split(b" ", 2)
    pairs = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    fields = {name.lower(): value for name, _, value in pairs}
    if method == b"HEAD":
        writer.write(OK + b"Content-Length: 12345\r\n\r\n")
    elif path == b"/events":
        await events(writer)
    elif path == b"/heard":
        heard.set()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    elif path == b"/echo":
        await echo(reader, writer)
    elif path == b"/early":
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much")
    elif path == b"/trailers":
        body = b"4\r\nbody\r\n0\r\nX-Digest: abc\r\n\r\n"
        writer.write(OK + b"Transfer-Encoding: chunked\r\nTrailer: X-Digest\r\n\r\n" + body)
    elif path == b"/old":
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nold but good")
    elif path == b"/keep":
        writer.write(OK + b"Connection: keep-alive\r\nContent-Length: 4\r\n\r\nkept")
        await writer.drain()
        await reader.read()
    elif path == b"/none":
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    elif path == b"/same":
        writer.write(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n")
    elif path == b"/short":
        writer.write(OK + b"Content-Length: 100\r\n\r\nonly this")
    elif path == b"/ws":
        await websocket(reader, writer, fields[b"sec-websocket-key"])
    else:
        text = b"%d %b" % (connections, fields.get(b"host", b""))
        writer.write(OK + b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
    await writer.drain()
    writer.close()


async def events(writer: asyncio.StreamWriter) -> None:
    """Send an event, and another one when it was heard."""
    writer.write(OK + b"Content-Type: text/event-stream\r\n\r\ndata: one\n\n")
    await writer.drain()
    await heard.wait()
    writer.write(b"data: two\n\n")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each chunk of the request with a chunk."""
    writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        size = int(await reader.readline(), 16)
        data = (await reader.readexactly(size + 2))[:-2]
        writer.write(b"%x\r\n%b\r\n" % (size, data))
        await writer.drain()
        if not size:
            return


async def websocket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes) -> None:
    """Send every message back, until one says goodbye."""
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while True:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        mask = await reader.readexactly(4)
        data = bytes(
            byte ^ mask[place % 4] for place, byte in enumerate(await reader.readexactly(size))
        )
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
        writer.write(bytes([first]) + length + data)
        await writer.drain()
        if first & 0x0F == 8:
            return


async def main() -> None:
    """Serve on port 3000 until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", 3000)
    await server.serve_forever()


asyncio.run(main())
