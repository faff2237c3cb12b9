"""The way out of a sandbox under programs that send too much, too slowly or too often."""

from __future__ import annotations

import asyncio
import socket

import pytest

from sandbox_service.e2b_local.egress import (
    proxy,
)
from tests.integration.egress_bench import CONNECT, a_way_out, ended
from tests.integration.machine_bench import until


@pytest.mark.parametrize("part", [b"a" * 70_000, b"a: b\r\n" * 12_000, b"\r" * 70_000])
async def test_a_head_without_end_is_refused(part):
    async with a_way_out() as (_, way):
        answer = await way.ask(b"GET http://www.example.org/ HTTP/1.1\r\nx: " + part)
    assert b"too long" in answer


class Pieces:
    """In place of a loop: what a program sends comes in these pieces, each at once."""

    def __init__(self, pieces):
        self.pieces = iter(pieces)

    async def sock_recv(self, client, size):
        return next(self.pieces)

    async def sock_sendall(self, client, data):
        pass


async def test_a_head_is_read_however_it_is_cut():
    async with a_way_out() as (_, way):
        whole = CONNECT + b"rest"
        cuts = [[whole[:at], whole[at:]] for at in range(1, len(CONNECT))]
        for pieces in (*cuts, [bytes((byte,)) for byte in whole]):
            way.proxy._loop = Pieces(pieces)
            head, rest = await way.proxy._read_head(None)
            assert head == CONNECT
            assert rest in (b"", b"rest")
        way.proxy._loop = asyncio.get_running_loop()


async def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(proxy, "_OPENING_SECONDS", 0.05)
    async with a_way_out() as (_, way):
        silent, one = await way.open()
        slow, two = await way.open(b"GET http://www.exam")
        assert await ended(silent) == await ended(slow) == b""
        one.close()
        two.close()


async def test_whoever_sends_on_after_a_refusal_is_not_read_for_ever():
    """What has come already is read without a turn for anybody else."""
    most = 100
    async with a_way_out() as (_, way):
        way.proxy._loop = pieces = Pieces([b"x" * 65536] * most)
        mine, other = socket.socketpair()
        with mine, other:
            await way.proxy._refuse(mine, "400 Bad Request", "enough")
        assert len(list(pieces.pieces)) > most / 2
        way.proxy._loop = asyncio.get_running_loop()


async def test_more_connections_than_are_served_wait_for_their_turn():
    """Those beyond the limit wait in the sandbox's own backlog; none of them is lost."""
    async with a_way_out() as (_, way):
        held = [await way.open() for _ in range(proxy.CONNECTION_LIMIT)]
        await until(lambda: len(way.proxy._tasks) == proxy.CONNECTION_LIMIT)
        waiting = [await way.open(CONNECT + b"x") for _ in range(200)]
        assert len(way.proxy._tasks) == proxy.CONNECTION_LIMIT
        for _, writer in held:
            writer.close()
        for reader, writer in waiting:
            assert (await ended(reader)).endswith(b"hello")
            writer.close()


async def test_all_sandboxes_together_have_a_quota():
    async with a_way_out(quota=1) as (_, way):
        reader, writer = await way.hold()
        assert (await way.ask(CONNECT)).startswith(b"HTTP/1.1 503")
        writer.close()
        await ended(reader)
        await until(lambda: not way.proxy._tasks)
        assert (await way.ask(CONNECT + b"x")).endswith(b"hello")


async def test_look_ups_that_take_long_hold_up_only_their_own_sandbox():
    async with a_way_out() as (world, way):
        world.holds = asyncio.Event()
        waiting = [await way.open(CONNECT + b"x") for _ in range(10)]
        await until(lambda: len(world.looked_up) == 4)
        assert b"not on the list" in await way.ask(b"CONNECT evil.org:443 HTTP/1.1\r\n\r\n")
        assert len(world.looked_up) == 4
        world.holds.set()
        for reader, writer in waiting:
            assert (await ended(reader)).endswith(b"hello")
            writer.close()
