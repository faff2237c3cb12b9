"""What tests of a sandbox's life ask a local backend for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from e2b import AsyncSandbox


@asynccontextmanager
async def sandbox_of(backend, **options):
    sandbox = await AsyncSandbox.create(**{"timeout": 120, **options}, **backend.sdk)
    try:
        yield sandbox
    finally:
        await AsyncSandbox.kill(sandbox.sandbox_id, **api(backend))


def api(backend):
    return {"api_key": backend.sdk["api_key"], "api_url": backend.url}


async def until(condition):
    """Wait for something that takes its own time, and fail when it takes too long."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - only asking again can tell
            await asyncio.sleep(0.02)


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
