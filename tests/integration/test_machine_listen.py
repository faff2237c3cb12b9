"""A port inside a sandbox that the server listens on."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest

from sandbox_service.e2b_local.machine import GuestLostError, GuestOSError
from sandbox_service.e2b_local.machine.channel import Answer
from sandbox_service.e2b_local.machine.loopback import adopt_listener
from tests.integration.machine_bench import count_descriptors, run

PORT = 3128
TALK = f"""
import socket
with socket.create_connection(("127.0.0.1", {PORT}), 10) as peer:
    peer.sendall(b"from inside")
    print(peer.recv(100).decode())
"""


async def serve_once(listening):
    """Answer the next program that connects; what it said."""
    loop = asyncio.get_running_loop()
    client, _ = await loop.sock_accept(listening)
    with client:
        client.setblocking(False)
        heard = await loop.sock_recv(client, 100)
        await loop.sock_sendall(client, b"from outside")
    return heard


async def talk(guest, listening):
    heard, outcome = await asyncio.gather(serve_once(listening), run(guest, "python3", "-c", TALK))
    return heard, outcome.out


async def test_programs_reach_the_server_and_nobody_else_does(guest):
    """The port is one of the sandbox's own network."""
    with await guest.listen(PORT) as listening:
        assert await talk(guest, listening) == (b"from inside", b"from outside\n")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", PORT), 5)


async def test_it_outlives_a_freeze(guest):
    with await guest.listen(PORT) as listening:
        await guest.freeze()
        await guest.thaw()
        assert await talk(guest, listening) == (b"from inside", b"from outside\n")


async def test_two_sandboxes_have_the_same_port_each(machine, guest):
    other = await machine.boot("other")
    with await guest.listen(PORT) as one, await other.listen(PORT) as two:
        assert await talk(guest, one) == await talk(other, two)


async def test_no_program_can_take_the_port(guest):
    """Or it would answer for the server."""
    steal = (
        "import socket\n"
        "for address in ('127.0.0.1', '0.0.0.0', '::'):\n"
        "    family = socket.AF_INET6 if ':' in address else socket.AF_INET\n"
        "    thief = socket.socket(family)\n"
        "    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
        "    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        f"    try: thief.bind((address, {PORT})); thief.listen(); print('taken')\n"
        "    except OSError as error: print(error.errno)\n"
    )
    with await guest.listen(PORT):
        outcome = await run(guest, "python3", "-c", steal)
    assert outcome.out.decode().split() == [str(errno.EADDRINUSE)] * 3


async def test_a_port_that_is_taken_is_refused_and_nothing_leaks(guest):
    with await guest.listen(PORT):
        before = count_descriptors()
        with pytest.raises(GuestOSError) as caught:
            await guest.listen(PORT)
        assert caught.value.errno == errno.EADDRINUSE
        assert count_descriptors() <= before
    with await guest.listen(PORT):
        pass


def _listener(address="127.0.0.1", family=socket.AF_INET):
    server = socket.create_server((address, 0), family=family)
    return server.detach()


def _unix():
    server = socket.socket(socket.AF_UNIX)
    server.bind("")  # The kernel picks an abstract name.
    server.listen()
    return server.detach()


@pytest.mark.parametrize(
    "make",
    [
        lambda: os.open("/dev/null", os.O_RDONLY),
        lambda: socket.socket().detach(),
        lambda: socket.socket(type=socket.SOCK_DGRAM).detach(),
        lambda: _listener("0.0.0.0"),
        lambda: _listener("::1", socket.AF_INET6),
        _listener,
        _unix,
    ],
    ids=["no socket", "no listener", "udp", "any address", "ipv6", "another port", "unix"],
)
async def test_an_agent_that_passes_anything_else_is_not_believed(guest, monkeypatch, make):
    """What it passes is accepted on, in the server."""
    descriptor = make()
    with pytest.raises(OSError, match=r"Protocol wrong type|non-socket"):
        adopt_listener(descriptor, 1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)

    async def lie(operation, **_):
        return Answer(None, (make(),))

    monkeypatch.setattr(guest, "_ask", lie)
    with pytest.raises(GuestLostError, match="no listener"):
        await guest.listen(1)
    assert "no listener" in await asyncio.wait_for(asyncio.shield(guest.ended), 10)
