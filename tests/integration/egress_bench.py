"""A way out of a sandbox with real sockets; the world outside is a server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket

from sandbox_service.e2b_local.egress import (
    ConnectionQuota,
    Destinations,
    EgressJournal,
    EgressProxy,
    EgressRules,
    EgressSettings,
)
from sandbox_service.e2b_local.tunnels.opening import Place
from sandbox_service.e2b_local.tunnels.tunnel import Tunnel
from tests.integration.machine_bench import until

SETTINGS = EgressSettings(allow=Destinations.parse(["*.example.org", "9.9.9.0/24"]))
PUBLIC = ipaddress.ip_address("93.184.215.14")
CONNECT = b"CONNECT www.example.org:443 HTTP/1.1\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


class World:
    """What a proxy finds outside: one server, whatever the name, and a sandbox's log."""

    def __init__(self):
        self.heard = []
        self.dialled = []
        self.looked_up = []
        self.logged = []
        self.serving = set()
        self.holds = None
        self.server = None

    async def serve(self, reader, writer):
        self.serving.add(writer)
        try:
            first = await reader.read(65536)
            self.heard.append(first)
            if first.startswith(b"hold"):
                writer.write(b"held\n")
                self.heard.append(await reader.read(65536))
            else:
                writer.write(ANSWER)
        except ConnectionResetError:
            pass
        finally:
            await closed(writer)
            self.serving.remove(writer)

    async def look_up(self, host):
        self.looked_up.append(host)
        if self.holds is not None:
            await self.holds.wait()
        if host == "nowhere.example.org":
            raise socket.gaierror(-2, "Name or service not known")
        return [PUBLIC if host != "inside.example.org" else ipaddress.ip_address("10.0.0.1")]

    async def dial(self, addresses, port):
        self.dialled.append((str(addresses[0]), port))
        place = Place("127.0.0.1", self.server.sockets[0].getsockname()[1])
        return await Tunnel.dial(place), addresses[0]

    def record(self, level, message, **fields):
        self.logged.append((level, message, fields))


class WayOut:
    """A proxy, and the programs that connect to it."""

    def __init__(self, world, quota):
        self.proxy = EgressProxy(
            SETTINGS,
            EgressRules(),
            ConnectionQuota(quota),
            journal=EgressJournal(world),
            look_up=world.look_up,
            dial=world.dial,
        )
        self.writers = []
        self.listen()

    def listen(self):
        listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = listening.getsockname()[1]
        self.proxy.listen(listening)

    async def open(self, data=b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(data)
        return reader, writer

    async def ask(self, data):
        """Send bytes and return all that is answered."""
        reader, writer = await self.open(data)
        answer = await ended(reader)
        writer.close()
        return answer

    async def hold(self, line=CONNECT):
        """Open a connection that stays open."""
        reader, writer = await self.open(line)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await reader.readline()
        writer.write(b"hold")
        assert await reader.readline() == b"held\n"
        return reader, writer


async def ended(reader):
    """All that comes until the end, be it in peace or not."""
    data = b""
    try:
        async with asyncio.timeout(10):
            while part := await reader.read(65536):
                data += part
    except ConnectionResetError:
        pass
    return data


async def closed(writer):
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def a_way_out(quota=1000):
    world = World()
    world.server = await asyncio.start_server(world.serve, "127.0.0.1", 0)
    way = WayOut(world, quota)
    try:
        yield world, way
    finally:
        way.proxy.close()
        for writer in way.writers:
            await closed(writer)
        world.server.close()
        await world.server.wait_closed()
        await until(lambda: not way.proxy._tasks and not world.serving)
