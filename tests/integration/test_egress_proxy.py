"""The way out of a sandbox: where it leads, and who is told."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import pytest

from sandbox_service.e2b_local.egress import (
    DeniedError,
    Destinations,
    EgressCounts,
    EgressRules,
    lookup,
)
from sandbox_service.e2b_local.egress.lookup import dial
from tests.integration.egress_bench import ANSWER, CONNECT, PUBLIC, a_way_out, ended
from tests.integration.machine_bench import until


async def test_a_tunnel_leads_to_the_address_that_was_judged():
    async with a_way_out() as (world, way):
        answer = await way.ask(CONNECT + b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: not way.proxy._open)
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n" + ANSWER
    assert world.dialled == [(str(PUBLIC), 443)]
    assert world.heard == [b"GET / HTTP/1.1\r\n\r\n"]
    assert way.proxy.counts == EgressCounts(1, 0, 18, len(ANSWER))


async def test_a_plain_request_is_passed_on_as_the_server_expects_it():
    async with a_way_out() as (world, way):
        answer = await way.ask(
            b"GET http://www.example.org/a?b=c HTTP/1.1\r\nHost: evil.example\r\n"
            b"Proxy-Authorization: secret\r\nProxy-Connection: keep-alive\r\n\r\n"
        )
    assert answer.endswith(b"hello")
    assert world.heard == [
        b"GET /a?b=c HTTP/1.1\r\nHost: www.example.org\r\nConnection: close\r\n\r\n"
    ]
    assert world.dialled == [(str(PUBLIC), 80)]


async def test_a_body_is_passed_on_and_nothing_after_it():
    """The next request may be for a place that is not allowed."""
    post = b"POST http://www.example.org/ HTTP/1.1\r\nContent-Length: 8\r\n\r\n"
    async with a_way_out() as (world, way):
        assert await way.ask(post + b"hold it!") == ANSWER
        assert world.heard[0].endswith(b"Connection: close\r\n\r\nhold it!")
    async with a_way_out() as (world, way):
        answer = await way.ask(post + b"12345678GET / HTTP/1.1\r\n\r\n")
        assert b"one request a connection" in answer
        assert world.dialled == []
        reader, writer = await way.open(post)
        await until(lambda: world.heard)
        writer.write(b"123456789")
        assert await ended(reader) in (b"", ANSWER)
        await until(lambda: not way.proxy._open)
    assert all(b"9" not in heard for heard in world.heard)


@pytest.mark.parametrize(
    ("request_line", "status", "words"),
    [
        ("CONNECT evil.example.com:443", b"403", b"not on the list"),
        ("CONNECT www.example.org:22", b"403", b"port 22"),
        ("CONNECT inside.example.org:443", b"403", b"not public"),
        ("CONNECT 169.254.169.254:80", b"403", b"not public"),
        ("CONNECT [::ffff:169.254.169.254]:80", b"403", b"not public"),
        ("CONNECT 127.0.0.1:80", b"403", b"not public"),
        ("CONNECT 93.184.215.14:443", b"403", b"not on the list"),
        ("CONNECT nowhere.example.org:443", b"502", b"cannot be reached"),
        ("GET http://10.0.0.1/", b"403", b"not public"),
        ("GET https://www.example.org/", b"400", b"http://"),
        ("GET http://user:secret@www.example.org/", b"400", b"password"),
        ("GET /", b"400", b"http://"),
        ("CONNECT www.example.org", b"400", b"port"),
        ("CONNECT 0x7f.1:80", b"400", b"host"),
        ("GET http://[::1/", b"400", b"host"),
        ("nonsense", b"400", b"proxy"),
    ],
)
async def test_what_is_refused_is_told_why(request_line, status, words):
    async with a_way_out() as (world, way):
        line = request_line if " " not in request_line else f"{request_line} HTTP/1.1"
        answer = await way.ask(line.encode() + b"\r\n\r\n")
    assert answer.split()[1] == status
    assert words in answer
    assert b"secret" not in answer
    assert world.dialled == []
    assert way.proxy.counts.refused == (status == b"403")


async def test_a_name_that_is_refused_is_not_looked_up():
    """Whoever answers for `secret.attacker.example` would learn the secret by that."""
    async with a_way_out() as (world, way):
        await way.ask(b"CONNECT secret.attacker.example:443 HTTP/1.1\r\n\r\n")
        way.proxy.rules = EgressRules(internet=False)
        await way.ask(b"CONNECT secret.example.org:443 HTTP/1.1\r\n\r\n")
        await way.ask(b"CONNECT 9.9.9.9:443 HTTP/1.1\r\n\r\n")
    assert world.looked_up == []
    assert way.proxy.counts.refused == 3


async def test_rules_hold_for_what_is_open_and_for_what_is_being_opened():
    async with a_way_out() as (world, way):
        reader, writer = await way.hold()
        other, other_writer = await way.hold(b"CONNECT 9.9.9.9:443 HTTP/1.1\r\n\r\n")
        world.holds = asyncio.Event()
        late, late_writer = await way.open(CONNECT)
        await until(lambda: len(world.looked_up) == 2)

        way.proxy.rules = EgressRules(internet=False, allow=Destinations.parse(["9.9.9.9"]))
        world.holds.set()

        assert await ended(reader) == b""
        assert b"denied" in await ended(late)
        other_writer.write(b"more")
        await until(lambda: b"more" in world.heard)
        assert b"denied" in await way.ask(CONNECT)
        way.proxy.rules = EgressRules()
        assert (await way.ask(CONNECT + b"x")).endswith(b"hello")
        for one in (writer, late_writer, other_writer):
            one.close()
        assert await ended(other) == b""


async def test_a_connection_dialled_under_older_rules_is_not_served():
    """The rules may change between the verdict and the answer of the other end."""
    async with a_way_out() as (world, way):
        reach = world.dial

        async def dial_slowly(addresses, port):
            connected = await reach(addresses, port)
            way.proxy.rules = EgressRules(internet=False)
            return connected

        way.proxy._dial = dial_slowly
        assert b"denied" in await way.ask(CONNECT + b"secret")
        await until(lambda: world.heard)
    assert world.heard == [b""]


async def test_a_pause_cuts_and_a_resumption_serves_again():
    async with a_way_out() as (_, way):
        reader, writer = await way.hold()
        way.proxy.pause()
        assert await ended(reader) == b""
        writer.close()
        await until(lambda: not way.proxy._tasks)
        later, later_writer = await way.open(CONNECT + b"x")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not way.proxy._tasks
        way.proxy.resume()
        assert (await ended(later)).endswith(b"hello")
        later_writer.close()


async def test_closing_cuts_and_another_listener_may_follow():
    """As after a boot of the same sandbox; what went through before still counts."""
    async with a_way_out() as (_, way):
        reader, writer = await way.hold()
        way.proxy.close()
        way.proxy.close()
        assert await ended(reader) == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await way.open()
        way.listen()
        assert (await way.ask(CONNECT + b"x")).endswith(b"hello")
        await until(lambda: not way.proxy._open)
        assert way.proxy.counts == EgressCounts(2, 0, 5, len(b"held\n" + ANSWER))


async def test_the_log_tells_each_place_once_and_not_too_many():
    async with a_way_out() as (world, way):
        for _ in range(2):
            await way.ask(CONNECT + b"x")
            await way.ask(b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n")
        assert world.logged == [
            (
                "info",
                "Connected to www.example.org:443",
                {"host": "www.example.org", "port": 443, "address": PUBLIC},
            ),
            (
                "warn",
                "Not connected to evil.example:443: evil.example is not on the list of hosts"
                " that sandboxes may reach",
                {"host": "evil.example", "port": 443},
            ),
        ]
        for number in range(100):
            await way.ask(b"CONNECT evil%d.example:443 HTTP/1.1\r\n\r\n" % number)
        assert len(world.logged) == 66
        assert world.logged[-1][1] == "More of these are not listed"
        await until(lambda: not way.proxy._open)
        for _ in range(2):
            way.proxy.journal.sums(way.proxy.counts)
        assert len(world.logged) == 67
        assert world.logged[-1][1] == (
            f"Network: 2 connections, 102 refused, 2 bytes out, {2 * len(ANSWER)} bytes in"
        )


async def test_addresses_of_this_host_are_never_dialled():
    """Whatever says that it is public: a host's own address is not the world."""
    for own in ("127.0.0.1", "127.3.2.1", "::1"):
        with pytest.raises(DeniedError, match="host of the sandboxes"):
            await dial([ipaddress.ip_address(own)], 80)
    route = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with route:
        try:
            route.connect(("192.0.2.99", 9))  # Sends nothing.
        except OSError:
            return  # There is no network, and no address either.
        own = ipaddress.ip_address(route.getsockname()[0])
    with pytest.raises(DeniedError, match="host of the sandboxes"):
        await dial([own], 80)


async def test_an_address_that_does_not_answer_is_not_the_last(monkeypatch):
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    monkeypatch.setattr(lookup, "_is_own", lambda _: False)
    with listening:
        addresses = [ipaddress.ip_address(text) for text in ("127.0.0.9", "127.0.0.1")]
        tunnel, address = await dial(addresses, port)
        tunnel.abort()
    assert address == addresses[1]


async def test_names_are_looked_up_by_the_host():
    found = await lookup.look_up("localhost")
    assert found
    assert all(address.is_loopback for address in found)
