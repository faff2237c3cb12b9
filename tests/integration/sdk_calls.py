"""What tests of a local backend ask the SDK for."""

from __future__ import annotations

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
