"""Which sandbox and which of its ports a request is for, and which hosts are served here."""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sandbox_service.e2b_local.http1 import Headers

_SANDBOX_ID: Final = re.compile(r"[a-z0-9]+", re.ASCII)
_SHARED_HOST: Final = "sandbox."
_PORT_LIMIT: Final = 0xFFFF
_PORT_DIGITS: Final = 5


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


@dataclass(frozen=True, slots=True)
class OwnHosts:
    """The hosts that this backend answers for.

    Attributes:
        domain: Lower-case, without a port: the API is at `api.` below it, sandboxes at
            `{port}-{id}.` below it.
        port: What this backend listens on.
    """

    domain: str
    port: int

    def cover(self, name: str) -> bool:
        """Whether a name without a port is the domain or below it."""
        name = name.lower().rstrip(".")
        return name == self.domain or name.endswith(f".{self.domain}")

    def name(self, host: str) -> bool:
        """Whether a host, with a port or without, is one that only we can be meant by.

        Any other may be a name that somebody else's page has let lead to this machine.
        """
        name = split_host(host.lower(), 0)[0].rstrip(".")
        return (
            not name or _is_address(name) or f".{name}".endswith(".localhost") or self.cover(name)
        )

    def serve(self, name: str, port: int) -> bool:
        """Whether a connection to there ends here: whatever port, if it is the domain's."""
        return self.cover(name) or (port == self.port and _is_loopback(name))


def split_host(host: str, default_port: int) -> tuple[str, int]:
    """Return the name or address in a host, without brackets, and its port.

    Raises:
        RoutingError: The port is none.
    """
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    return name, _port(port) if port else default_port


def route(host: str, headers: Headers, own: OwnHosts) -> Target | None:
    """Say which sandbox a request is for. None: it is for the control plane.

    Routing headers count only where many sandboxes share a host: a page that a sandbox
    serves may set headers, but not the host it was opened under.

    Args:
        host: Whom the client means to talk to, with a port or without.
        headers: The request's header fields.
        own: What this backend answers for.

    Raises:
        RoutingError: The host or the headers name a sandbox, but not properly.
    """
    name = split_host(host.lower(), 0)[0].rstrip(".")
    if name == "localhost" or _is_address(name) or name.startswith(_SHARED_HOST):
        return _by_headers(headers)
    label, _, parent = name.partition(".")
    port, dash, rest = label.partition("-")
    if own.cover(parent):
        if label == "api":
            return None
        if not dash:
            raise RoutingError("Invalid host")
    elif not (parent and dash and port.isascii() and port.isdigit()):
        return None
    return Target(_sandbox_id(rest), _port(port))


def _by_headers(headers: Headers) -> Target | None:
    sandbox_id, port = headers.get(b"e2b-sandbox-id"), headers.get(b"e2b-sandbox-port")
    if not sandbox_id and not port:
        return None
    if not sandbox_id or not port:
        missing = "E2b-Sandbox-Port" if sandbox_id else "E2b-Sandbox-Id"
        raise RoutingError(f"missing header: {missing}")
    return Target(_sandbox_id(sandbox_id), _port(port))


def _sandbox_id(text: str) -> str:
    """Check `{id}` or `{id}-{client}`."""
    sandbox_id = text.partition("-")[0]
    if _SANDBOX_ID.fullmatch(sandbox_id) is None:
        raise RoutingError("Invalid sandbox ID")
    return sandbox_id


def _port(text: str) -> int:
    # The length is looked at first: reading a very long number fails.
    if text.isascii() and text.isdigit() and len(text) <= _PORT_DIGITS:
        port = int(text)
        if 1 <= port <= _PORT_LIMIT:
            return port
    raise RoutingError("Invalid sandbox port")


@functools.lru_cache(maxsize=256)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return name.lower() == "localhost" or (
        _is_address(name) and ipaddress.ip_address(name).is_loopback
    )
