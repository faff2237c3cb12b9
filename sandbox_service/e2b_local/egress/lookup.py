"""Looking names up and connecting to what was found, for sandboxes."""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.egress.policy import DeniedError
from sandbox_service.e2b_local.tunnels.opening import Place
from sandbox_service.e2b_local.tunnels.tunnel import Tunnel

if TYPE_CHECKING:
    from sandbox_service.e2b_local.egress.destinations import Address

_THREADS: Final = 16
# So long one address may take to answer while there are others.
_PATIENCE_SECONDS: Final = 5.0


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads of their own: a name that takes long must not hold up the server's other work."""
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="egress-look-up")


async def look_up(host: str) -> list[Address]:
    """Look up a name. Once begun it goes on, though whoever waits may leave.

    Raises:
        OSError: There is no such name.
    """
    loop = asyncio.get_running_loop()
    find = functools.partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    rows = await loop.run_in_executor(_threads(), find)
    found = (ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in rows)
    return list(dict.fromkeys(found))


async def dial(addresses: list[Address], port: int) -> tuple[Tunnel, Address]:
    """Connect to the first that answers, and never to one of this host's own.

    Returns:
        The connection, and where it leads.

    Raises:
        DeniedError: One of them is this host's.
        OSError: None answers.
    """
    last: OSError = ConnectionRefusedError(errno.ECONNREFUSED, "no address can be used")
    for address in addresses:
        others = address != addresses[-1]
        try:
            if _is_own(address):
                raise DeniedError("the host of the sandboxes cannot be reached")
            async with asyncio.timeout(_PATIENCE_SECONDS if others else None):
                return await Tunnel.dial(Place(str(address), port)), address
        except OSError as error:  # Being out of time is one, too.
            last = error
    raise last


def _is_own(address: Address) -> bool:
    """Whether an address is one of this host's: only its own can be bound to.

    Raises:
        OSError: That cannot be told.
    """
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return False
            raise
    return True
