"""`GET /local/info`: what a client must know of this backend to use it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox_service.e2b_local.http1 import Exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalInfo:
    """What a client must know, and nothing that is secret.

    Attributes:
        url: Where plain HTTP is served: the API, and every sandbox by its headers.
        domain: Domain of preview URLs, with its port; for a client that tunnels, E2B's domain.
        tier: What separates sandboxes from one another.
        tier_detail: The same for people.
        limits: How well each limit holds: `hard`, `soft` or `none`.
        limits_detail: The same for people, and what keeps them.
        version: Of this package.
        api_key_required: Whether clients must send the key that the backend was started with.
        ca: PEM file with the certificate of the authority that signs for the domain.
        ca_bundle: PEM file with it and the roots that this system trusts.
        faults: Whether `/local/faults` may make things go wrong.
        egress: How sandboxes reach the network: `none` or `proxy`.
        images: Of each template with a root filesystem of its own, its `source` and the
            `digest` of what that was at the start.
    """

    url: str
    domain: str
    tier: str
    tier_detail: str
    limits: Mapping[str, str]
    limits_detail: str
    version: str
    api_key_required: bool
    ca: str
    ca_bundle: str
    faults: bool
    egress: str
    images: Mapping[str, Mapping[str, str]]

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        if exchange.method not in {"GET", "HEAD"}:
            exchange.respond(405, headers=[("allow", "GET, HEAD")])
            return
        body = json.dumps(dataclasses.asdict(self)).encode()
        exchange.respond(200, body, [("content-type", "application/json; charset=utf-8")])
