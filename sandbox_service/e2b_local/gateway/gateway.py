"""One port for everything: each request goes to the control plane, an envd or a program."""

from __future__ import annotations

import asyncio
import hmac
import logging
import posixpath
from typing import TYPE_CHECKING, Final, Protocol

from sandbox_service.e2b_local.envd import ENVD_PORT
from sandbox_service.e2b_local.fleet import QuotaExceededError
from sandbox_service.e2b_local.fleet.life import ResumeDeniedError, TransitionBusyError
from sandbox_service.e2b_local.gateway import error_pages
from sandbox_service.e2b_local.gateway.error_pages import TRAFFIC_TOKEN_HEADER, refuse
from sandbox_service.e2b_local.gateway.proxy import forward
from sandbox_service.e2b_local.gateway.routing import RoutingError, Target, route, split_host
from sandbox_service.e2b_local.machine import (
    BootFailedError,
    GuestFrozenError,
    GuestLostError,
    GuestOSError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandbox_service.e2b_local.fleet import Fleet
    from sandbox_service.e2b_local.fleet.sandbox import Sandbox
    from sandbox_service.e2b_local.fleet.store import SandboxRecord
    from sandbox_service.e2b_local.gateway.routing import OwnHosts
    from sandbox_service.e2b_local.http1 import Exchange

    Endpoint = Callable[[Exchange], Awaitable[None]]

logger = logging.getLogger(__name__)

# So long a request waits for a sandbox that is being paused or resumed.
TRANSITION_SECONDS: Final = 60.0
INFO_PATH: Final = "/local/info"
_HTTP_PORT: Final = 80
_RESERVED: Final = frozenset(
    {"/init", "/freeze", "/unfreeze", "/collapse", "/fsfreeze", "/fsthaw", "/upgrade"}
)


class Faults(Protocol):
    """What may go wrong on purpose."""

    async def apply(self, exchange: Exchange, target: Target | None) -> bool:
        """Spoil a request, or let it be. True: it needs no other answer."""


class Gateway:
    """Hands each request to the control plane, to an envd or to a program's port.

    Args:
        fleet: The sandboxes.
        control: The control plane.
        own: What this backend answers for.
        info: Answers `GET /local/info`, which E2B does not have.
        connection_limit: Requests under way in one sandbox.
        any_host: Whether the control plane answers under names that are not ours; only
            where clients need a key.
        faults: What goes wrong on purpose. None: nothing.
        transition_seconds: How long a request waits for a sandbox to wake.
    """

    def __init__(
        self,
        fleet: Fleet,
        control: Endpoint,
        own: OwnHosts,
        info: Endpoint,
        *,
        connection_limit: int,
        any_host: bool = False,
        faults: Faults | None = None,
        transition_seconds: float = TRANSITION_SECONDS,
    ) -> None:
        self._fleet = fleet
        self._control = control
        self._own = own
        self._info = info
        self._connection_limit = connection_limit
        self._any_host = any_host
        self._faults = faults
        self._transition_seconds = transition_seconds
        self._waking: set[asyncio.Future[Sandbox]] = set()

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            self._check_form(exchange)
            target = route(exchange.host, exchange.headers, self._own)
        except RoutingError as error:
            error_pages.refuse_in_words(exchange, 400, str(error))
            return
        except _ForeignHostError as error:
            error_pages.refuse_in_words(exchange, 403, str(error))
            return
        if target is None and exchange.path == INFO_PATH:
            await self._info(exchange)
        elif self._faults is not None and await self._faults.apply(exchange, target):
            return
        elif target is None:
            await self._shared(exchange)
        else:
            await self._sandbox(exchange, target)

    def _check_form(self, exchange: Exchange) -> None:
        """Refuse what only a proxy for all the world could answer."""
        if exchange.method == "CONNECT":
            raise RoutingError("CONNECT must be the first request of a connection without TLS")
        if not exchange.absolute:
            return
        name, port = split_host(exchange.host, _HTTP_PORT)
        if not self._own.serve(name, port):
            raise _ForeignHostError(
                f"this proxy passes plain HTTP to {self._own.domain} alone;"
                " set HTTPS_PROXY to it, but not HTTP_PROXY"
            )

    async def _shared(self, exchange: Exchange) -> None:
        if not self._any_host and not self._own.name(exchange.host):
            message = (
                "this host is not served here: use 127.0.0.1, localhost or"
                f" api.{self._own.domain}, or start the backend with an API key"
            )
            error_pages.refuse_in_words(exchange, 403, message)
            return
        signed = self._signed_for(exchange)
        if signed is None:
            await self._control(exchange)
        else:
            await self._into(exchange, signed, ENVD_PORT)

    def _signed_for(self, exchange: Exchange) -> Sandbox | None:
        """Find the sandbox of a signed file URL, which names none on a shared host."""
        if exchange.path != "/files":
            return None
        return next((one for one in self._fleet if one.envd.accepts_signature(exchange)), None)

    async def _sandbox(self, exchange: Exchange, target: Target) -> None:
        # Before anything is looked up: the answer says nothing of which sandboxes there are.
        if target.port == ENVD_PORT and _plain_path(exchange.path) in _RESERVED:
            refuse(exchange, error_pages.reserved(exchange.path))
            return
        sandbox = self._fleet.get(target.sandbox_id) or await self._wake(exchange, target)
        if sandbox is not None:
            await self._into(exchange, sandbox, target.port)

    async def _wake(self, exchange: Exchange, target: Target) -> Sandbox | None:
        """Resume a paused sandbox, if its creator wants that and the client may.

        Returns:
            None: the request has been answered.
        """
        sandbox_id = target.sandbox_id
        record = self._fleet.store.get(sandbox_id)
        if record is None or not record.auto_resume:
            refuse(exchange, error_pages.not_found(sandbox_id))
            return None
        if not _may_wake(exchange, record, target.port):
            refuse(exchange, error_pages.resume_denied(sandbox_id))
            return None
        waking = asyncio.ensure_future(self._fleet.wake(sandbox_id))
        self._waking.add(waking)
        waking.add_done_callback(self._woken)
        await asyncio.wait([waking], timeout=self._transition_seconds)
        error = error_pages.transitioning(sandbox_id)
        if waking.done():  # Else it goes on, and the next request may find it done.
            try:
                return waking.result()
            except (ResumeDeniedError, BootFailedError, GuestLostError):
                error = error_pages.not_found(sandbox_id)
            except (TransitionBusyError, QuotaExceededError, GuestOSError):
                pass
        refuse(exchange, error)
        return None

    def _woken(self, waking: asyncio.Future[Sandbox]) -> None:
        self._waking.discard(waking)
        if not waking.cancelled() and waking.exception() is not None:
            logger.info("a sandbox was not woken: %r", waking.exception())

    async def _into(self, exchange: Exchange, sandbox: Sandbox, port: int) -> None:
        if len(sandbox.exchanges) >= self._connection_limit:
            limit = self._connection_limit
            refuse(exchange, error_pages.too_many_connections(sandbox.sandbox_id, limit))
            return
        sandbox.exchanges.add(exchange)
        try:
            if port == ENVD_PORT:
                await sandbox.envd(exchange)
            else:
                await self._to_program(exchange, sandbox, port)
        except GuestFrozenError:
            if not exchange.started:
                refuse(exchange, error_pages.transitioning(sandbox.sandbox_id))
        finally:
            sandbox.exchanges.discard(exchange)

    async def _to_program(self, exchange: Exchange, sandbox: Sandbox, port: int) -> None:
        sandbox_id = sandbox.sandbox_id
        record = self._fleet.store.get(sandbox_id)
        token = record.traffic_token if record is not None else None
        given = exchange.headers.get(TRAFFIC_TOKEN_HEADER.encode())
        if not _matches(given, token):
            refuse(exchange, error_pages.traffic_token(sandbox_id, given=given is not None))
            return
        try:
            connection = await sandbox.guest.connect(port)
        except GuestLostError:
            refuse(exchange, error_pages.not_found(sandbox_id))
            return
        except OSError:
            refuse(exchange, error_pages.port_closed(sandbox_id, port))
            return
        mask = record.mask_request_host if record is not None else None
        await forward(exchange, connection, mask.replace("${PORT}", str(port)) if mask else None)
        if not exchange.started:
            refuse(exchange, error_pages.no_answer(sandbox_id, port))


class _ForeignHostError(Exception):
    """A plain request for somebody else, which only a proxy could pass on."""


def _may_wake(exchange: Exchange, record: SandboxRecord, port: int) -> bool:
    if port == ENVD_PORT:
        return _matches(exchange.headers.get(b"x-access-token"), record.access_token)
    return _matches(exchange.headers.get(TRAFFIC_TOKEN_HEADER.encode()), record.traffic_token)


def _matches(given: str | None, token: str | None) -> bool:
    if token is None:
        return True
    return given is not None and hmac.compare_digest(given.encode(), token.encode())


def _plain_path(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))
