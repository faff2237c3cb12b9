"""Requests that the SDK does not send: without a token, repeated, to what is not there."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.e2b_local.envd.messages import process_pb
from tests.integration.e2b_wire import Box, connected, new_box


@pytest.fixture
async def client(backend):
    async with connected(backend) as client:
        yield client


@pytest.fixture
async def box(client):
    box = await new_box(client, timeout=60)
    yield box
    await client.delete(f"/sandboxes/{box.id}")


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_envd_answers_only_who_has_the_token(box, token):
    """One sandbox's token is worth nothing in another."""
    headers = box.headers()
    headers.pop("x-access-token")
    if token:
        headers["x-access-token"] = token
    for path in ("/process.Process/List", "/filesystem.Filesystem/Stat", "/files", "/envs"):
        response = await box.client.post(path, headers=headers, json={})
        assert response.status_code == 401, path
        assert response.json()["code"] == 401
    assert (await box.client.get("/health", headers=headers)).status_code == 204


async def test_an_old_style_create_may_leave_envd_open(client):
    """`POST /sandboxes` without `secure` has no token, as E2B has it."""
    response = await client.post("/sandboxes", json={"templateID": "base", "timeout": 30})
    created = response.json()
    box = Box(client, created)
    listed = await box.call("List", process_pb.ListRequest(), process_pb.ListResponse)
    await client.delete(f"/sandboxes/{box.id}")

    assert "envdAccessToken" not in created
    assert listed.processes == []


async def test_a_repeated_create_with_a_key_makes_one_sandbox(client):
    """The answer to the first was lost; its sandbox was not."""
    document = {"templateID": "base", "timeout": 30, "metadata": {"once": "1"}}
    headers = {"idempotency-key": "k1"}
    answers = await asyncio.gather(
        *(client.post("/v2/sandboxes", json=document, headers=headers) for _ in range(3))
    )
    other = await client.post("/v2/sandboxes", json={**document, "timeout": 31}, headers=headers)
    listed = await client.get("/v2/sandboxes", params={"metadata": "once=1"})
    ids = {answer.json()["sandboxID"] for answer in answers}
    for sandbox_id in ids:
        await client.delete(f"/sandboxes/{sandbox_id}")

    assert len(ids) == 1
    assert other.status_code == 409
    assert len(listed.json()) == 1


async def test_what_is_not_there_says_so_as_json(client):
    """What cannot be had is no server error, and an unknown path is a typo."""
    body = {"templateID": "base", "volumeMounts": [{"name": "v", "path": "/v"}]}
    volumes = await client.post("/v2/sandboxes", json=body)
    typo = await client.get("/sandboxs")

    assert (volumes.status_code, volumes.json()["code"]) == (501, 501)
    assert (typo.status_code, typo.json()["code"]) == (404, 404)
