"""Creating, finding, changing and ending sandboxes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

from sandbox_service.e2b_local.control import requests, views
from sandbox_service.e2b_local.control.idempotency import KeyReusedError
from sandbox_service.e2b_local.control.network import check_served, updated_network
from sandbox_service.e2b_local.control.refusals import (
    EXPECTED,
    refusal_of,
    unknown_sandbox,
)
from sandbox_service.e2b_local.control.routing import ApiError, Route
from sandbox_service.e2b_local.control.snapshots import origin_of
from sandbox_service.e2b_local.fleet.life import AlreadyPausedError
from sandbox_service.e2b_local.fleet.paging import PageTokenError
from sandbox_service.e2b_local.fleet.store import SandboxRecord, new_sandbox_id, new_token
from sandbox_service.e2b_local.http1 import send_json

if TYPE_CHECKING:
    from sandbox_service.e2b_local.control.plane import ControlPlane
    from sandbox_service.e2b_local.control.requests import Listing, NewSandbox
    from sandbox_service.e2b_local.control.routing import Match
    from sandbox_service.e2b_local.fleet.paging import Page
    from sandbox_service.e2b_local.http1 import Exchange

_FORKS_LIMIT: Final = 100
_REFRESH_LIMIT_SECONDS: Final = 3600
# Of the first version of E2B's API.
_SHORT_SECONDS: Final = 15
_LONG_SECONDS: Final = 300


def _is_v2(match: Match) -> bool:
    return match.route.path.startswith("/v2/")


def _record(plane: ControlPlane, sandbox_id: str) -> SandboxRecord:
    record = plane.fleet.store.get(sandbox_id)
    if record is None:
        raise unknown_sandbox(sandbox_id)
    return record


# All sandboxes


async def create(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `POST /sandboxes` and `POST /v2/sandboxes`."""
    version = 2 if _is_v2(match) else 1
    document = await requests.json_object(exchange)
    limit = plane.config.max_lifetime_seconds
    wanted = requests.new_sandbox(document, version=version, limit_seconds=limit)
    check_served(wanted.network, plane.config.egress)
    key = exchange.headers.get(b"idempotency-key")
    if key is None:
        record = await _create(plane, wanted)
    else:
        fingerprint = json.dumps([version, document], sort_keys=True).encode()
        try:
            record = await plane.once.run(key, fingerprint, lambda: _create(plane, wanted))
        except KeyReusedError:
            message = "This Idempotency-Key was used before, with a different request"
            raise ApiError(409, message) from None
    send_json(exchange, 201, views.created(record, plane.domain))


async def _create(plane: ControlPlane, wanted: NewSandbox) -> SandboxRecord:
    origin = origin_of(plane, wanted.template)
    now = plane.fleet.store.now()
    mask = wanted.network.get("maskRequestHost")
    record = SandboxRecord(
        sandbox_id=new_sandbox_id(),
        template=origin.template,
        alias=origin.alias,
        started_at=now,
        end_at=now + wanted.timeout_seconds,
        lifetime_seconds=wanted.timeout_seconds,
        on_timeout=wanted.on_timeout,
        keep_memory=wanted.keep_memory,
        auto_resume=wanted.auto_resume,
        metadata=wanted.metadata,
        env={**origin.env, **wanted.env},
        access_token=new_token() if wanted.secure else None,
        traffic_token=None if wanted.public else new_token(),
        allow_internet_access=wanted.allow_internet_access,
        network=wanted.network,
        mask_request_host=None if mask is None else str(mask),
    )
    await plane.fleet.create(record, origin.archive)
    return record


async def list_v1(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /sandboxes`: all that run."""
    del match
    listing = requests.listing(requests.query_of(exchange))
    everything = replace(listing, states=frozenset({"running"}), token=None)
    page = _page(plane, replace(everything, limit=max(1, len(plane.fleet.store))))
    send_json(exchange, 200, [views.listed(record) for record in page.items])


async def list_v2(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /v2/sandboxes`: by page, paused ones too."""
    del match
    page = _page(plane, requests.listing(requests.query_of(exchange)))
    headers = () if page.next_token is None else (("x-next-token", page.next_token),)
    send_json(exchange, 200, [views.listed(record) for record in page.items], headers)


def _page(plane: ControlPlane, listing: Listing) -> Page[SandboxRecord]:
    # Lists of the real service are late at times; here they are so on purpose only.
    lag = 0.0 if plane.faults is None else plane.faults.list_lag_seconds
    try:
        return plane.fleet.store.page(
            metadata=listing.metadata,
            states=listing.states,
            template=listing.template,
            started_after=listing.started_after,
            started_before=plane.fleet.store.now() - lag if lag else None,
            order=listing.order,
            limit=listing.limit,
            token=listing.token,
        )
    except PageTokenError:
        raise ApiError(400, "Invalid next token") from None


# One sandbox


async def get(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /sandboxes/{id}`."""
    record = _record(plane, requests.sandbox_id_of(match))
    send_json(exchange, 200, views.detailed(record, plane.domain))


async def delete(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `DELETE /sandboxes/{id}`, be it paused or not."""
    sandbox_id = requests.sandbox_id_of(match)
    if not await plane.fleet.kill(sandbox_id):
        raise unknown_sandbox(sandbox_id)
    exchange.respond(204)


async def connect(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `POST /sandboxes/{id}/connect`: its tokens, and a lifetime at least so long.

    A paused sandbox is resumed: then the answer is 201.
    """
    sandbox_id = requests.sandbox_id_of(match)
    document = await requests.json_object(exchange)
    default = _LONG_SECONDS if _is_v2(match) else None
    seconds = requests.timeout_of(document, default, plane.config.max_lifetime_seconds)
    memory = requests.flag_of(document, "memory", default=True)
    resumed = await plane.fleet.connect(sandbox_id, seconds, memory=memory)
    record = _record(plane, sandbox_id)
    send_json(exchange, 201 if resumed else 200, views.created(record, plane.domain))


async def set_timeout(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `POST /sandboxes/{id}/timeout`: end so many seconds from now.

    A paused sandbox has no end of life: to the real service it is then not there.
    """
    sandbox_id = requests.sandbox_id_of(match)
    document = await requests.json_object(exchange)
    seconds = requests.timeout_of(document, None, plane.config.max_lifetime_seconds)
    if plane.fleet.store.end_in(sandbox_id, seconds) is None:
        raise unknown_sandbox(sandbox_id)
    plane.fleet.activities.record(sandbox_id, "Lifetime changed", seconds_left=seconds)
    plane.fleet.ends_changed()
    exchange.respond(204)


async def refresh(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `POST /sandboxes/{id}/refreshes`: live for at least so many seconds more."""
    sandbox_id = requests.sandbox_id_of(match)
    document = await requests.json_object(exchange)
    limit = min(_REFRESH_LIMIT_SECONDS, plane.config.max_lifetime_seconds)
    seconds = requests.timeout_of(document, _SHORT_SECONDS, limit, "duration")
    if plane.fleet.store.extend(sandbox_id, max(seconds, _SHORT_SECONDS)) is None:
        raise unknown_sandbox(sandbox_id)
    plane.fleet.ends_changed()
    exchange.respond(204)


async def pause(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `POST /sandboxes/{id}/pause`: with its programs, or with its files alone."""
    sandbox_id = requests.sandbox_id_of(match)
    document = await requests.json_object(exchange)
    await plane.fleet.pause(
        sandbox_id,
        memory=requests.flag_of(document, "memory", default=True),
        strict=requests.flag_of(document, "requireHealthyGuest", default=False),
    )
    exchange.respond(204)


async def resume(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `POST /sandboxes/{id}/resume`."""
    sandbox_id = requests.sandbox_id_of(match)
    document = await requests.json_object(exchange)
    limit = plane.config.max_lifetime_seconds
    seconds = requests.timeout_of(document, _SHORT_SECONDS, limit)
    pauses = requests.optional_flag_of(document, "autoPause")
    on_timeout: Literal["kill", "pause"] | None = None
    if pauses is not None:
        on_timeout = "pause" if pauses else "kill"
    memory = requests.flag_of(document, "memory", default=True)
    await plane.fleet.resume(sandbox_id, seconds, memory=memory, on_timeout=on_timeout)
    send_json(exchange, 201, views.created(_record(plane, sandbox_id), plane.domain))


async def set_network(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `PUT /sandboxes/{id}/network`: other settings, which replace all of its kind.

    They hold at once, for open connections too; see `network` for what they mean here.
    """
    sandbox_id = requests.sandbox_id_of(match)
    document = await requests.json_object(exchange)
    access = requests.optional_flag_of(document, "allow_internet_access")
    record = _record(plane, sandbox_id)
    network = updated_network(record.network, document)
    check_served(network, plane.config.egress)
    if record.state != "running":
        raise unknown_sandbox(sandbox_id)
    plane.fleet.put_network(replace(record, network=network, allow_internet_access=access))
    exchange.respond(204)


async def fork(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `POST /sandboxes/{id}/fork`: sandboxes with the files it has now.

    They start without programs: unlike E2B's, a fork has no memory of its origin's.
    """
    sandbox_id = requests.sandbox_id_of(match)
    document = await requests.json_object(exchange)
    limit = plane.config.max_lifetime_seconds
    seconds = requests.timeout_of(document, _SHORT_SECONDS, limit)
    count = document.get("count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ApiError(400, "Count must be at least 1")
    if count > _FORKS_LIMIT:
        raise ApiError(400, f"Count cannot be greater than {_FORKS_LIMIT}")
    most = plane.config.max_sandboxes
    if most is not None and count >= most:
        message = f"Count must be lower than the maximum number of concurrent sandboxes ({most})"
        raise ApiError(400, message)
    try:
        forks = await plane.fleet.fork(sandbox_id, count, seconds)
    except AlreadyPausedError:
        message = f"Sandbox '{sandbox_id}' is paused and cannot be forked; resume it first"
        raise ApiError(409, message) from None
    send_json(exchange, 201, [_shown_fork(plane, fork) for fork in forks])


def _shown_fork(plane: ControlPlane, fork: SandboxRecord | BaseException) -> dict[str, Any]:
    if isinstance(fork, SandboxRecord):
        return {"sandbox": views.created(fork, plane.domain)}
    if isinstance(fork, EXPECTED):
        return {"error": refusal_of(fork).document}
    raise fork


ROUTES: Final = (
    Route("POST", "/sandboxes", create),
    Route("POST", "/v2/sandboxes", create),
    Route("GET", "/sandboxes", list_v1),
    Route("GET", "/v2/sandboxes", list_v2),
    Route("GET", "/sandboxes/{id}", get),
    Route("DELETE", "/sandboxes/{id}", delete),
    Route("POST", "/sandboxes/{id}/connect", connect),
    Route("POST", "/v2/sandboxes/{id}/connect", connect),
    Route("POST", "/sandboxes/{id}/timeout", set_timeout),
    Route("POST", "/sandboxes/{id}/refreshes", refresh),
    Route("POST", "/sandboxes/{id}/pause", pause),
    Route("POST", "/sandboxes/{id}/resume", resume),
    Route("PUT", "/sandboxes/{id}/network", set_network),
    Route("POST", "/sandboxes/{id}/fork", fork),
)
