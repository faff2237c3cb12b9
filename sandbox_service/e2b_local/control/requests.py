"""What clients ask the control plane for, checked."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qs, unquote

from sandbox_service.e2b_local.http1 import BodyTooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.store import Order

_BODY_LIMIT_BYTES: Final = 4 * 1024**2
_PAGE_LIMIT: Final = 100
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:(\d{1,5}|\$\{PORT\}))?")
# What needs a way out of the sandbox, which this backend does not have.
_NEEDS_EGRESS: Final = ("rules", "egressProxy", "httpsPorts", "dnsServers")


class ApiError(Exception):
    """A request that is refused, with the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSandbox:
    """A request for a sandbox.

    Attributes:
        template_id: What to make it of.
        timeout_seconds: How long it may live.
        metadata: What to write on it.
        env: Variables of every program in it.
        network: The network settings as they came. None: there were none.
        public: Whether its ports can be reached without a token.
        secure: Whether its envd asks for a token.
        mask_request_host: Host that programs behind its ports are told.
    """

    template_id: str
    timeout_seconds: int
    metadata: Mapping[str, str]
    env: Mapping[str, str]
    network: Mapping[str, object] | None
    public: bool
    secure: bool
    mask_request_host: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A request for a page of sandboxes. See `SandboxStore.page`."""

    metadata: Mapping[str, str]
    running: bool
    template_id: str | None
    started_after: float | None
    order: Order
    limit: int
    token: str | None


async def json_object(exchange: Exchange) -> dict[str, Any]:
    """Read a body that is a JSON object; none at all counts as an empty one.

    Raises:
        ApiError: 400: it is something else. 413: it is too large.
    """
    try:
        body = await exchange.read(_BODY_LIMIT_BYTES)
    except BodyTooLargeError:
        raise ApiError(413, "the request body is too large") from None
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"Error when parsing request: {error}") from None
    if not isinstance(document, dict):
        raise ApiError(400, "Error when parsing request: not an object")
    return document


def timeout_of(document: Mapping[str, Any], default: int | None, limit_seconds: int) -> int:
    """Read a lifetime in seconds.

    Raises:
        ApiError: 400: it is missing without a default, no number, or too long.
    """
    value = document.get("timeout", default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ApiError(400, "timeout must be a number of seconds, 0 or more")
    if value > limit_seconds:
        hours = limit_seconds / 3600
        raise ApiError(400, f"Timeout cannot be greater than {hours:g} hours")
    return value


def _strings(document: Mapping[str, Any], name: str) -> dict[str, str]:
    value = document.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ApiError(400, f"{name} must be an object of strings")
    return value


def _variables(document: Mapping[str, Any]) -> dict[str, str]:
    env = _strings(document, "envVars")
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ApiError(400, f"envVars: invalid variable {name!r}")
    return env


def new_sandbox(document: Mapping[str, Any], *, version: int, limit_seconds: int) -> NewSandbox:
    """Read a request for a sandbox.

    Args:
        document: The body.
        version: 1 or 2: of the endpoint, for their defaults differ.
        limit_seconds: The longest lifetime.

    Raises:
        ApiError: 400: a field is missing or wrong. 501: it asks for what this
            backend does not have, and silence would be a lie.
    """
    template_id = document.get("templateID")
    if not isinstance(template_id, str) or not template_id:
        raise ApiError(400, "templateID is required")
    if document.get("autoPause"):
        raise ApiError(501, "autoPause: pausing is not supported by the local backend")
    for name in ("mcp", "volumeMounts", "iam"):
        if document.get(name):
            raise ApiError(501, f"{name} is not supported by the local backend")
    network = document.get("network")
    if network is not None and not isinstance(network, dict):
        raise ApiError(400, "network must be an object")
    settings: dict[str, Any] = network or {}
    for name in _NEEDS_EGRESS:
        if settings.get(name):
            raise ApiError(501, f"network.{name} is not supported by the local backend")
    mask = settings.get("maskRequestHost")
    if mask is not None and (not isinstance(mask, str) or _HOST.fullmatch(mask) is None):
        raise ApiError(400, "maskRequestHost is not a valid host")
    return NewSandbox(
        template_id=template_id,
        timeout_seconds=timeout_of(document, 300 if version == 2 else 15, limit_seconds),
        metadata=_strings(document, "metadata"),
        env=_variables(document),
        network=network,
        public=settings.get("allowPublicTraffic") is not False,
        secure=version == 2 or bool(document.get("secure")),
        mask_request_host=mask,
    )


def query_of(exchange: Exchange) -> dict[str, str]:
    """Return the query's first value of each name."""
    parsed = parse_qs(exchange.query, keep_blank_values=True)
    return {name: values[0] for name, values in parsed.items()}


def seconds_of(query: Mapping[str, str], name: str) -> float | None:
    """Read seconds since 1970 from a query.

    Raises:
        ApiError: 400: it is no such number.
    """
    value = query.get(name)
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ApiError(400, f"{name} must be seconds since 1970")
    return seconds


def listing(query: Mapping[str, str]) -> Listing:
    """Read a request for a page of sandboxes.

    Raises:
        ApiError: 400: a parameter has no valid value.
    """
    order = query.get("order") or "desc"
    if order not in {"asc", "desc"}:
        raise ApiError(400, "order must be asc or desc")
    limit = query.get("limit") or str(_PAGE_LIMIT)
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:4]) <= _PAGE_LIMIT:
        raise ApiError(400, f"limit must be 1 to {_PAGE_LIMIT}")
    states = set((query.get("state") or "running,paused").split(","))
    if not states <= {"running", "paused"}:
        raise ApiError(400, "state must be running or paused")
    started_after: float | None = None
    if query.get("startedAfter"):
        try:
            started_after = datetime.fromisoformat(query["startedAfter"]).timestamp()
        except ValueError:
            raise ApiError(400, "startedAfter is not a time") from None
    # Each name and value is quoted before the pairs are encoded as a query, which
    # is itself one parameter of this query.
    pairs = parse_qs(query.get("metadata", ""), keep_blank_values=True)
    return Listing(
        metadata={unquote(name): unquote(values[0]) for name, values in pairs.items()},
        running="running" in states,
        template_id=query.get("template") or query.get("templateID") or None,
        started_after=started_after,
        order=cast("Order", order),
        limit=int(limit),
        token=query.get("nextToken") or None,
    )
