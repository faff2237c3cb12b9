"""E2B's wire with canned answers and nothing behind it: what is left is what its client costs.

`python -m tests.bench.canned` prints its address, and serves until standard input ends.
A program is known by its command: `true`, `lines N` (N lines of 64 bytes, a frame each) or
`hold` (until it is killed). Under this service's supervisor it gets the trailer, too.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Final

LINE: Final = b"0123456789" * 6 + b"012\n"
"""What a flood repeats: 64 bytes."""

_PID: Final = 4711
_FRAMES_AT_ONCE: Final = 64
_CONNECT: Final = "application/connect+json"
_FIELDS: Final = {
    "templateID": "base",
    "clientID": "canned",
    "envdVersion": "0.6.13",
    "alias": "base",
    "envdAccessToken": "canned",
    "cpuCount": 2,
    "memoryMB": 1024,
    "diskSizeMB": 10240,
    "state": "running",
    "startedAt": "2026-01-01T00:00:00Z",
    "endAt": "2099-01-01T00:00:00Z",
}


def _envelope(message: dict[str, Any], flags: int = 0) -> bytes:
    data = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(data)) + data


def _event(**event: Any) -> bytes:
    return _envelope({"event": event})


def _data(stream: str, data: bytes) -> bytes:
    return _event(data={stream: base64.b64encode(data).decode()})


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_START: Final = _event(start={"pid": _PID})
_EXITED: Final = _event(end={"exited": True, "status": "exit status 0"})
_KILLED: Final = _event(end={"exited": False, "exitCode": -1, "status": "signal: killed"})
_END: Final = _envelope({}, flags=2)
_LINE_FRAME: Final = _data("stdout", LINE)


class Canned:
    """The server's state: the programs that hold, and when the last kill was asked for."""

    def __init__(self) -> None:
        self._holding: dict[str, asyncio.Event] = {}
        self._killed_at = 0.0
        self._made: dict[str, dict[str, Any]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, until its client leaves."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                method, path, body = await _request(reader)
                if path == "/process.Process/Start":
                    started = json.loads(body[5:])["process"]
                    await self._stream(writer, self._run(started))
                else:
                    _answer(writer, *self._plain(method, path, body))
                await writer.drain()
        writer.close()

    def _plain(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        if path == "/canned/killed":
            return 200, self._killed_at
        rest = path.partition("?")[0].partition("/sandboxes")[2]
        if method == "POST" and not rest:
            sandbox_id = f"canned{len(self._made):014d}"
            metadata = json.loads(body).get("metadata", {})
            made = {**_FIELDS, "sandboxID": sandbox_id, "metadata": metadata}
            self._made[sandbox_id] = made
            return 201, made
        if method == "GET" and "/sandboxes" in path:
            return 200, self._made[rest[1:]] if rest else list(self._made.values())
        return 204, None

    async def _stream(self, writer: asyncio.StreamWriter, frames: AsyncIterator[bytes]) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {_CONNECT}\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        async for data in frames:
            writer.write(_chunk(data))
            await writer.drain()
        writer.write(_chunk(_END) + b"0\r\n\r\n")

    async def _run(self, started: dict[str, Any]) -> AsyncIterator[bytes]:
        arguments = started["args"]
        yield _START
        jobs = arguments[4:]
        if arguments[0] == "-c" and jobs:
            # Of this service: it kills programs, three words each.
            self._killed_at = time.clock_gettime(time.CLOCK_MONOTONIC)
            for entry in jobs[2::3]:
                if (held := self._holding.pop(entry, None)) is not None:
                    held.set()
            yield _data("stdout", b"\n" * (len(jobs) // 3)) + _EXITED
            return
        name, _, count = str(arguments[-1]).partition(" ")
        if name == "hold":
            marker = started["envs"]["SANDBOX_EXEC_MARKER"]
            held = self._holding[f"SANDBOX_EXEC_MARKER={marker}"] = asyncio.Event()
            await held.wait()
            yield _KILLED
            return
        for start in range(0, int(count or 0), _FRAMES_AT_ONCE):
            yield _LINE_FRAME * min(int(count) - start, _FRAMES_AT_ONCE)
        if "/bin/bash" in arguments[1:]:
            nonce = arguments[arguments.index("/bin/bash", 1) + 1]
            trailer = f"\x1e{nonce}:0:1:0\x1e".encode()
            yield _data("stdout", trailer) + _data("stderr", trailer)
        yield _EXITED


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.split("\r\n")
    method, path, _ = line.split(" ", 2)
    fields = {name.lower(): value.strip() for name, _, value in (it.partition(":") for it in lines)}
    if fields.get("transfer-encoding") == "chunked":
        body = bytearray()
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return method, path, bytes(body)
    return method, path, await reader.readexactly(int(fields.get("content-length", "0")))


def _answer(writer: asyncio.StreamWriter, status: int, document: object) -> None:
    body = b"" if document is None else json.dumps(document).encode()
    head = f"HTTP/1.1 {status} Canned\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


async def main() -> None:
    """Serve on a free port."""
    server = await asyncio.start_server(Canned().serve, "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
