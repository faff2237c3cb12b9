"""A sandbox that many tests share, for a new one each would take most of their time.

gRPC's own threads serve one event loop per process well, and several badly: tests that
call the service share one loop, for which they set `loop_scope="session"`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.calls import Box, Client
from tests.support.service import Service


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_box(service: Service) -> AsyncIterator[Box]:
    """A sandbox for as long as the tests run."""
    async with Client.connected(service.grpc_address) as client:
        yield await client.sandbox(lifetime={"seconds": 3600})
        await client.destroy_all()


@pytest_asyncio.fixture(loop_scope="session")
async def box(service: Service, shared_box: Box) -> AsyncIterator[Box]:
    """The shared sandbox, over a connection of the test's own."""
    service.mark()
    async with Client.connected(service.grpc_address, shared_box.client.tenant) as client:
        yield Box(client, shared_box.sandbox_id)
