"""A provider of sandboxes for the whole session, and sandboxes of it.

The provider keeps connections, which belong to one event loop: its tests share
one, for which they set `loop_scope="session"`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox_service.domain.ports import SandboxProvider
from tests.conformance.sandbox_backends import Box, backends, provider_on, wanted


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=backends())
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[SandboxProvider]:
    """A provider on one of the backends."""
    async with provider_on(request.param) as it:
        yield it


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def box(provider: SandboxProvider) -> Box:
    """A sandbox that many tests share."""
    return Box(provider, await provider.create(wanted()))


@pytest_asyncio.fixture(loop_scope="session")
async def own_box(provider: SandboxProvider) -> AsyncIterator[Box]:
    """A sandbox of the test's own, which it may end."""
    sandbox = await provider.create(wanted())
    yield Box(provider, sandbox)
    await provider.destroy(sandbox.sandbox_id)
