"""An E2B to be tested: where it is, and how its clients reach it.

By default the suite starts our own backend, and runs once for each of two ways to reach
it. `CONFORMANCE_E2B` in the environment chooses others, separated by commas:

* `plain`: one HTTP address for the control plane and for all sandboxes, as in
  `E2B_API_URL` and `E2B_SANDBOX_URL`.
* `tls`: as production is shaped. Every sandbox has hosts of its own below a domain,
  served with TLS behind an HTTP proxy and signed by a private authority, as in
  `E2B_DOMAIN`, `HTTPS_PROXY` and `SSL_CERT_FILE`.
* `remote`: nothing is started. `E2B_API_KEY` and `E2B_DOMAIN` (or `E2B_API_URL`,
  `E2B_SANDBOX_URL`, `HTTPS_PROXY`, `SSL_CERT_FILE`) say where E2B is, and
  `CONFORMANCE_TEMPLATE` which template to use (`base`). Tests of what only a local
  backend can show are skipped, and say so.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tests.integration.local_backend import API_KEY, LocalBackend
from tests.support.local import first_environment

MODES = ("plain", "tls", "remote")
ENVD_PORT = 49983


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """How clients reach an E2B.

    Attributes:
        mode: `plain`, `tls` or `remote`.
        api_key: The key.
        api_url: Of the control plane.
        domain: Below which each sandbox has its hosts; with a port where one is needed.
        sandbox_url: One address for all sandboxes. None: each has hosts of its own.
        proxy: The HTTP proxy on the way. None: there is none.
        ca_bundle: The authorities to trust. None: those of the system.
        template: What sandboxes are made from.
        pid: The process of a local backend. None: it is not local.
    """

    mode: str
    api_key: str
    api_url: str
    domain: str
    sandbox_url: str | None = None
    proxy: str | None = None
    ca_bundle: Path | None = None
    template: str = "base"
    pid: int | None = None

    @property
    def sdk(self) -> dict[str, Any]:
        """What each call of the SDK is given."""
        options: dict[str, Any] = {"api_key": self.api_key, "domain": self.domain}
        if self.sandbox_url is not None:
            options |= {"api_url": self.api_url, "sandbox_url": self.sandbox_url}
        if self.proxy is not None:
            options["proxy"] = self.proxy
        return options

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """Whom a client without the SDK believes."""
        return ssl.create_default_context(cafile=self.ca_bundle)

    def client(self) -> httpx.AsyncClient:
        """Return a client without the SDK, with as many connections as it wants."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.AsyncClient(
            proxy=self.proxy, verify=self.trust, limits=limits, timeout=30, trust_env=False
        )

    def address(self, sandbox_id: str, port: int) -> tuple[str, dict[str, str]]:
        """Return the URL of a port of a sandbox, and the headers that lead there."""
        if self.sandbox_url is not None:
            routing = {"e2b-sandbox-id": sandbox_id, "e2b-sandbox-port": str(port)}
            return self.sandbox_url, routing
        return f"https://{port}-{sandbox_id}.{self.domain}", {}


def modes() -> list[str]:
    """Return how the suite is to run."""
    asked = os.environ.get("CONFORMANCE_E2B", "plain,tls").split(",")
    unknown = set(asked) - set(MODES)
    if unknown:
        raise ValueError(f"CONFORMANCE_E2B: {sorted(unknown)} is none of {', '.join(MODES)}")
    return asked


@contextmanager
def endpoint_of(mode: str) -> Iterator[Endpoint]:
    """Serve an endpoint for as long as it is needed."""
    if mode == "remote":
        yield _remote(first_environment())
        return
    backend = LocalBackend.start()
    try:
        assert backend.status.get("ready"), backend.status
        yield _plain(backend) if mode == "plain" else _tls(backend)
    finally:
        code = backend.stop()
    assert code == 0


def _plain(backend: LocalBackend) -> Endpoint:
    return Endpoint(
        mode="plain",
        api_key=API_KEY,
        api_url=backend.url,
        domain=backend.status["domain"],
        sandbox_url=backend.url,
        pid=backend.status["pid"],
    )


def _tls(backend: LocalBackend) -> Endpoint:
    info = httpx.get(f"{backend.url}/local/info", trust_env=False).json()
    domain = info["domain"]
    return Endpoint(
        mode="tls",
        api_key=API_KEY,
        api_url=f"https://api.{domain}",
        domain=domain,
        proxy=backend.url,
        ca_bundle=Path(info["ca_bundle"]),
        pid=backend.status["pid"],
    )


def _remote(given: dict[str, str]) -> Endpoint:
    domain = given.get("E2B_DOMAIN") or "e2b.app"
    bundle = given.get("SSL_CERT_FILE")
    return Endpoint(
        mode="remote",
        api_key=given["E2B_API_KEY"],
        api_url=given.get("E2B_API_URL") or f"https://api.{domain}",
        domain=domain,
        sandbox_url=given.get("E2B_SANDBOX_URL"),
        proxy=given.get("HTTPS_PROXY") or given.get("https_proxy"),
        ca_bundle=Path(bundle) if bundle else None,
        template=given.get("CONFORMANCE_TEMPLATE", "base"),
    )
