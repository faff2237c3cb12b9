"""The control plane's endpoints."""

from __future__ import annotations

import hmac
import json
import logging
import re
import secrets
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.control import requests, views
from sandbox_service.e2b_local.control.idempotency import KeyReusedError, OnceByKey
from sandbox_service.e2b_local.control.requests import ApiError, NewSandbox
from sandbox_service.e2b_local.machine import BootFailedError, GuestLostError
from sandbox_service.e2b_local.store import PageTokenError, SandboxRecord, new_sandbox_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from sandbox_service.e2b_local.config import LocalConfig
    from sandbox_service.e2b_local.fleet import Fleet
    from sandbox_service.e2b_local.http1 import Exchange

    Endpoint = Callable[["ControlPlane", Exchange, str, int], Awaitable[None]]

logger = logging.getLogger(__name__)

_JSON: Final = (("content-type", "application/json; charset=utf-8"),)
_ROUTE: Final = re.compile(r"(?:/v(?P<version>2))?/sandboxes(?:/(?P<id>[^/]+)(?P<rest>/[a-z]+)?)?")


class ControlPlane:
    """Answers the control plane's requests.

    Args:
        fleet: The sandboxes.
        config: Settings of this backend.
        domain: Domain of preview URLs, with its port.
    """

    def __init__(self, fleet: Fleet, config: LocalConfig, domain: str) -> None:
        self._fleet = fleet
        self._config = config
        self._domain = domain
        self._once: OnceByKey[SandboxRecord] = OnceByKey(fleet.store.now)

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            await self._answer(exchange)
        except ApiError as error:
            _send_error(exchange, error.status, error.message)
        except GuestLostError:
            _send_error(exchange, 404, "The sandbox has just ended")

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.path == "/health" and exchange.method in {"GET", "HEAD"}:
            exchange.respond(204)
            return
        self._authenticate(exchange)
        matched = _ROUTE.fullmatch(exchange.path)
        if matched is None:
            raise ApiError(404, f"no such endpoint: {exchange.path}")
        sandbox_id, rest = matched["id"] or "", matched["rest"] or ""
        place = f"/{{id}}{rest}" if sandbox_id else ""
        endpoints = _ENDPOINTS.get(place)
        if endpoints is None:
            raise ApiError(404, f"no such endpoint: {exchange.path}")
        endpoint = endpoints.get(exchange.method)
        if endpoint is None:
            raise ApiError(405, f"{exchange.method} is not allowed here")
        await endpoint(self, exchange, sandbox_id, 2 if matched["version"] else 1)

    def _authenticate(self, exchange: Exchange) -> None:
        wanted = self._config.api_key
        if wanted is None:
            return
        given = exchange.headers.get(b"x-api-key")
        if given is None:
            raise ApiError(401, "Authorization header is missing: X-API-KEY")
        if not hmac.compare_digest(given.encode(), wanted.encode()):
            raise ApiError(401, "Invalid API key")

    def _record(self, sandbox_id: str) -> SandboxRecord:
        record = self._fleet.store.get(sandbox_id)
        if record is None:
            raise _unknown(sandbox_id)
        return record

    # All sandboxes

    async def create(self, exchange: Exchange, _: str, version: int) -> None:
        """`POST /sandboxes`, `POST /v2/sandboxes`."""
        document = await requests.json_object(exchange)
        limit = self._config.max_lifetime_seconds
        wanted = requests.new_sandbox(document, version=version, limit_seconds=limit)
        key = exchange.headers.get(b"idempotency-key")
        try:
            if key is None:
                record = await self._create(wanted)
            else:
                fingerprint = json.dumps([version, document], sort_keys=True).encode()
                record = await self._once.run(key, fingerprint, lambda: self._create(wanted))
        except KeyReusedError:
            message = "This Idempotency-Key was used before, with a different request"
            raise ApiError(409, message) from None
        except BootFailedError as error:
            logger.warning("a sandbox could not be started: %s", error)
            raise ApiError(503, f"The sandbox could not be started: {error}") from None
        _send(exchange, 201, views.created(record, self._domain))

    async def _create(self, wanted: NewSandbox) -> SandboxRecord:
        template = self._config.templates.get(wanted.template_id)
        if template is None:
            raise ApiError(404, f"template '{wanted.template_id}' not found")
        now = self._fleet.store.now()
        record = SandboxRecord(
            sandbox_id=new_sandbox_id(),
            template=template,
            started_at=now,
            end_at=now + wanted.timeout_seconds,
            metadata=wanted.metadata,
            env=wanted.env,
            access_token=secrets.token_hex(32) if wanted.secure else None,
            traffic_token=None if wanted.public else secrets.token_hex(32),
            network=wanted.network,
            mask_request_host=wanted.mask_request_host,
        )
        await self._fleet.create(record)
        return record

    async def list(self, exchange: Exchange, _: str, version: int) -> None:
        """`GET /sandboxes` (running ones), `GET /v2/sandboxes` (by page)."""
        listing = requests.listing(requests.query_of(exchange))
        if not listing.running:
            _send(exchange, 200, [])
            return
        try:
            page = self._fleet.store.page(
                metadata=listing.metadata,
                template_id=listing.template_id,
                started_after=listing.started_after,
                order=listing.order,
                limit=listing.limit if version == 2 else max(1, len(self._fleet.store)),
                token=listing.token,
            )
        except PageTokenError:
            raise ApiError(400, "nextToken is not one of ours") from None
        headers = () if page.next_token is None else (("x-next-token", page.next_token),)
        _send(exchange, 200, [views.listed(record) for record in page.records], headers)

    # One sandbox

    async def get(self, exchange: Exchange, sandbox_id: str, _: int) -> None:
        """`GET /sandboxes/{id}`."""
        _send(exchange, 200, views.detailed(self._record(sandbox_id), self._domain))

    async def delete(self, exchange: Exchange, sandbox_id: str, _: int) -> None:
        """`DELETE /sandboxes/{id}`."""
        if not await self._fleet.kill(sandbox_id):
            raise _unknown(sandbox_id)
        exchange.respond(204)

    async def connect(self, exchange: Exchange, sandbox_id: str, version: int) -> None:
        """`POST /sandboxes/{id}/connect`: its tokens, and a lifetime at least so long."""
        document = await requests.json_object(exchange)
        limit = self._config.max_lifetime_seconds
        seconds = requests.timeout_of(document, 300 if version == 2 else None, limit)
        record = self._fleet.store.extend(sandbox_id, seconds)
        if record is None:
            raise _unknown(sandbox_id)
        self._fleet.ends_changed()
        _send(exchange, 200, views.created(record, self._domain))

    async def set_timeout(self, exchange: Exchange, sandbox_id: str, _: int) -> None:
        """`POST /sandboxes/{id}/timeout`: end so many seconds from now."""
        document = await requests.json_object(exchange)
        seconds = requests.timeout_of(document, None, self._config.max_lifetime_seconds)
        if self._fleet.store.end_in(sandbox_id, seconds) is None:
            raise _unknown(sandbox_id)
        self._fleet.ends_changed()
        exchange.respond(204)

    async def refresh(self, exchange: Exchange, sandbox_id: str, _: int) -> None:
        """`POST /sandboxes/{id}/refreshes`: live for at least so many seconds more."""
        document = await requests.json_object(exchange)
        wanted = {"timeout": document.get("duration", 15)}
        seconds = requests.timeout_of(wanted, None, self._config.max_lifetime_seconds)
        if self._fleet.store.extend(sandbox_id, seconds) is None:
            raise _unknown(sandbox_id)
        self._fleet.ends_changed()
        exchange.respond(204)

    async def metrics(self, exchange: Exchange, sandbox_id: str, _: int) -> None:
        """`GET /sandboxes/{id}/metrics`: what it used lately, and now."""
        record = self._record(sandbox_id)
        query = requests.query_of(exchange)
        start = requests.seconds_of(query, "start")
        end = requests.seconds_of(query, "end")
        sandbox = self._fleet.get(sandbox_id)
        if sandbox is None:
            raise _unknown(sandbox_id)
        now = self._fleet.store.now()
        if (start is None or start <= now) and (end is None or end >= now):
            await self._fleet.sample(sandbox)
        samples = [
            views.metric(sample, record)
            for sample in sandbox.samples
            if (start is None or sample.taken_at >= start)
            and (end is None or sample.taken_at <= end)
        ]
        _send(exchange, 200, samples)

    async def resume(self, exchange: Exchange, sandbox_id: str, _: int) -> None:
        """`POST /sandboxes/{id}/resume`: nothing here is ever paused."""
        self._record(sandbox_id)
        _send_error(exchange, 409, f"Sandbox {sandbox_id} is already running")

    async def unsupported(self, exchange: Exchange, sandbox_id: str, _: int) -> None:
        """Whatever this backend does not have."""
        self._record(sandbox_id)
        what = exchange.path.rpartition("/")[2]
        raise ApiError(501, f"{what} is not supported by the local backend")


_ENDPOINTS: Final[dict[str, dict[str, Endpoint]]] = {
    "": {"POST": ControlPlane.create, "GET": ControlPlane.list},
    "/{id}": {"GET": ControlPlane.get, "DELETE": ControlPlane.delete},
    "/{id}/connect": {"POST": ControlPlane.connect},
    "/{id}/timeout": {"POST": ControlPlane.set_timeout},
    "/{id}/refreshes": {"POST": ControlPlane.refresh},
    "/{id}/metrics": {"GET": ControlPlane.metrics},
    "/{id}/resume": {"POST": ControlPlane.resume},
    "/{id}/pause": {"POST": ControlPlane.unsupported},
    "/{id}/network": {"PUT": ControlPlane.unsupported},
    "/{id}/snapshots": {"POST": ControlPlane.unsupported},
    "/{id}/fork": {"POST": ControlPlane.unsupported},
}


def _unknown(sandbox_id: str) -> ApiError:
    message = f"Sandbox \"{sandbox_id}\" doesn't exist or you don't have access to it"
    return ApiError(404, message)


def _send(
    exchange: Exchange, status: int, document: object, headers: Iterable[tuple[str, str]] = ()
) -> None:
    exchange.respond(status, json.dumps(document).encode(), [*_JSON, *headers])


def _send_error(exchange: Exchange, status: int, message: str) -> None:
    body = json.dumps({"code": status, "message": message}).encode()
    exchange.respond(status, body, _JSON)
