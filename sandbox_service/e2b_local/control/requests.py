"""What clients ask the control plane for, checked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import parse_qs, unquote_plus

from sandbox_service.e2b_local.control.network import network_of
from sandbox_service.e2b_local.control.routing import ApiError
from sandbox_service.e2b_local.http1 import BodyTooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox_service.e2b_local.control.routing import Match
    from sandbox_service.e2b_local.fleet.paging import Order
    from sandbox_service.e2b_local.fleet.store import ShownState
    from sandbox_service.e2b_local.http1 import Exchange

_BODY_LIMIT_BYTES: Final = 4 * 1024**2
_PAGE_LIMIT: Final = 100
_INT64_MAX: Final = 2**63 - 1
_SANDBOX_ID: Final = re.compile(r"[a-z0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSandbox:
    """A request for a sandbox.

    Attributes:
        template: What to make it of.
        timeout_seconds: How long it may live.
        on_timeout: What happens then.
        keep_memory: Whether a pause then keeps its programs.
        auto_resume: Whether traffic resumes it.
        metadata: What to write on it.
        env: Variables of every program in it.
        allow_internet_access: As it came. None: it did not.
        network: The network settings as they came.
        secure: Whether its envd asks for a token.
    """

    template: str
    timeout_seconds: int
    on_timeout: Literal["kill", "pause"]
    keep_memory: bool
    auto_resume: bool
    metadata: Mapping[str, str]
    env: Mapping[str, str]
    allow_internet_access: bool | None
    network: Mapping[str, object]
    secure: bool

    @property
    def public(self) -> bool:
        """Whether its ports can be reached without a token."""
        return self.network.get("allowPublicTraffic") is not False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A request for a page of sandboxes. See `SandboxStore.page`."""

    metadata: Mapping[str, str]
    states: frozenset[ShownState]
    template: str | None
    started_after: float | None
    order: Order
    limit: int
    token: str | None


def sandbox_id_of(match: Match) -> str:
    """Read the sandbox that a path names, as `{id}` or as `{id}-{client}`.

    Raises:
        ApiError: 400: it cannot be an id.
    """
    text = match["id"]
    head, dash, tail = text.partition("-")
    sandbox_id = head if dash and "-" not in tail else text
    if _SANDBOX_ID.fullmatch(sandbox_id) is None:
        raise ApiError(400, "Invalid sandbox ID")
    return sandbox_id


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


def timeout_of(
    document: Mapping[str, Any], default: int | None, limit_seconds: int, name: str = "timeout"
) -> int:
    """Read a lifetime in seconds.

    Raises:
        ApiError: 400: it is missing without a default, no number, or too long.
    """
    value = document.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ApiError(400, f"{name} must be a number of seconds, 0 or more")
    if value > limit_seconds:
        hours = limit_seconds / 3600
        raise ApiError(400, f"Timeout cannot be greater than {hours:g} hours")
    return value


def flag_of(document: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Read what is true or false.

    Raises:
        ApiError: 400: it is neither.
    """
    value = optional_flag_of(document, name)
    return default if value is None else value


def optional_flag_of(document: Mapping[str, Any], name: str) -> bool | None:
    """Read what is true, false, or not said.

    Raises:
        ApiError: 400: it is none of these.
    """
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise ApiError(400, f"{name} must be true or false")
    return value


def _strings(document: Mapping[str, Any], name: str) -> dict[str, str]:
    value = document.get(name)
    if value is None:
        return {}
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
    template = document.get("templateID")
    if not isinstance(template, str) or not template:
        raise ApiError(400, "templateID is required")
    for name in ("mcp", "volumeMounts", "iam"):
        if document.get(name):
            raise ApiError(501, f"{name} is not supported by the local backend")
    wanted = NewSandbox(
        template=template,
        timeout_seconds=timeout_of(document, 300 if version == 2 else 15, limit_seconds),
        on_timeout="pause" if flag_of(document, "autoPause", default=False) else "kill",
        keep_memory=flag_of(document, "autoPauseMemory", default=True),
        auto_resume=_auto_resume(document),
        metadata=_strings(document, "metadata"),
        env=_variables(document),
        allow_internet_access=optional_flag_of(document, "allow_internet_access"),
        network=network_of(document),
        secure=version == 2 or flag_of(document, "secure", default=False),
    )
    if not wanted.keep_memory and wanted.on_timeout == "kill":
        raise ApiError(400, "autoPauseMemory=false only applies when autoPause is true.")
    if not wanted.keep_memory and wanted.auto_resume:
        raise ApiError(
            400,
            "autoPauseMemory=false (filesystem-only auto-pause) cannot be combined with"
            " autoResume: such a sandbox cannot be auto-resumed by traffic and must be"
            " resumed explicitly.",
        )
    if not wanted.public and not wanted.secure:
        raise ApiError(
            400,
            "You cannot create a sandbox without public access unless you enable secure"
            " envd access via 'secure' flag.",
        )
    return wanted


def _auto_resume(document: Mapping[str, Any]) -> bool:
    value = document.get("autoResume")
    if value is None:
        return False
    if not isinstance(value, dict):
        raise ApiError(400, "autoResume must be an object")
    return flag_of(value, "enabled", default=False)


def query_of(exchange: Exchange) -> dict[str, str]:
    """Return the query's first value of each name."""
    parsed = parse_qs(exchange.query, keep_blank_values=True)
    return {name: values[0] for name, values in parsed.items()}


def integer_of(
    query: Mapping[str, str], name: str, *, default: int, least: int = 0, most: int = _INT64_MAX
) -> int:
    """Read a whole number from a query.

    Raises:
        ApiError: 400: it is none, or out of range.
    """
    value = query.get(name)
    if not value:
        return default
    # The length is looked at first: reading a very long number takes very long.
    if value.isascii() and value.isdigit() and len(value) < 20 and least <= int(value) <= most:
        return int(value)
    raise ApiError(400, f"{name} must be a whole number, {least} to {most}")


def listing(query: Mapping[str, str]) -> Listing:
    """Read a request for a page of sandboxes.

    Raises:
        ApiError: 400: a parameter has no valid value.
    """
    order = query.get("order") or "desc"
    if order not in {"asc", "desc"}:
        raise ApiError(400, "order must be asc or desc")
    states = frozenset((query.get("state") or "running,paused").split(","))
    if not states <= {"running", "paused"}:
        raise ApiError(400, "state must be running or paused")
    return Listing(
        metadata=metadata_of(query),
        states=cast("frozenset[ShownState]", states),
        template=query.get("template") or query.get("templateID") or None,
        started_after=_time_of(query, "startedAfter"),
        order=cast("Order", order),
        limit=limit_of(query),
        token=query.get("nextToken") or None,
    )


def limit_of(query: Mapping[str, str]) -> int:
    """Read the size of a page.

    Raises:
        ApiError: 400: it is no such size.
    """
    return integer_of(query, "limit", default=_PAGE_LIMIT, least=1, most=_PAGE_LIMIT)


def metadata_of(query: Mapping[str, str]) -> dict[str, str]:
    """Read a filter by metadata.

    Raises:
        ApiError: 400: it is no list of pairs.
    """
    text = query.get("metadata") or ""
    # Each name and value is quoted before the pairs are encoded as a query, which
    # is itself one parameter of this query.
    pairs = [pair.split("=") for pair in unquote_plus(text).split("&")] if text else []
    if any(len(pair) != 2 for pair in pairs):
        raise ApiError(400, "Error parsing metadata: invalid key value pair in query")
    return {unquote_plus(name): unquote_plus(value) for name, value in pairs}


def _time_of(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ApiError(400, f"{name} is not a time")
    return moment.timestamp()
