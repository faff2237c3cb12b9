"""The one way out of a sandbox: a proxy that looks at where each connection goes.

A sandbox has a network of its own with nothing in it. Its agent listens on a port of
that network's loopback and passes the listening socket out; whoever connects to it
inside talks to this server. Names are looked up here, once, and what is connected to
is the address that was judged, not the name.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sandbox_service.e2b_local.egress.counts import EgressCounts
from sandbox_service.e2b_local.egress.destinations import as_address
from sandbox_service.e2b_local.egress.lookup import dial, look_up
from sandbox_service.e2b_local.egress.policy import DeniedError, check_host, pick_address
from sandbox_service.e2b_local.egress.request import BadRequestError, read_request
from sandbox_service.e2b_local.tunnels.answers import ESTABLISHED, refusal
from sandbox_service.e2b_local.tunnels.opening import end_of_head

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandbox_service.e2b_local.egress.counts import ConnectionQuota
    from sandbox_service.e2b_local.egress.destinations import Address
    from sandbox_service.e2b_local.egress.journal import EgressJournal
    from sandbox_service.e2b_local.egress.policy import EgressRules, EgressSettings
    from sandbox_service.e2b_local.egress.request import ProxyRequest
    from sandbox_service.e2b_local.tunnels.opening import Place
    from sandbox_service.e2b_local.tunnels.tunnel import Tunnel

    LookUp = Callable[[str], Awaitable[list[Address]]]
    Dial = Callable[[list[Address], int], Awaitable[tuple[Tunnel, Address]]]

logger = logging.getLogger(__name__)

PROXY_PORT: Final = 3128
_URL: Final = f"http://127.0.0.1:{PROXY_PORT}"
_NO_PROXY: Final = "localhost,127.0.0.1,::1"
ENVIRONMENT: Final = {
    # Some programs read the one, some the other.
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _URL),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), _NO_PROXY),
}
"""What programs in a sandbox with a proxy find in their environment."""

CONNECTION_LIMIT: Final = 128
"""Connections of one sandbox at once, those that are refused too; others wait."""

_LOOK_UPS_AT_ONCE: Final = 4
_HEAD_LIMIT_BYTES: Final = 64 * 1024
_OPENING_SECONDS: Final = 30.0
_DIAL_SECONDS: Final = 20.0
_LINGER_SECONDS: Final = 2.0
# Of 64 KiB. What is there already is read without a turn for anybody else.
_LINGER_READS: Final = 16


@dataclass(frozen=True, slots=True)
class _Connection:
    """One that is open: what was asked for, where it leads, and who serves it."""

    place: Place
    address: Address
    task: asyncio.Task[Any]


class EgressProxy:
    """The proxy of one sandbox, from its first start to its end.

    Args:
        settings: What the server's owner allows.
        rules: What the sandbox's creator wants.
        quota: Shared with the other sandboxes.
        journal: Told where programs went and wanted to go. None: nobody is.
        look_up: Finds the addresses of a name.
        dial: Connects to the first of some addresses that answers.
    """

    def __init__(
        self,
        settings: EgressSettings,
        rules: EgressRules,
        quota: ConnectionQuota,
        *,
        journal: EgressJournal | None = None,
        look_up: LookUp = look_up,
        dial: Dial = dial,
    ) -> None:
        self.journal = journal
        self._settings = settings
        self._rules = rules
        self._quota = quota
        self._look_up = look_up
        self._dial = dial
        self._loop = asyncio.get_running_loop()
        self._listening: socket.socket | None = None
        self._accepting = False
        self._paused = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._open: dict[Tunnel, _Connection] = {}
        self._looking = asyncio.Semaphore(_LOOK_UPS_AT_ONCE)
        self._past = EgressCounts()

    @property
    def counts(self) -> EgressCounts:
        """What went through so far, in connections that are still open too."""
        return functools.reduce(_add, self._open, self._past)

    @property
    def rules(self) -> EgressRules:
        """What the sandbox's creator wants.

        Others may be set at any time; what they do not allow is cut.
        """
        return self._rules

    @rules.setter
    def rules(self, rules: EgressRules) -> None:
        self._rules = rules
        for connection in self._open.values():
            try:
                self._judge(connection.place, [connection.address])
            except DeniedError:
                connection.task.cancel()

    # --- Its life -------------------------------------------------------------------------

    def listen(self, listening: socket.socket) -> None:
        """Serve whoever connects, from now on.

        Args:
            listening: What the sandbox's agent passed out; owned from now on.
        """
        self.close()
        listening.setblocking(False)
        self._listening = listening
        self._paused = False
        self._accept_more()

    def pause(self) -> None:
        """Cut every connection and serve nobody until `resume`: the sandbox stands still."""
        self._paused = True
        self._accept_none()
        self._cut()

    def resume(self) -> None:
        """Serve again after `pause`."""
        self._paused = False
        self._accept_more()

    def close(self) -> None:
        """Stop listening and cut every connection. Repeated calls do nothing."""
        self._accept_none()
        self._cut()
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def _cut(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _accept_more(self) -> None:
        if self._accepting or self._paused or self._listening is None:
            return
        if len(self._tasks) < CONNECTION_LIMIT:
            self._accepting = True
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def _accept_none(self) -> None:
        if self._accepting and self._listening is not None:
            self._loop.remove_reader(self._listening.fileno())
        self._accepting = False

    def _accept(self) -> None:
        if self._listening is None:
            return
        try:
            client, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            logger.warning("a sandbox's proxy cannot accept: %s", error)
            self._accept_none()
            self._loop.call_later(1.0, self._accept_more)
            return
        client.setblocking(False)
        task = self._loop.create_task(self._serve(client))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        if len(self._tasks) >= CONNECTION_LIMIT:
            # The others wait in the sandbox's own backlog.
            self._accept_none()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._accept_more()

    # --- One connection -------------------------------------------------------------------

    async def _serve(self, client: socket.socket) -> None:
        with contextlib.closing(client):
            if not self._quota.take():
                await self._refuse(client, "503 Service Unavailable", "too many connections")
                return
            try:
                await self._answer(client)
            except (OSError, TimeoutError) as error:
                logger.debug("a connection out of a sandbox failed: %r", error)
            finally:
                self._quota.give_back()

    async def _answer(self, client: socket.socket) -> None:
        place: Place | None = None
        try:
            async with asyncio.timeout(_OPENING_SECONDS):
                head, rest = await self._read_head(client)
            request = read_request(head)
            place = request.place
            await self._connect(client, request, rest)
        except BadRequestError as error:
            await self._refuse(client, "400 Bad Request", str(error))
        except DeniedError as error:
            self._past = replace(self._past, refused=self._past.refused + 1)
            if self.journal is not None and place is not None:
                self.journal.refused(place, str(error))
            await self._refuse(client, "403 Forbidden", str(error))

    async def _read_head(self, client: socket.socket) -> tuple[bytes, bytes]:
        data = bytearray()
        searched = 0
        while True:
            if len(data) > _HEAD_LIMIT_BYTES:
                raise BadRequestError("the head of the request is too long")
            more = await self._loop.sock_recv(client, 16 * 1024)
            if not more:
                raise ConnectionResetError("the program left")
            data += more
            # Its end is four bytes long, of which three may have come before.
            end = end_of_head(bytes(data[searched:]))
            if end is not None:
                return bytes(data[: searched + end]), bytes(data[searched + end :])
            searched = max(0, len(data) - 3)

    async def _connect(self, client: socket.socket, request: ProxyRequest, rest: bytes) -> None:
        place, left = request.place, request.body_bytes
        if left is not None:
            left -= len(rest)
            if left < 0:
                raise BadRequestError("one request a connection")
        check_host(self._settings, self._rules, place.host, place.port)
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                allowed = self._judge(place, await self._addresses(place.host))
                tunnel, address = await self._dial(allowed, place.port)
        except (OSError, UnicodeError, TimeoutError) as error:
            message = f"{place.host}:{place.port} cannot be reached: {error or 'no answer in time'}"
            await self._refuse(client, "502 Bad Gateway", message)
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - Only tasks come here.
        self._open[tunnel] = _Connection(place, address, task)
        try:
            self._judge(place, [address])  # By the rules of now.
            if self.journal is not None:
                self.journal.connected(place, address)
            if request.tunnel:
                await self._loop.sock_sendall(client, ESTABLISHED)
            tunnel.send(request.first + rest)
            await tunnel.serve(socket.socket(fileno=client.detach()), left)
        finally:
            tunnel.abort()
            del self._open[tunnel]
            self._past = _add(self._past, tunnel)

    def _judge(self, place: Place, addresses: list[Address]) -> list[Address]:
        check_host(self._settings, self._rules, place.host, place.port)
        return pick_address(self._settings, self._rules, place.host, addresses)

    async def _addresses(self, host: str) -> list[Address]:
        literal = as_address(host)
        if literal is not None:
            return [literal]
        # Names that take long hold up those of the same sandbox, not those of others.
        await self._looking.acquire()
        looking = asyncio.ensure_future(self._look_up(host))
        looking.add_done_callback(self._looked_up)
        return await asyncio.shield(looking)

    def _looked_up(self, looking: asyncio.Future[list[Address]]) -> None:
        self._looking.release()
        if not looking.cancelled():
            looking.exception()  # Whoever waits still gets it; nobody else hears of it.

    async def _refuse(self, client: socket.socket, status: str, message: str) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._loop.sock_sendall(client, refusal(status, message))
                client.shutdown(socket.SHUT_WR)
                # Closed over what was not read, the answer would be lost.
                for _ in range(_LINGER_READS):
                    if not await self._loop.sock_recv(client, 64 * 1024):
                        break


def _add(counts: EgressCounts, tunnel: Tunnel) -> EgressCounts:
    return replace(
        counts,
        connections=counts.connections + 1,
        sent_bytes=counts.sent_bytes + tunnel.sent_bytes,
        received_bytes=counts.received_bytes + tunnel.received_bytes,
    )
