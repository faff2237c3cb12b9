"""One port for everything: which sandbox and which of its ports a request is for."""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.envd import ENVD_PORT
from sandbox_service.e2b_local.machine import GuestLostError
from sandbox_service.e2b_local.proxy import forward

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sandbox_service.e2b_local.fleet import Fleet, Sandbox
    from sandbox_service.e2b_local.http1 import Exchange, Headers

# `{port}-{id}` or `{port}-{id}-{client}`, below any domain.
_SANDBOX_HOST: Final = re.compile(r"(\d{1,5})-([a-z0-9]+)(?:-[a-z0-9-]*)?\.", re.ASCII)
_SANDBOX_ID: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)?", re.ASCII)
_PORT_LIMIT: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a sandbox.

    Attributes:
        sandbox_id: Which sandbox; it need not exist.
        port: 1 to 65535.
    """

    sandbox_id: str
    port: int


class RoutingError(Exception):
    """A request that names a sandbox or a port, but not properly."""


def route(headers: Headers) -> Target | None:
    """Say which sandbox a request is for. None: it is for the control plane.

    Raises:
        RoutingError: One of the two routing headers is missing or no valid value.
    """
    matched = _SANDBOX_HOST.match((headers.get(b"host") or "").lower())
    if matched is not None:
        return Target(matched[2], _port(matched[1]))
    sandbox_id, port = headers.get(b"e2b-sandbox-id"), headers.get(b"e2b-sandbox-port")
    if sandbox_id is None and port is None:
        return None
    if sandbox_id is None or port is None:
        missing = "E2b-Sandbox-Id" if sandbox_id is None else "E2b-Sandbox-Port"
        raise RoutingError(f"missing header: {missing}")
    if _SANDBOX_ID.fullmatch(sandbox_id) is None:
        raise RoutingError("invalid header: E2b-Sandbox-Id")
    return Target(sandbox_id.partition("-")[0], _port(port))


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= _PORT_LIMIT:
        return int(text)
    raise RoutingError("invalid port")


class Gateway:
    """Hands each request to the control plane, to an envd or to a program's port.

    Args:
        fleet: The sandboxes.
        control: The control plane.
    """

    def __init__(self, fleet: Fleet, control: Callable[[Exchange], Awaitable[None]]) -> None:
        self._fleet = fleet
        self._control = control

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            target = route(exchange.headers)
        except RoutingError as error:
            _refuse(exchange, 400, {"message": str(error)})
            return
        if target is None:
            signed = self._signed_for(exchange)
            if signed is None:
                await self._control(exchange)
            else:
                await self._into(exchange, signed, ENVD_PORT)
            return
        sandbox = self._fleet.get(target.sandbox_id)
        if sandbox is None:
            message = "The sandbox was not found"
            _refuse(exchange, 502, {"sandboxId": target.sandbox_id, "message": message})
            return
        await self._into(exchange, sandbox, target.port)

    def _signed_for(self, exchange: Exchange) -> Sandbox | None:
        """Find the sandbox of a signed file URL, which names none on a shared host."""
        if exchange.path != "/files":
            return None
        return next((one for one in self._fleet if one.envd.accepts_signature(exchange)), None)

    async def _into(self, exchange: Exchange, sandbox: Sandbox, port: int) -> None:
        sandbox.exchanges.add(exchange)
        try:
            if port == ENVD_PORT:
                await sandbox.envd(exchange)
            else:
                await self._to_program(exchange, sandbox, port)
        finally:
            sandbox.exchanges.discard(exchange)

    async def _to_program(self, exchange: Exchange, sandbox: Sandbox, port: int) -> None:
        record = self._fleet.store.get(sandbox.sandbox_id)
        token = record.traffic_token if record is not None else None
        if token is not None and not _allowed(exchange, sandbox.sandbox_id, token):
            return
        try:
            connection = await sandbox.guest.connect(port)
        except GuestLostError:
            message = "The sandbox was not found"
            _refuse(exchange, 502, {"sandboxId": sandbox.sandbox_id, "message": message})
            return
        except OSError:
            message = "The sandbox is running but port is not open"
            fields = {"sandboxId": sandbox.sandbox_id, "message": message, "port": port}
            _refuse(exchange, 502, fields)
            return
        host = record.mask_request_host if record is not None else None
        await forward(exchange, connection, host.replace("${PORT}", str(port)) if host else None)
        if not exchange.started:
            message = "The program closed the connection without an answer"
            fields = {"sandboxId": sandbox.sandbox_id, "message": message, "port": port}
            _refuse(exchange, 502, fields)


def _allowed(exchange: Exchange, sandbox_id: str, token: str) -> bool:
    given = exchange.headers.get(b"e2b-traffic-access-token")
    if given is not None and hmac.compare_digest(given.encode(), token.encode()):
        return True
    secured = "Sandbox is secured with traffic access token."
    message = f"{secured} Token header 'e2b-traffic-access-token' is missing"
    if given is not None:
        message = f"{secured} Provided token in header 'e2b-traffic-access-token' is invalid"
    _refuse(exchange, 403, {"sandboxId": sandbox_id, "message": message})
    return False


def _refuse(exchange: Exchange, status: int, fields: Mapping[str, object]) -> None:
    body = json.dumps({**fields, "code": status}).encode()
    exchange.respond(status, body, [("content-type", "application/json; charset=utf-8")])
