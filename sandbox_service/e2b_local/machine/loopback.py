"""Connections to what listens inside a sandbox, and from inside to what listens for it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.model import GuestOSError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_ADDRESS: Final = "127.0.0.1"
_CONNECT_TIMEOUT_SECONDS: Final = 10.0


async def connect(begin: Callable[[bool], Awaitable[int]], port: int) -> socket.socket:
    """Connect to a port on a sandbox's loopback, IPv4 first; see `Guest.connect`.

    Args:
        begin: Has the agent begin a connection, over IPv6 or not; its descriptor.
        port: For the words of an error.
    """
    for v6 in (False, True):
        try:
            return await _finish(await begin(v6))
        except (ConnectionRefusedError, GuestOSError):
            continue
    raise ConnectionRefusedError(errno.ECONNREFUSED, f"nothing listens on port {port}")


def adopt_listener(descriptor: int, port: int) -> socket.socket:
    """Take a socket that listens on a port of a sandbox's loopback; see `Guest.listen`.

    Args:
        descriptor: Owned from now on.
        port: Where it must listen.

    Raises:
        OSError: It does not.
    """
    listening = _adopt(descriptor)
    try:
        listening.setblocking(False)
        if (
            listening.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) != socket.AF_INET
            or listening.type != socket.SOCK_STREAM
            or not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            or listening.getsockname() != (_ADDRESS, port)
        ):
            raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE))
    except BaseException:
        listening.close()
        raise
    return listening


def _adopt(descriptor: int) -> socket.socket:
    try:
        return socket.socket(fileno=descriptor)
    except OSError:  # It is no socket.
        os.close(descriptor)
        raise


async def _finish(descriptor: int) -> socket.socket:
    connection = _adopt(descriptor)
    try:
        family = connection.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
        connection.setblocking(False)
        if family not in (socket.AF_INET, socket.AF_INET6) or connection.type != 1:
            number = errno.EPROTOTYPE
        else:
            await asyncio.wait_for(_writable(connection), _CONNECT_TIMEOUT_SECONDS)
            number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except BaseException:
        connection.close()
        raise
    if number:
        connection.close()
        raise OSError(number, os.strerror(number))
    return connection


async def _writable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(connection.fileno(), _settle, ready)
    try:
        await ready
    finally:
        loop.remove_writer(connection.fileno())


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
