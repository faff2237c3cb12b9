"""The proxy to the ports of a sandbox's programs."""

from __future__ import annotations

import asyncio
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
