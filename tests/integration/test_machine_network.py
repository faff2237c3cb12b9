"""A sandbox without a way out reaches nothing: not the world, the host, nor another sandbox."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

from sandbox_service.e2b_local.machine import SpawnSpec
from tests.integration.machine_bench import finish, read_line, run, sh

# Tries each place; tells the errors' names, and "reached" where there was none.
_TRY = """
import errno, json, socket, sys
told = []
for kind, host, port in json.loads(sys.argv[1]):
    family = {"unix": socket.AF_UNIX}.get(kind, socket.AF_INET6 if ":" in host else socket.AF_INET)
    place = "\\0" + host if kind == "unix" else (host, port)
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as it:
        it.settimeout(5)
        try:
            it.connect(place)
            if kind == "udp":
                it.send(b"ping")
                it.recv(100)
            told.append("reached")
        except OSError as error:
            told.append(errno.errorcode.get(error.errno, repr(error)))
print(json.dumps(told))
"""


async def attempt(guest, *places):
    outcome = await run(guest, "python3", "-c", _TRY, json.dumps(places))
    assert outcome.code == 0, outcome
    return json.loads(outcome.out)


def own_addresses():
    """This host's addresses beside loopback's; connecting a datagram socket sends nothing."""
    for family, far in ((socket.AF_INET, "192.0.2.99"), (socket.AF_INET6, "2001:db8::99")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            yield probe.getsockname()[0]


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fe80::1"),
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "192.0.2.1", "fd00::1", "2606:4700::1111"),
        *("1.1.1.1", "255.255.255.255", "224.0.0.1", "ff02::1", "64:ff9b::7f00:1"),
    ],
)
async def test_no_address_outside_can_be_reached(guest, host):
    """Metadata services, private networks, the world: there is no route to any."""
    told = await attempt(guest, ("tcp", host, 80), ("tcp", host, 443), ("udp", host, 53))

    assert set(told) <= {"ENETUNREACH", "EACCES", "EINVAL"}


async def test_the_hosts_own_services_cannot_be_reached(guest):
    """Nor those that listen on its loopback, on all its addresses, or on no address at all."""
    with contextlib.ExitStack() as stack:
        places = []
        for host in ("127.0.0.1", "::1", *own_addresses()):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with contextlib.suppress(OSError):  # Not every host has IPv6.
                server = stack.enter_context(socket.create_server((host, 0), family=family))
                places.append(("tcp", host, server.getsockname()[1]))
        echo = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        echo.bind(("127.0.0.1", 0))
        places.append(("udp", "127.0.0.1", echo.getsockname()[1]))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind("")
        abstract.listen()
        places.append(("unix", abstract.getsockname()[1:].decode(), 0))
        socket.create_connection(places[0][1:], 5).close()  # It is there.

        told = await attempt(guest, *places)

    assert set(told) <= {"ECONNREFUSED", "ENETUNREACH"}
    assert told[0] == told[-1] == "ECONNREFUSED"


async def test_no_name_is_looked_up(guest):
    """A look-up would carry data out, and a resolver be a service of the host's."""
    script = (
        "import socket\n"
        "for name in ('pypi.org', 'metadata.google.internal', 'host.docker.internal'):\n"
        "    try: print(socket.getaddrinfo(name, 80))\n"
        "    except socket.gaierror: print('unknown')\n"
    )
    outcome = await run(guest, "python3", "-c", script)

    assert outcome.out.split() == [b"unknown"] * 3
    assert b"nameserver" not in (await run(guest, "cat", "/etc/resolv.conf")).out
    assert (await sh(guest, "getent hosts localhost")).endswith("localhost\n")


async def test_another_sandboxes_ports_cannot_be_reached(machine, guest):
    """Each has a loopback of its own."""
    other = await machine.boot("other")
    serve = (
        "import socket\n"
        "server = socket.create_server(('', 8000))\n"
        "print('ready', flush=True)\n"
        "server.accept()\n"
    )
    process = await other.spawn(SpawnSpec(argv=("python3", "-c", serve)))
    assert process.stdout is not None
    assert await read_line(process.stdout) == b"ready\n"

    told = await attempt(guest, ("tcp", "127.0.0.1", 8000), ("tcp", "0.0.0.0", 8000))
    assert told == ["ECONNREFUSED", "ECONNREFUSED"]

    assert await attempt(other, ("tcp", "127.0.0.1", 8000)) == ["reached"]
    assert (await finish(process)).code == 0


async def test_nothing_listens_for_its_programs(guest):
    """Without a way out there is no proxy either."""
    assert await attempt(guest, ("tcp", "127.0.0.1", 3128)) == ["ECONNREFUSED"]
    assert "proxy" not in (await sh(guest, "env")).lower()


@pytest.mark.parametrize(
    "script",
    [
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "import socket; socket.socket(40, socket.SOCK_STREAM)",  # AF_VSOCK
        "import socket; socket.socket(38, socket.SOCK_SEQPACKET)",  # AF_ALG
        "open('/dev/net/tun', 'r+b')",
    ],
)
async def test_no_other_way_to_a_network_can_be_made(guest, script):
    assert (await run(guest, "python3", "-c", script)).code != 0


async def test_no_interface_and_no_route_can_be_added(guest):
    """Netlink is there to look, not to change."""
    script = (
        "import socket, struct\n"
        "netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
        # RTM_NEWLINK, a dummy interface: header, ifinfomsg, IFLA_LINKINFO { KIND 'dummy' }.
        "kind = struct.pack('HH', 9, 1) + b'dummy' + bytes(3)\n"
        "info = struct.pack('HH', 4 + len(kind), 18) + kind\n"
        "body = bytes(16) + info\n"
        "netlink.send(struct.pack('IHHII', 16 + len(body), 16, 0x605, 1, 0) + body)\n"
        "answer = netlink.recv(4096)\n"
        "print(struct.unpack_from('i', answer, 16)[0])\n"
    )
    outcome = await run(guest, "python3", "-c", script)

    assert int(outcome.out) == -1, outcome  # EPERM
