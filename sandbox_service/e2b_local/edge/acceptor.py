"""The listening port: each client is heard just far enough to know what it speaks."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.tunnels.answers import ESTABLISHED, refusal
from sandbox_service.e2b_local.tunnels.opening import (
    CONNECT_HEAD_LIMIT_BYTES,
    BadConnectError,
    Place,
    begins_tls,
    connect_place,
    end_of_head,
    may_be_connect,
)
from sandbox_service.e2b_local.tunnels.tunnel import Tunnel

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine

    from sandbox_service.e2b_local.http1 import Server

logger = logging.getLogger(__name__)

# From the connection to the end of a TLS handshake, or to the first byte of a plain request.
OPENING_SECONDS: Final = 30.0
_DIAL_SECONDS: Final = 20.0
_ACCEPTED_AT_ONCE: Final = 128
_PAUSE_SECONDS: Final = 0.2


class Acceptor:
    """Accepts clients of one port, and gives each to whoever speaks its language.

    Args:
        server: Serves HTTP, over TLS or plain.
        tls: Our side of a TLS handshake.
        serves: Whether a tunnel to a host and port leads to this very port.
        opening_seconds: How long a client may take to say what it wants.
    """

    def __init__(
        self,
        server: Server,
        tls: ssl.SSLContext,
        serves: Callable[[str, int], bool],
        *,
        opening_seconds: float = OPENING_SECONDS,
    ) -> None:
        self._server = server
        self._tls = tls
        self._serves = serves
        self._opening_seconds = opening_seconds
        self._loop = asyncio.get_running_loop()
        self._listening: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None

    def listen(self, listening: socket.socket) -> None:
        """Accept clients of a listening socket, which is owned from now on."""
        listening.setblocking(False)
        self._listening = listening
        self._loop.add_reader(listening.fileno(), self._accept, listening)

    async def close(self) -> None:
        """Stop listening, and cut whoever is not yet served and every tunnel to elsewhere."""
        if self._pause is not None:
            self._pause.cancel()
        listening, self._listening = self._listening, None
        if listening is not None:
            self._loop.remove_reader(listening.fileno())
            listening.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                client, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors, mostly. The port stays readable: without a pause the
                # loop would do nothing else.
                logger.warning("cannot accept a client: %s", error)
                self._loop.remove_reader(listening.fileno())
                self._pause = self._loop.call_later(_PAUSE_SECONDS, self._accept_again)
                return
            client.setblocking(False)
            self._spawn(self._open(client))

    def _accept_again(self) -> None:
        if self._listening is not None:
            self._loop.add_reader(self._listening.fileno(), self._accept, self._listening)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, client: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._opening_seconds):
                place = await self._listen_to(client)
            if place is not None:
                await self._pass_on(client, place)
        except BadConnectError as error:
            await self._refuse(client, "400 Bad Request", str(error))
        except (OSError, TimeoutError) as error:
            logger.debug("a client got no further than its first bytes: %r", error)
        finally:
            # Whoever was given the socket has taken its descriptor out of it.
            client.close()

    async def _listen_to(self, client: socket.socket) -> Place | None:
        """Give a client to the HTTP server, unless it asks for a tunnel to elsewhere.

        Raises:
            BadConnectError: It asks for a tunnel to nowhere.
            OSError: It has left.
        """
        in_tunnel = False
        while True:
            first = await self._peek(client)
            if begins_tls(first):
                await self._server.adopt(_taken(client), tls=self._tls)
                return None
            early = b""
            if may_be_connect(first):
                early = await self._read_head(client)
            if not early.startswith(b"CONNECT "):
                await self._server.adopt(_taken(client), early=early)
                return None
            place = connect_place(early)
            if in_tunnel:
                raise BadConnectError("this is the end of a tunnel already")
            if not self._serves(place.host, place.port):
                return place
            await self._loop.sock_sendall(client, ESTABLISHED)
            in_tunnel = True

    async def _peek(self, client: socket.socket) -> bytes:
        """Return what there is to read, at least a byte, and leave it there."""
        while True:
            try:
                first = client.recv(CONNECT_HEAD_LIMIT_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                await self._readable(client)
                continue
            if not first:
                raise ConnectionResetError(errno.ECONNRESET, "the client said nothing")
            return first

    async def _read_head(self, client: socket.socket) -> bytes:
        """Read a CONNECT's head and no byte more, or what turns out to be something else."""
        head = b""
        while may_be_connect(head):
            first = await self._peek(client)
            end = end_of_head(head + first)
            head += client.recv(len(first) if end is None else end - len(head))
            if end is not None:
                break
            if len(head) > CONNECT_HEAD_LIMIT_BYTES:
                raise BadConnectError("the head of CONNECT is too long")
        return head

    async def _readable(self, client: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(client.fileno(), _settle, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(client.fileno())

    async def _pass_on(self, client: socket.socket, place: Place) -> None:
        """Be the forward proxy that a client takes us for, to the rest of the world."""
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                tunnel = await Tunnel.dial(place)
        except TimeoutError:
            await self._refuse(client, "504 Gateway Timeout", f"{place.host} does not answer")
            return
        except (OSError, UnicodeError) as error:
            message = f"{place.host}:{place.port} cannot be reached: {error}"
            await self._refuse(client, "502 Bad Gateway", message)
            return
        try:
            await self._loop.sock_sendall(client, ESTABLISHED)
            await tunnel.serve(_taken(client))
        finally:
            tunnel.abort()

    async def _refuse(self, client: socket.socket, status: str, message: str) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._opening_seconds):
                await self._loop.sock_sendall(client, refusal(status, message))
            client.shutdown(socket.SHUT_WR)


def _taken(client: socket.socket) -> socket.socket:
    """Move a socket's descriptor to an object of its own, for a new owner."""
    return socket.socket(fileno=client.detach())


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
