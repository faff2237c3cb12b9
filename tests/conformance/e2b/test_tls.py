"""What only the production-shaped way has: a proxy, and TLS by a private authority."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conformance.e2b.endpoint import modes
from tests.support.edge_calls import ask, opened, tunnel

ONLY_TLS = [mode for mode in modes() if mode == "tls"]
pytestmark = pytest.mark.parametrize("endpoint", ONLY_TLS, indirect=True)


async def asked(endpoint, target):
    """Ask the proxy for a tunnel; returns the status."""
    proxy = urlsplit(endpoint.proxy)
    async with opened(proxy.port, host=proxy.hostname) as connection:
        head = await tunnel(*connection, target)
    return int(head.split()[1])


async def test_the_proxy_leads_to_all_hosts_of_the_domain(endpoint):
    """Without a resolver that knows them; what cannot be reached is told."""
    name, _, port = endpoint.domain.partition(":")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = nobody.getsockname()[1]

        assert await asked(endpoint, f"api.{name}:{port or 443}") == 200
        assert await asked(endpoint, f"3000-any.{name}:{port or 443}") == 200
        assert 500 <= await asked(endpoint, f"127.0.0.1:{closed}") < 600


async def test_the_certificate_is_for_every_sandbox(endpoint):
    """One authority, trusted by a file, for the API and all hosts below the domain."""
    async with endpoint.client() as client:
        api = await client.get(f"https://api.{endpoint.domain}/health")
        missing = await client.get(f"https://3000-inotthere.{endpoint.domain}/")

    assert api.status_code in {200, 204}
    assert missing.status_code == 502
    assert missing.json()["message"] == "The sandbox was not found"


async def test_whoever_does_not_trust_the_authority_is_not_served(endpoint):
    """Nothing here turns checks off."""
    async with httpx.AsyncClient(proxy=endpoint.proxy, trust_env=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"https://api.{endpoint.domain}/health")


async def test_the_same_port_serves_it_without_a_proxy(endpoint):
    """Whoever has the name in a hosts file, as curl's --resolve does."""
    address = urlsplit(endpoint.proxy)
    name = f"api.{endpoint.domain.partition(':')[0]}"
    wanted = f"GET /health HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
    async with opened(
        address.port, host=address.hostname, ssl=endpoint.trust, server_hostname=name
    ) as connection:
        head = await ask(*connection, wanted)

    assert int(head.split()[1]) in {200, 204}
