"""What the edge does about clients that are slow, hostile, or many."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sandbox_service.e2b_local.edge import Acceptor, prepare_tls
from sandbox_service.e2b_local.http1 import Server
from tests.integration.e2b_wire import until
from tests.support.edge_calls import HEALTH, ask, opened, tunnel


@pytest.mark.parametrize("path", ["/init", "/init/", "//freeze", "/files/../upgrade", "/%69nit"])
async def test_what_only_the_cloud_may_ask_of_envd_is_out_of_reach(backend, path):
    """Whatever the token, and whether there is such a sandbox or not."""
    request = f"POST {path} HTTP/1.1\r\nHost: 49983-inobody.sbx.localhost\r\n\r\n"
    async with opened(backend.status["port"]) as (reader, writer):
        head = await ask(reader, writer, request.encode())

    assert head.startswith("HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "first",
    [
        b"\x00" * 100,
        b"\xff\xfe\xfd",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01not a handshake at all",
        b"\x16\x03",
        b"CONN",
        b"GET /health HT",
    ],
)
async def test_a_client_that_speaks_something_else_disturbs_nobody(backend, first):
    """The port is known to every program on the machine."""
    async with opened(backend.status["port"]) as (reader, writer):
        writer.write(first)
        writer.write_eof()
        heard = await reader.read()
    async with opened(backend.status["port"]) as (reader, writer):
        healthy = await ask(reader, writer, HEALTH)

    # A TLS alert or a plain refusal: in its own language, or nothing.
    assert heard == b"" or heard.startswith((b"\x15\x03", b"HTTP/1.1 400 "))
    assert healthy.startswith("HTTP/1.1 204 ")


async def closed(writer):
    """Close a connection whatever the other side has done with it."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_thousand_short_visits_leave_nothing_behind(backend):
    """A descriptor lost per visit is a server that stops after a day."""
    port, folder = backend.status["port"], Path(f"/proc/{backend.status['pid']}/fd")

    def count():
        return sum(1 for _ in folder.iterdir())

    async def visit(number):
        async with opened(port) as (reader, writer):
            match number % 5:
                case 0:
                    await ask(reader, writer, HEALTH)
                case 1:
                    writer.write(b"\x16\x03\x01\x02\x00\x01")
                case 2:
                    await tunnel(reader, writer, "api.sbx.localhost:443")
                case 3:
                    await tunnel(reader, writer, f"127.0.0.1:{elsewhere}")

    ended = []

    async def silent(reader, writer):
        with contextlib.suppress(ConnectionError):
            await reader.read()
        await closed(writer)
        ended.append(writer)

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        elsewhere = server.sockets[0].getsockname()[1]
        await visit(0)
        before = count()
        for start in range(0, 1000, 50):
            await asyncio.gather(*(visit(number) for number in range(start, start + 50)))

        async def settled():
            # A sandbox that is booted ahead meanwhile takes a few; a kind of visit, 200.
            return len(ended) == 200 and count() < before + 50

        await until(settled)


@asynccontextmanager
async def own_edge(tmp_path, **settings):
    """An edge in this process, so that its clocks and its end are ours."""

    async def answer(exchange):
        exchange.respond(200, exchange.path.encode())

    server = Server(answer)
    tls = prepare_tls(tmp_path, "sbx.test").context
    edge = Acceptor(server, tls, lambda host, _: host.endswith("sbx.test"), **settings)
    listening = socket.create_server(("127.0.0.1", 0))
    edge.listen(listening)
    try:
        yield edge, server, listening.getsockname()[1]
    finally:
        await edge.close()
        await server.close()


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\x16",
        b"\x16\x03\x01\x02\x00",
        b"CONNECT a.sbx.test:1 HTTP/1.1\r\n",
        b"CONNECT a.sbx.test:1 HTTP/1.1\r\n\r\n",
        b"CONNECT a.sbx.test:1 HTTP/1.1\r\n\r\n\x16\x03",
    ],
)
async def test_a_client_that_stops_in_the_middle_is_let_go(tmp_path, first):
    """It holds a socket for as long as it is given, and keeps nobody waiting."""
    async with (
        own_edge(tmp_path, opening_seconds=0.3) as (_, _, port),
        opened(port) as (reader, writer),
        opened(port) as (other_reader, other_writer),
    ):
        writer.write(first)
        meanwhile = await ask(other_reader, other_writer, b"GET /a HTTP/1.1\r\n\r\n")
        left = await reader.read()

    assert meanwhile.startswith("HTTP/1.1 200 ")
    assert left in (b"", b"HTTP/1.1 200 Connection established\r\n\r\n")


async def test_a_request_may_come_in_the_smallest_parts(tmp_path):
    """What was read to look for CONNECT is read by nobody else."""
    request = b"COPY /path HTTP/1.1\r\nHost: x\r\n\r\n"
    async with own_edge(tmp_path) as (_, _, port), opened(port) as (reader, writer):
        for place in range(len(request)):
            writer.write(request[place : place + 1])
            await writer.drain()
        answer = await reader.readuntil(b"/path")

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_tunnels_end_with_the_server(tmp_path):
    """Nothing that it passes on may outlive it."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def listen(reader, writer):
        begun.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        await closed(writer)
        ended.set()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as elsewhere:
        place = f"127.0.0.1:{elsewhere.sockets[0].getsockname()[1]}"
        async with (
            own_edge(tmp_path) as (edge, server, port),
            opened(port) as (reader, writer),
            opened(port) as (own_reader, own_writer),
        ):
            await tunnel(reader, writer, place)
            await begun.wait()
            await tunnel(own_reader, own_writer, "a.sbx.test:443")
            await ask(own_reader, own_writer, b"GET / HTTP/1.1\r\n\r\n")
            await own_reader.readexactly(1)
            await edge.close()
            await server.close()
            await ended.wait()
            for cut in (reader, own_reader):
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await cut.readexactly(1)
