"""The control plane: who may ask, and which endpoint answers."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.control import (
    egress,
    faults,
    sandboxes,
    snapshots,
    telemetry,
    templates,
    unsupported,
)
from sandbox_service.e2b_local.control.refusals import EXPECTED, refusal_of
from sandbox_service.e2b_local.control.routing import ApiError, Router
from sandbox_service.e2b_local.http1 import send_json

if TYPE_CHECKING:
    from sandbox_service.e2b_local.control.plane import ControlPlane
    from sandbox_service.e2b_local.http1 import Exchange

_ROUTER: Final = Router(
    (
        *(*sandboxes.ROUTES, *snapshots.ROUTES, *telemetry.ROUTES, *templates.ROUTES),
        *(*unsupported.ROUTES, *faults.ROUTES, *egress.ROUTES),
    )
)


class ControlApi:
    """Answers the control plane's requests.

    Args:
        plane: What the endpoints work on.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            await self._answer(exchange)
        except ApiError as error:
            send_json(exchange, error.status, error.document, error.headers)
        except EXPECTED as error:
            refusal = refusal_of(error)
            send_json(exchange, refusal.status, refusal.document, refusal.headers)

    async def _answer(self, exchange: Exchange) -> None:
        # Still encoded: a template's name may hold an encoded slash.
        path = exchange.target.partition("?")[0]
        if path == "/health" and exchange.method in {"GET", "HEAD"}:
            exchange.respond(204)
            return
        self._authenticate(exchange)
        match = _ROUTER.match(exchange.method, path)
        await match.route.endpoint(self._plane, exchange, match)

    def _authenticate(self, exchange: Exchange) -> None:
        wanted = self._plane.config.api_key
        if wanted is None:
            return
        given = exchange.headers.get(b"x-api-key")
        if given is None:
            raise ApiError(401, "Authorization header is missing: X-API-KEY")
        if not hmac.compare_digest(given.encode(), wanted.encode()):
            raise ApiError(401, "Invalid API key")
