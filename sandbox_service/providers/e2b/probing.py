"""Whether something answers on a sandbox's port, asked over HTTP through E2B's edge."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import httpx

from sandbox_service.domain.sandboxes import PortSeen, Preview, PreviewState

_TIMEOUT_S: Final = 2.0
_ERROR_BYTES_MAX: Final = 16 * 1024
_CLOSED_PORT: Final = "port is not open"

_EDGE_STATUSES: Final = frozenset({403, 409, 429, 502})
"""What the edge answers by itself: no token, on its way, too many, gone or closed."""


class Prober:
    """Asks ports for an answer, with the headers that a visitor would send."""

    def __init__(self) -> None:
        # trust_env off: a proxy of the environment must not see loopback probes.
        self._client = httpx.AsyncClient(
            timeout=_TIMEOUT_S, trust_env=False, follow_redirects=False
        )

    async def look(self, where: Preview, sandbox_id: str) -> PortSeen:
        """Ask a port once.

        Args:
            where: The port's address.
            sandbox_id: Whose it is.

        Returns:
            LISTENING with the app's own status, NOT_LISTENING when the edge says
            that the port is closed, UNKNOWN when no app has answered for another
            reason.
        """
        headers = {**where.headers, **where.routing_headers, "accept": "application/json"}
        url = where.direct_url or where.url
        try:
            # The client's own limit is for each read: an answer can drip for ever.
            async with (
                asyncio.timeout(_TIMEOUT_S),
                self._client.stream("GET", url, headers=headers) as answer,
            ):
                body = await _error_of(answer) if answer.status_code in _EDGE_STATUSES else b""
                return port_seen(answer.status_code, body, sandbox_id)
        except (httpx.HTTPError, TimeoutError):
            return PortSeen(PreviewState.UNKNOWN)

    async def aclose(self) -> None:
        """Let go of every connection."""
        await self._client.aclose()


async def _error_of(answer: httpx.Response) -> bytes:
    """Return what an answer says, as far as an error of the edge can go."""
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > _ERROR_BYTES_MAX:
            break
    return bytes(body)


def port_seen(status: int, body: bytes, sandbox_id: str) -> PortSeen:
    """Tell an app's answer from what the edge answers by itself.

    An app has no reason to name its sandbox; one that does is not believed, but
    looked for in the sandbox.

    Args:
        status: The answer's.
        body: What it says, if the edge answers with such a status too.
        sandbox_id: Whose port was asked.
    """
    told = _object(body) if status in _EDGE_STATUSES else {}
    message = told.get("message")
    # The edge leaves out what may follow the id proper.
    named = told.get("sandboxId") in (sandbox_id, sandbox_id.partition("-")[0])
    if not (named and told.get("code") == status and isinstance(message, str)):
        return PortSeen(PreviewState.LISTENING, status)
    closed = _CLOSED_PORT in message
    return PortSeen(PreviewState.NOT_LISTENING if closed else PreviewState.UNKNOWN)


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
