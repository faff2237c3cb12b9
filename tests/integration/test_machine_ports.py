"""A sandbox's ports, reached from outside."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.e2b_local.machine import SpawnSpec
from tests.integration.machine_bench import finish, read_line


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0"])
async def test_a_port_inside_can_be_reached(guest, address):
    """Previews are made of this; no port of the host is opened."""
    script = (
        "import socket, sys\n"
        "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
        "server = socket.create_server((sys.argv[1], 0), family=family)\n"
        "print(server.getsockname()[1], flush=True)\n"
        "peer, _ = server.accept()\n"
        "peer.sendall(peer.recv(100).upper())\n"
    )
    process = await guest.spawn(SpawnSpec(argv=("python3", "-c", script, address)))
    assert process.stdout is not None
    port = int(await read_line(process.stdout))
    connection = await guest.connect(port)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, b"hello")
    answer = await loop.sock_recv(connection, 100)
    connection.close()
    await finish(process)

    assert answer == b"HELLO"
    with pytest.raises(ConnectionRefusedError):
        await guest.connect(port)
