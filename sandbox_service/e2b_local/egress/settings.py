"""What the server's owner writes about the way out of sandboxes."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.egress.destinations import Destinations
from sandbox_service.e2b_local.egress.policy import (
    PACKAGE_REGISTRIES,
    WEB_PORTS,
    EgressSettings,
    never_reachable,
)
from sandbox_service.e2b_local.errors import ConfigError

if TYPE_CHECKING:
    from sandbox_service.e2b_local.egress.destinations import Network

_PORT_LIMIT: Final = 0xFFFF


def read_settings(
    mode: str, allow: str = "", ports: str = "", private: str = ""
) -> EgressSettings | None:
    """Read settings as flags and the environment have them; each is a list with commas.

    Args:
        mode: `none` or `proxy`.
        allow: Hosts, `*.example.com`, addresses, networks; `*` for any public host.
            Empty: `PACKAGE_REGISTRIES`.
        ports: TCP ports. Empty: 80 and 443.
        private: Networks that are not public and may be reached all the same.

    Returns:
        None: there is no way out.

    Raises:
        ConfigError: One is wrong. The mode does not matter.
    """
    if mode not in {"none", "proxy"}:
        raise ConfigError(f"The egress {mode!r} is not known.", "Choose none or proxy.")
    settings = EgressSettings(
        allow=_allow(_parts(allow) or PACKAGE_REGISTRIES),
        ports=frozenset(map(_port, _parts(ports))) or WEB_PORTS,
        private=tuple(map(_private, _parts(private))),
    )
    return settings if mode == "proxy" else None


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _allow(entries: tuple[str, ...]) -> Destinations:
    try:
        return Destinations.parse(entries)
    except ValueError as error:
        raise ConfigError(
            f"Among the hosts that egress allows, {error}.",
            "Write names, *.example.com, addresses or networks, separated by commas.",
        ) from None


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= _PORT_LIMIT:
        return int(text)
    raise ConfigError(
        f"Among the ports of egress, {text!r} is no port.",
        "Write numbers from 1 to 65535, separated by commas.",
    )


def _private(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(
            f"Among the private networks of egress, {text!r} is no network.",
            "Write networks such as 10.20.0.0/16, separated by commas.",
        ) from None
    if never_reachable(network):
        raise ConfigError(
            f"Egress never leads to {text}: it is this machine's own, or a metadata service's.",
            "Leave it out of the private networks.",
        )
    return network
