"""The server: whose connections there are, and which of them have been idle for too long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.http1.connection import Connection

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable

    from sandbox_service.e2b_local.http1.exchange import Exchange

# Clients keep idle connections for 300 s; a server that closes first makes
# them send a request into a closed socket.
IDLE_TIMEOUT_SECONDS: Final = 660.0
_SWEEP_SECONDS: Final = 30.0
# A client that goes without its part of a TLS goodbye holds the socket for so long.
_TLS_SHUTDOWN_SECONDS: Final = 5.0


class Server:
    """Hands each request of its connections to one handler.

    Args:
        handler: Answers the requests.
    """

    def __init__(self, handler: Callable[[Exchange], Awaitable[None]]) -> None:
        self.handler = handler
        self.connections: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start to close connections that are idle for too long."""
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    async def adopt(
        self,
        sock: socket.socket,
        *,
        tls: ssl.SSLContext | None = None,
        early: bytes = b"",
    ) -> None:
        """Serve a client that has connected; the socket is owned from now on.

        Args:
            sock: Connected, not blocking.
            tls: For a client that begins with a TLS handshake, none of which was read.
            early: What was read of a client that speaks plainly.

        Raises:
            OSError: The handshake failed. The socket is closed.
        """
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self, early),
                sock,
                ssl=tls,
                ssl_shutdown_timeout=None if tls is None else _TLS_SHUTDOWN_SECONDS,
            )
        except OSError as error:
            # It would hold what was made for the handshake, 256 KiB, until the next
            # collection, and memory alone does not bring one about.
            error.__traceback__ = None
            raise

    async def close(self) -> None:
        """Cut every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.abort()
        # The transports close on the loop's next turn.
        await asyncio.sleep(0)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - IDLE_TIMEOUT_SECONDS
        for connection in list(self.connections):
            if connection.idle_since is not None and connection.idle_since < oldest:
                connection.close()
        self._sweeper = loop.call_later(_SWEEP_SECONDS, self._sweep)
