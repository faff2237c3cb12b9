"""What is outside for sandboxes with a way out: a registry of packages, and how they ask for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import ssl
import tarfile
import zipfile
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, ip_address

from sandbox_service.e2b_local.tunnels.opening import Place
from sandbox_service.e2b_local.tunnels.tunnel import Tunnel

# What the proxy says of a request for a tunnel, told by a program without any proxy settings.
ASK = """
import socket, sys
with socket.create_connection(("127.0.0.1", 3128), 10) as proxy:
    proxy.sendall(f"CONNECT {sys.argv[1]} HTTP/1.1\\r\\n\\r\\n".encode())
    print(proxy.makefile("rb").read().decode())
"""

HOST = "packages.example.org"
NAME = "sandbox-probe"
_PYTHON_SOURCE = "ORIGIN = 'the wheel'\n"
_JAVASCRIPT_SOURCE = "module.exports = 'the tarball'\n"
_ADDRESS = IPv4Address("93.184.215.14")


def wheel() -> bytes:
    """A wheel with one module, `sandbox_probe`."""
    info = "sandbox_probe-1.0.dist-info"
    files = {
        "sandbox_probe.py": _PYTHON_SOURCE,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: sandbox-probe\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def tarball() -> bytes:
    """A package of npm with one module."""
    manifest = json.dumps({"name": NAME, "version": "1.0.0", "main": "index.js"})
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in (("package.json", manifest), ("index.js", _JAVASCRIPT_SOURCE)):
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


class PackageRegistry:
    """All that a way out finds outside: one package of Python and one of JavaScript.

    It serves on the ports of HTTP and HTTPS.

    Attributes:
        asked: The requests' first lines, and their `Host`.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self._ports: dict[int, int] = {}
        self._wheel, self._tarball = wheel(), tarball()
        self._serving: set[asyncio.Task[None]] = set()

    async def look_up(self, host: str) -> list[IPv4Address]:
        """Find it by whatever name."""
        return [_ADDRESS]

    async def dial(self, addresses: list[IPv4Address], port: int) -> tuple[Tunnel, IPv4Address]:
        """Reach it instead of its public address."""
        assert addresses == [_ADDRESS]
        return await Tunnel.dial(Place("127.0.0.1", self._ports[port])), ip_address(_ADDRESS)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, context: ssl.SSLContext) -> AsyncIterator[PackageRegistry]:
        """Serve it, with this identity on the port of HTTPS."""
        registry = cls()
        plain = await asyncio.start_server(registry._serve, "127.0.0.1", 0)
        secure = await asyncio.start_server(registry._serve, "127.0.0.1", 0, ssl=context)
        registry._ports = {
            80: plain.sockets[0].getsockname()[1],
            443: secure.sockets[0].getsockname()[1],
        }
        try:
            yield registry
        finally:
            for server in (plain, secure):
                server.close()
                await server.wait_closed()
            # A client may have left before the last bytes were out.
            for task in registry._serving:
                task.cancel()
            await asyncio.gather(*registry._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            await self._answer_on(reader, writer)
        finally:
            writer.transport.abort()

    async def _answer_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *fields = head.split("\r\n")
            hosts = [
                field.partition(": ")[2] for field in fields if field.lower().startswith("host:")
            ]
            self.asked.append((line, ",".join(hosts)))
            scheme = "https" if writer.get_extra_info("ssl_object") else "http"
            kind, body = self._answer(line.split(" ")[1], f"{scheme}://{HOST}")
            status = "200 OK" if body else "404 Not Found"
            writer.write(
                f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n".encode()
            )
            writer.write(body)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()

    def _answer(self, path: str, base: str) -> tuple[str, bytes]:
        wheel_name = "sandbox_probe-1.0-py3-none-any.whl"
        if path == f"/simple/{NAME}/":
            return "text/html", f'<a href="/files/{wheel_name}">{wheel_name}</a>'.encode()
        if path == f"/files/{wheel_name}":
            return "application/octet-stream", self._wheel
        if path == f"/{NAME}":
            digest = base64.b64encode(hashlib.sha512(self._tarball).digest()).decode()
            dist = {"tarball": f"{base}/{NAME}.tgz", "integrity": f"sha512-{digest}"}
            version = {"name": NAME, "version": "1.0.0", "main": "index.js", "dist": dist}
            document = {
                "name": NAME,
                "dist-tags": {"latest": "1.0.0"},
                "versions": {"1.0.0": version},
            }
            return "application/json", json.dumps(document).encode()
        if path == f"/{NAME}.tgz":
            return "application/octet-stream", self._tarball
        return "text/plain", b""
