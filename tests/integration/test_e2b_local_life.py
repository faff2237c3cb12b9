"""Sandboxes that are paused, resumed, listed and limited, through the SDK and without it."""

from __future__ import annotations

import e2b
import pytest
from e2b import AsyncSandbox

from tests.integration.e2b_wire import connected
from tests.integration.local_backend import LocalBackend
from tests.integration.sdk_calls import api, sandbox_of


@pytest.fixture
async def client(backend):
    async with connected(backend) as client:
        yield client


async def detail(client, sandbox_id):
    response = await client.get(f"/sandboxes/{sandbox_id}")
    assert response.status_code == 200, response.text
    return response.json()


async def refusal(response):
    """The JSON of an answer that must be an error."""
    assert response.headers["content-type"].startswith("application/json")
    document = response.json()
    assert document["code"] == response.status_code
    return response.status_code, document["message"]


async def test_what_a_paused_sandbox_answers(backend, client):
    """Statuses and words that clients branch on."""
    async with sandbox_of(backend) as sandbox:
        path = f"/sandboxes/{sandbox.sandbox_id}"
        running = await client.post(f"{path}/resume", json={})
        await client.post(f"{path}/pause")
        paused = await client.post(f"{path}/pause")
        timeout = await client.post(f"{path}/timeout", json={"timeout": 60})
        fork = await client.post(f"{path}/fork", json={})
        missing = await client.post("/sandboxes/inosuchsandbox/pause")
        malformed = await client.post("/sandboxes/No-Such-Box/pause")
        unsaid = await client.post(f"{path}/connect", json={})

        name = sandbox.sandbox_id
        assert await refusal(running) == (409, f"Sandbox {name} is already running")
        assert await refusal(paused) == (
            409,
            f"Error pausing sandbox - sandbox '{name}' is already paused",
        )
        unknown = "Sandbox \"{}\" doesn't exist or you don't have access to it"
        assert await refusal(timeout) == (404, unknown.format(name))
        assert (await refusal(fork))[0] == 409
        assert await refusal(missing) == (404, unknown.format("inosuchsandbox"))
        assert await refusal(malformed) == (400, "Invalid sandbox ID")
        assert (await refusal(unsaid))[0] == 400

        resumed = await client.post(f"{path}/resume", json={"timeout": 60, "autoPause": True})
        assert resumed.status_code == 201
        assert resumed.json()["sandboxID"] == name
        assert (await detail(client, name))["lifecycle"]["onTimeout"] == "pause"
        extended = await client.post(f"/v2{path}/connect", json={})
        assert extended.status_code == 200


# The end of a lifetime


# Network


# Lists


# Refusals


async def test_too_many_sandboxes_are_refused_without_repeating():
    """The SDK repeats a 429 four times unless it is told not to."""
    backend = LocalBackend.start("--max-sandboxes", "1")
    try:
        async with connected(backend) as client, sandbox_of(backend) as sandbox:
            with pytest.raises(e2b.RateLimitException, match="maximum number of concurrent"):
                await AsyncSandbox.create("base", **backend.sdk)
            response = await client.post("/v2/sandboxes", json={"templateID": "base"})
            assert (await refusal(response))[0] == 429
            assert response.headers["should-retry"] == "false"

            await sandbox.pause()
            async with sandbox_of(backend):
                with pytest.raises(e2b.RateLimitException):
                    await sandbox.connect()
            await sandbox.connect()
    finally:
        assert backend.stop() == 0


@pytest.mark.parametrize("memory", [True, False])
async def test_a_paused_sandbox_can_be_copied_and_stays_paused(backend, client, memory):
    """Nobody must resume it for that."""
    async with sandbox_of(backend) as sandbox:
        await sandbox.files.write("/tmp/a", "kept")
        path = f"/sandboxes/{sandbox.sandbox_id}"
        await client.post(f"{path}/pause", json={"memory": memory})
        taken = await client.post(f"{path}/snapshots", json={})
        assert taken.status_code == 201, taken.text
        snapshot = taken.json()

        assert (await detail(client, sandbox.sandbox_id))["state"] == "paused"
        async with sandbox_of(backend, template=snapshot["snapshotID"]) as made:
            assert await made.files.read("/tmp/a") == "kept"
        await sandbox.connect(timeout=60)
        assert await sandbox.files.read("/tmp/a") == "kept"
        assert await AsyncSandbox.delete_snapshot(snapshot["snapshotID"], **api(backend))
