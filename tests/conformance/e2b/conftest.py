"""One endpoint for each mode, a sandbox of it that tests share, and the means to speak to it.

What a test makes ends with it. A remote E2B is not asked for more than the tests need.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.conformance.e2b.endpoint import Endpoint, endpoint_of, modes
from tests.conformance.e2b.sdk import Sdk
from tests.conformance.e2b.wire import Box, Wire

_LIFETIME_S = 1800


@pytest.fixture(scope="session")
def endpoints() -> Iterator[Callable[[str], Endpoint]]:
    """What starts an E2B of a mode when it is first asked for; it stays for the others."""
    started: dict[str, Endpoint] = {}
    with ExitStack() as stack:

        def of(mode: str) -> Endpoint:
            if mode not in started:
                started[mode] = stack.enter_context(endpoint_of(mode))
            return started[mode]

        yield of


@pytest.fixture(scope="session", params=modes())
def endpoint(
    request: pytest.FixtureRequest, endpoints: Callable[[str], Endpoint]
) -> Iterator[Endpoint]:
    """An E2B. The SDK learns whom to trust from the environment alone."""
    it = endpoints(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if it.ca_bundle is not None:
            patch.setitem(os.environ, "SSL_CERT_FILE", str(it.ca_bundle))
        yield it


@pytest.fixture
def local(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose process is at hand."""
    if endpoint.pid is None:
        pytest.skip("only a backend on this machine can show this")
    return endpoint


@pytest.fixture
async def wire(endpoint: Endpoint) -> AsyncIterator[Wire]:
    """A client without the SDK."""
    async with endpoint.client() as client:
        yield Wire(endpoint, client)


@pytest.fixture(params=["async", "sync"])
async def sdk(request: pytest.FixtureRequest, endpoint: Endpoint) -> AsyncIterator[Sdk]:
    """The SDK, in one of its forms."""
    it = Sdk(request.param, endpoint)
    yield it
    await it.close()


@pytest.fixture
async def async_sdk(endpoint: Endpoint) -> AsyncIterator[Sdk]:
    """The asynchronous SDK, for what only it has."""
    it = Sdk("async", endpoint)
    yield it
    await it.close()


@pytest.fixture
async def sync_sdk(endpoint: Endpoint) -> AsyncIterator[Sdk]:
    """The synchronous SDK, for what only it has."""
    it = Sdk("sync", endpoint)
    yield it
    await it.close()


@pytest.fixture(scope="session")
def shared(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    """A sandbox for as long as its endpoint is tested, as the control plane describes it."""

    async def ask(method: str, path: str, document: object = None) -> httpx.Response:
        async with endpoint.client() as client:
            return await Wire(endpoint, client).api(method, path, json=document)

    wanted = {"templateID": endpoint.template, "timeout": _LIFETIME_S}
    made = asyncio.run(ask("POST", "/v2/sandboxes", wanted))
    assert made.status_code == 201, made.text
    yield made.json()
    asyncio.run(ask("DELETE", f"/sandboxes/{made.json()['sandboxID']}"))


@pytest.fixture
async def sandbox(sdk: Sdk, shared: dict[str, Any]) -> Any:
    """The shared sandbox, through the SDK. Its state matters to no test: each has own names."""
    return await sdk.connect(shared["sandboxID"])


@pytest.fixture
def box(wire: Wire, shared: dict[str, Any]) -> Box:
    """The shared sandbox, without the SDK."""
    return Box(wire, shared)


@pytest.fixture
async def own_box(wire: Wire, new_box: Callable[..., Awaitable[Box]]) -> Box:
    """A sandbox of the test's own, without the SDK."""
    return await new_box()


@pytest.fixture
async def new_box(wire: Wire) -> AsyncIterator[Callable[..., Awaitable[Box]]]:
    """What makes sandboxes without the SDK, from the fields of the document to send."""
    made: list[Box] = []

    async def make(path: str = "/v2/sandboxes", **document: Any) -> Box:
        wanted = {"templateID": wire.endpoint.template, "timeout": 120, **document}
        response = await wire.api("POST", path, json=wanted)
        assert response.status_code == 201, response.text
        made.append(Box(wire, response.json()))
        return made[-1]

    yield make
    await asyncio.gather(*(box.kill() for box in made))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    plain = request.node.name.translate(str.maketrans("[]_/", "----"))
    return f"{plain}-{os.urandom(4).hex()}"
