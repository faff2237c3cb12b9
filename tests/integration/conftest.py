"""Sandboxes that many tests share, for a new one each would take most of their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.calls import Box, Client, new_tenant
from tests.support.service import Service


@pytest.fixture(scope="session")
def shared_sandbox(service: Service) -> Iterator[tuple[str, str]]:
    """A tenant and its sandbox, for tests that leave no traces in it."""
    tenant = new_tenant()

    async def create() -> str:
        async with Client.connected(service.grpc_address, tenant) as client:
            answer = await client.create(lifetime={"seconds": 3600})
            return answer.sandbox.sandbox_id

    async def destroy(sandbox_id: str) -> None:
        async with Client.connected(service.grpc_address, tenant) as client:
            await client.destroy(sandbox_id)

    sandbox_id = asyncio.run(create())
    yield tenant, sandbox_id
    asyncio.run(destroy(sandbox_id))


@pytest.fixture
async def box(service: Service, shared_sandbox: tuple[str, str]) -> AsyncIterator[Box]:
    """The shared sandbox, over a connection of the test's own."""
    tenant, sandbox_id = shared_sandbox
    service.mark()
    async with Client.connected(service.grpc_address, tenant) as client:
        yield Box(client, sandbox_id)
