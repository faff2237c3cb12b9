"""Which addresses a sandbox may reach, and why not the others.

Two parties have a say. The server's owner allows hosts and ports for all sandboxes
(`EgressSettings`); whoever creates a sandbox can narrow that further (`EgressRules`),
never widen it.

What is judged is the place that a connection leads to, not what is said in it. A host
that others answer on as well, as those of content networks do, can be asked for them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.egress.destinations import Destinations, as_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandbox_service.e2b_local.egress.destinations import Address, Network

PACKAGE_REGISTRIES: Final = (
    *("pypi.org", "files.pythonhosted.org"),
    *("registry.npmjs.org", "registry.yarnpkg.com"),
    *("deb.debian.org", "security.debian.org"),
)
"""What is allowed unless the owner says otherwise: enough to install packages."""

WEB_PORTS: Final = frozenset({80, 443})
"""Which ports are open unless the owner says otherwise."""

EVERYWHERE: Final = "0.0.0.0/0"
"""What E2B's clients write for all addresses there are, of either version."""

_PUBLIC_IPV6: Final = ipaddress.IPv6Network("2000::/3")
# Where clouds answer a machine's questions about itself, beside the link-local addresses.
_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        *("168.63.129.16", "100.100.100.200", "192.0.0.192"),
        *("fd00:ec2::254", "fd20:ce::254"),
    )
)
# A translator would lead these to an IPv4 address that nobody has judged.
_TRANSLATED: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        *("64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"),
        *("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96"),
    )
)
# Not known as such to every version of the standard library.
_DOCUMENTATION: Final = ipaddress.IPv6Network("3fff::/20")


class DeniedError(Exception):
    """A connection that is not allowed. The message says why, for whoever tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressSettings:
    """What the server's owner allows.

    Attributes:
        allow: Where sandboxes may connect to. A name is allowed by name, whatever
            networks are; a network allows its addresses as they stand.
        ports: On which ports.
        private: Networks that are not public and may be reached all the same, such as
            a registry of one's own. The host's loopback and link-local addresses
            (metadata services among them) never are, whatever stands here.
    """

    allow: Destinations
    ports: frozenset[int] = WEB_PORTS
    private: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRules:
    """What the creator of a sandbox wants of that.

    Attributes:
        internet: False: nothing at all, but what `allow` names.
        allow: Wins over `internet` and `deny`.
        deny: What is taken away.
    """

    internet: bool = True
    allow: Destinations = field(default_factory=Destinations)
    deny: Destinations = field(default_factory=Destinations)

    @classmethod
    def read(
        cls, network: Mapping[str, object], *, allow_internet_access: bool | None
    ) -> EgressRules:
        """Take E2B's settings of a sandbox for what they mean here.

        Args:
            network: With `allowOut` and `denyOut`, which were checked before.
            allow_internet_access: As its creator sent it.
        """
        allowed, denied = _entries(network, "allowOut"), _entries(network, "denyOut")
        if EVERYWHERE in allowed:
            allowed.append("*")
        return cls(
            internet=allow_internet_access is not False and EVERYWHERE not in denied,
            # What is neither a host nor a network allows nothing.
            allow=Destinations.parse(allowed, skip_unknown=True),
            deny=Destinations.parse(denied),
        )


def _entries(network: Mapping[str, object], name: str) -> list[str]:
    listed = network.get(name)
    # Nothing out of the sandbox has a zone, and what is denied is denied in all of them.
    return [str(one).partition("%")[0] for one in listed] if isinstance(listed, list) else []


def check_host(settings: EgressSettings, rules: EgressRules, host: str, port: int) -> None:
    """Refuse what needs no look-up to be refused: to look a name up is to tell it.

    Raises:
        DeniedError: The port or the name is not allowed.
    """
    if port not in settings.ports:
        raise DeniedError(f"port {port} is not open to sandboxes")
    if as_address(host) is not None:
        return  # It is judged as what it is.
    if not settings.allow.has_host(host):
        raise DeniedError(f"{host} is not on the list of hosts that sandboxes may reach")
    if rules.allow.has_host(host):
        return
    if rules.deny.has_host(host) or not (rules.internet or rules.allow.networks):
        raise DeniedError(f"{host} was denied by this sandbox's network settings")


def pick_address(
    settings: EgressSettings, rules: EgressRules, host: str, addresses: Iterable[Address]
) -> list[Address]:
    """Keep those of a host's addresses that may be connected to.

    Connecting to one of these, and not to the name again, leaves no room for a name
    that leads elsewhere the second time.

    Raises:
        DeniedError: None may.
    """
    literal = as_address(host) is not None
    named = settings.allow.has_host(host)
    wanted = rules.allow.has_host(host)
    reason = "has no address"
    picked = []
    for found in addresses:
        # An IPv4 address in IPv6 clothes is judged as what it is.
        address = getattr(found, "ipv4_mapped", None) or found
        if not _is_reachable(settings, address):
            reason = "is not public" if literal else "leads to an address that is not public"
        elif not (named or (literal and settings.allow.has_address(address))):
            reason = "is not on the list of hosts that sandboxes may reach"
        elif not (wanted or _is_wanted(rules, address)):
            reason = "was denied by this sandbox's network settings"
        else:
            picked.append(address)
    if not picked:
        raise DeniedError(f"{host} {reason}")
    return picked


def never_reachable(network: Network) -> bool:
    """Whether no setting makes any address of a network one that can be reached."""
    first, last = network.network_address, network.broadcast_address
    return _is_never(first) and _is_never(last) and _kind(first) == _kind(last)


def _kind(address: Address) -> tuple[bool, bool, bool]:
    return address.is_loopback, address.is_link_local, address.is_multicast


def _is_reachable(settings: EgressSettings, address: Address) -> bool:
    if _is_never(address):
        return False
    if any(address in network for network in settings.private):
        return True
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_IPV6:
        return False
    return address.is_global and address not in _DOCUMENTATION


def _is_never(address: Address) -> bool:
    if address.is_loopback or address.is_link_local or address.is_multicast:
        return True
    if address.is_unspecified or address in _METADATA:
        return True
    return any(address in network for network in _TRANSLATED)


def _is_wanted(rules: EgressRules, address: Address) -> bool:
    if rules.allow.has_address(address):
        return True
    return rules.internet and not rules.deny.has_address(address)
