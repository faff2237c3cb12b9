"""Hosts and networks, as settings name them and as connections are compared with them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)
_NAME_LIMIT: Final = 253
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-f]*", re.ASCII)


def read_host(text: str) -> str:
    """Bring a name or an address to the one form in which hosts are compared.

    Raises:
        ValueError: It is neither, or an address in a notation that only some understand.
    """
    # Names differ neither by case nor by the dot that may end them.
    host = text.lower().removesuffix(".")
    address = as_address(host)
    if address is not None and "%" not in host:
        return str(address)
    if address is not None or len(host) > _NAME_LIMIT or _NAME.fullmatch(host) is None:
        raise ValueError(f"{text!r} is no host")
    # Resolvers take 0x7f.1, 127.1 and 2130706433 for addresses.
    last = host.rpartition(".")[2]
    if last.isdigit() or _HEXADECIMAL.fullmatch(last) is not None:
        raise ValueError(f"{text!r} is no host")
    return host


def as_address(host: str) -> Address | None:
    """Read a literal address. None: it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Destinations:
    """A set of hosts and networks.

    Attributes:
        hosts: Names in lower case; `*.example.com` is every name below that one, and
            `*` every host there is.
        networks: Addresses.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str], *, skip_unknown: bool = False) -> Destinations:
        """Read names, addresses and networks in CIDR form.

        Args:
            entries: One each.
            skip_unknown: Leave out what is none of these.

        Raises:
            ValueError: One is none of these; the message names it.
        """
        hosts: set[str] = set()
        networks: list[Network] = []
        for entry in entries:
            text = entry.strip()
            try:
                network = _as_network(text)
                if network is None:
                    hosts.add(_read_pattern(text))
                else:
                    networks.append(network)
            except ValueError:
                if not skip_unknown:
                    raise ValueError(f"{entry!r} is no host, address or network") from None
        return cls(frozenset(hosts), tuple(networks))

    def has_host(self, host: str) -> bool:
        """Whether a name, in the form of `read_host`, is among the hosts."""
        if "*" in self.hosts or host in self.hosts:
            return True
        labels = host.split(".")
        return any("*." + ".".join(labels[at:]) in self.hosts for at in range(1, len(labels)))

    def has_address(self, address: Address) -> bool:
        """Whether an address is in one of the networks."""
        return any(address in network for network in self.networks)


def _as_network(text: str) -> Network | None:
    try:
        # With a zone it would be some link's alone.
        return None if "%" in text else ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _read_pattern(text: str) -> str:
    if text == "*":
        return text
    if not text.startswith("*."):
        return read_host(text)
    name = read_host(text[2:])
    if as_address(name) is not None:
        raise ValueError(f"there is nothing below the address {name}")
    return f"*.{name}"
