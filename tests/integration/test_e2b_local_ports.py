"""The proxy to the ports of a sandbox's programs."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.e2b_wire import connected, new_box, until

SERVER = (Path(__file__).parent / "programs" / "port_server.py").read_bytes()


@pytest.fixture
async def client(backend):
    async with connected(backend) as client:
        yield client


@asynccontextmanager
async def serving(client, auto_resume=False, **network):
    """A sandbox with a program that listens on its port 3000."""
    resume = {"enabled": auto_resume}
    box = await new_box(client, timeout=60, network=network, autoResume=resume)
    await client.post(
        "/files?path=serve.py",
        content=SERVER,
        headers=box.headers(**{"content-type": "application/octet-stream"}),
    )
    async with box.start("exec python3 serve.py") as stream:
        await anext(stream)

        async def open_():
            extra = {"e2b-traffic-access-token": box.created.get("trafficAccessToken", "")}
            response = await client.get("/", headers=box.headers(3000, **extra))
            return response.status_code == 200

        await until(open_)
        yield box
    await client.delete(f"/sandboxes/{box.id}")


async def test_a_programs_port_is_reached_by_header_and_by_host(client, backend):
    """Programs and browsers see the same page."""
    async with serving(client) as box:
        by_header = await client.get("/", headers=box.headers(3000))
        host = f"3000-{box.id}.{backend.status['domain']}"
        by_host = await client.get("/", headers={"host": host})
        slow = await client.get("/slow", headers=box.headers(3000))
        big = await client.get("/big", headers=box.headers(3000))
        body = random.Random(2).randbytes(3_000_000)
        posted = await client.post("/p", headers=box.headers(3000), content=body)
        silent = await client.get("/silent", headers=box.headers(3000))
        closed = await client.get("/", headers=box.headers(3001))

    assert by_header.status_code == by_host.status_code == 200
    assert by_host.text == host
    assert slow.text == "first\nsecond\n"
    assert len(big.content) == 50_000_000
    assert posted.text == hashlib.sha256(body).hexdigest()
    assert silent.status_code == 502
    assert closed.status_code == 502
    assert closed.json() == {
        "sandboxId": box.id,
        "message": "The sandbox is running but port is not open",
        "port": 3001,
        "code": 502,
    }


async def test_a_program_learns_that_its_client_has_left(client):
    """A server that streams events would otherwise stream to nobody for ever."""
    async with serving(client) as box:
        async with client.stream("GET", "/watch", headers=box.headers(3000)) as response:
            assert response.status_code == 200

        async def noted():
            return (await client.get("/files?path=client-left", headers=box.headers())).is_success

        await until(noted)


async def test_an_upgraded_connection_is_passed_on_byte_by_byte(client, backend):
    """WebSockets carry the hot reload of every dev server."""
    async with serving(client) as box:
        reader, writer = await asyncio.open_connection("127.0.0.1", backend.status["port"])
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: 3000-{box.id}.sbx.test\r\n"
            "Connection: Upgrade\r\nUpgrade: echo\r\n\r\nearly".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        early = await reader.readexactly(5)
        data = random.Random(3).randbytes(2_000_000)
        writer.write(data)
        back = await reader.readexactly(len(data))
        writer.close()
        await writer.wait_closed()

    assert head.startswith(b"HTTP/1.1 101 ")
    assert early == b"early"
    assert back == data


async def test_a_private_port_asks_for_its_token_and_a_mask_hides_the_host(client):
    """Previews may be meant for one person, and frameworks check their host."""
    network = {"allowPublicTraffic": False, "maskRequestHost": "localhost:${PORT}"}
    async with serving(client, **network) as box:
        missing = await client.get("/", headers=box.headers(3000))
        wrong = await client.get(
            "/", headers=box.headers(3000, **{"e2b-traffic-access-token": "x"})
        )
        token = box.created["trafficAccessToken"]
        right = await client.get(
            "/", headers=box.headers(3000, **{"e2b-traffic-access-token": token})
        )

    assert missing.status_code == wrong.status_code == 403
    assert "is missing" in missing.json()["message"]
    assert "is invalid" in wrong.json()["message"]
    assert right.text == "localhost:3000"


async def test_visitors_wake_a_paused_sandbox_together(client):
    """A page has many parts; all arrive, and the program behind them is the same as before."""
    async with serving(client, auto_resume=True) as box:
        await client.get("/", headers=box.headers(3000))
        paused = await client.post(f"/sandboxes/{box.id}/pause")
        answers = await asyncio.gather(
            *(client.get("/", headers=box.headers(3000)) for _ in range(20))
        )
        shown = await client.get(f"/sandboxes/{box.id}")

    assert paused.status_code == 204
    assert {answer.status_code for answer in answers} == {200}
    assert shown.json()["state"] == "running"


async def test_nobody_wakes_a_paused_sandbox_that_was_not_made_for_it(client):
    """To its visitors it is not there."""
    async with serving(client) as box:
        await client.post(f"/sandboxes/{box.id}/pause")
        visited = await client.get("/", headers=box.headers(3000))
        shown = await client.get(f"/sandboxes/{box.id}")

    assert visited.status_code == 502
    assert visited.json()["message"] == "The sandbox was not found"
    assert shown.json()["state"] == "paused"


async def test_who_lacks_the_token_wakes_nobody(client):
    """A private sandbox sleeps until somebody comes who may enter."""
    async with serving(client, auto_resume=True, allowPublicTraffic=False) as box:
        await client.post(f"/sandboxes/{box.id}/pause")
        stranger = await client.get("/", headers=box.headers(3000))
        still = await client.get(f"/sandboxes/{box.id}")
        token = {"e2b-traffic-access-token": box.created["trafficAccessToken"]}
        guest = await client.get("/", headers=box.headers(3000, **token))

    assert stranger.status_code == 403
    assert still.json()["state"] == "paused"
    assert guest.status_code == 200


async def test_a_sandbox_that_is_gone_is_not_found_on_every_port(client):
    """The SDK reads this text to tell a dead sandbox from a busy one."""
    box = await new_box(client, timeout=30)
    await client.delete(f"/sandboxes/{box.id}")
    for port in (49983, 3000):
        response = await client.get("/health", headers=box.headers(port))

        assert response.status_code == 502
        assert response.json()["message"] == "The sandbox was not found"
