"""`GET /local/egress`: where sandboxes may connect to, and what went through. Not E2B's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from sandbox_service.e2b_local.control.routing import Route
from sandbox_service.e2b_local.http1 import send_json

if TYPE_CHECKING:
    from sandbox_service.e2b_local.control.plane import ControlPlane
    from sandbox_service.e2b_local.control.routing import Match
    from sandbox_service.e2b_local.http1 import Exchange


async def show(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer with what the owner allows, and the sums of each sandbox."""
    del match
    settings = plane.config.egress
    document: dict[str, Any] = {"egress": "none", "sandboxes": {}}
    if settings is not None:
        document = {
            "egress": "proxy",
            "allow": sorted([*settings.allow.hosts, *map(str, settings.allow.networks)]),
            "ports": sorted(settings.ports),
            "private": list(map(str, settings.private)),
            "sandboxes": {
                sandbox_id: dataclasses.asdict(counts)
                for sandbox_id, counts in plane.fleet.traffic().items()
            },
        }
    send_json(exchange, 200, document)


ROUTES: Final = (Route("GET", "/local/egress", show),)
