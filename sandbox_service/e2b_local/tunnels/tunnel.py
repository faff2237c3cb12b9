"""A tunnel to a host that is not ours: bytes both ways, each direction ending by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    import socket

    from sandbox_service.e2b_local.tunnels.opening import Place

_HIGH_WATER_BYTES: Final = 256 * 1024


class _End(asyncio.Protocol):
    """One of a tunnel's two connections.

    Attributes:
        read_bytes: What came from there so far.
    """

    def __init__(self) -> None:
        self.read_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._other: _End | None = None
        self._ended = False
        self._left: int | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def join(self, other: _End, limit_bytes: int | None = None) -> None:
        """Pass on from now what comes, up to a limit; until then nothing was read."""
        self._other = other
        self._left = limit_bytes
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Queue bytes on this connection."""
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self.abort()
                return
        self.read_bytes += len(data)
        if self._other is not None and self._other._transport is not None:
            self._other._transport.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        other = self._other
        if other is None or other._transport is None:
            return False
        other._transport.write_eof()
        if other._ended:
            # What was written is still sent.
            other._transport.close()
            return False
        return True

    def pause_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)
        if self._other is not None and self._other._transport is not None:
            if exc is None:
                self._other._transport.close()
            else:
                self._other.abort()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()


class Tunnel:
    """A connection to a place, for a client that has asked for it.

    Attributes:
        sent_bytes: To the place so far.
        received_bytes: From the place so far.
    """

    def __init__(self, far: _End) -> None:
        self._far = far
        self._near: _End | None = None
        self._early_bytes = 0

    @classmethod
    async def dial(cls, place: Place) -> Tunnel:
        """Connect to the place; nothing that it says is read yet.

        Raises:
            OSError: It cannot be reached, or its name is not known.
        """
        loop = asyncio.get_running_loop()
        _, far = await loop.create_connection(
            _End, place.host, place.port, happy_eyeballs_delay=0.25
        )
        return cls(far)

    @property
    def sent_bytes(self) -> int:
        """See `Tunnel`."""
        return self._early_bytes + (0 if self._near is None else self._near.read_bytes)

    @property
    def received_bytes(self) -> int:
        """See `Tunnel`."""
        return self._far.read_bytes

    def send(self, data: bytes) -> None:
        """Send the place something before what the client says from now on."""
        self._early_bytes += len(data)
        self._far.write(data)

    def abort(self) -> None:
        """Cut the connection to the place."""
        self._far.abort()

    async def serve(self, client: socket.socket, limit_bytes: int | None = None) -> None:
        """Pass bytes on until both ends have closed; cancelled, cut both.

        Args:
            client: Connected, not blocking; owned from now on.
            limit_bytes: It is cut when it sends more than that. None: it never is.
        """
        near: _End | None = None
        try:
            loop = asyncio.get_running_loop()
            _, near = await loop.connect_accepted_socket(_End, client)
            self._near = near
            near.join(self._far, limit_bytes)
            self._far.join(near)
            await asyncio.wait([near.lost, self._far.lost])
        finally:
            self._far.abort()
            if near is not None:
                near.abort()
