"""A provider of sandboxes for the whole session, and sandboxes of it; a store for each test.

The provider keeps connections, which belong to one event loop: its tests share
one, for which they set `loop_scope="session"`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox_service.domain.ports import SandboxProvider, Store
from sandbox_service.storage.sql_store import open_store
from tests.conformance.sandbox_backends import Box, backends, provider_on, wanted
from tests.conformance.stores import STORES


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def providers() -> AsyncIterator[Callable[[str], Awaitable[SandboxProvider]]]:
    """What starts a provider on a backend when it is first asked for; it stays for the others."""
    started: dict[str, SandboxProvider] = {}
    async with AsyncExitStack() as stack:

        async def on(name: str) -> SandboxProvider:
            if name not in started:
                started[name] = await stack.enter_async_context(provider_on(name))
            return started[name]

        yield on


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=backends())
async def provider(
    request: pytest.FixtureRequest, providers: Callable[[str], Awaitable[SandboxProvider]]
) -> SandboxProvider:
    """A provider on one of the backends."""
    return await providers(request.param)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def box(provider: SandboxProvider) -> AsyncIterator[Box]:
    """A sandbox that many tests share."""
    sandbox = await provider.create(wanted())
    yield Box(provider, sandbox)
    await provider.destroy(sandbox.sandbox_id)


@pytest_asyncio.fixture(loop_scope="session")
async def own_box(provider: SandboxProvider) -> AsyncIterator[Box]:
    """A sandbox of the test's own, which it may end."""
    sandbox = await provider.create(wanted())
    yield Box(provider, sandbox)
    await provider.destroy(sandbox.sandbox_id)


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is not there yet."""
    return STORES[request.param](tmp_path)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """An open store."""
    store = await open_store(url)
    yield store
    await store.aclose()
