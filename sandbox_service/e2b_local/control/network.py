"""Network settings as clients send them, checked as E2B checks them.

Unless the server's owner opened one, sandboxes have no way out to the network here.
Every wish about where they may go is then kept and shown, and granted no more than
"nowhere". That holds for `allowOut`, `denyOut`, `dnsServers`, `egressProxy`, `rules` and
`allow_internet_access`: each of them only narrows or shapes traffic that does not exist.

Where there is a way out, `allowOut`, `denyOut` and `allow_internet_access` narrow it (see
`egress`). The others would shape it, which nothing here can do, so they are refused.
`httpsPorts` is about traffic into the sandbox, which is plain HTTP: it is always refused.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, Final

from sandbox_service.e2b_local.control.routing import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox_service.e2b_local.egress import EgressSettings

_MASK: Final = re.compile(
    r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:(\d{1,5}|\$\{PORT\}))?", re.ASCII | re.IGNORECASE
)
_ALL_TRAFFIC: Final = "0.0.0.0/0"
_DNS_NAME: Final = re.compile(
    r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?",
    re.ASCII | re.IGNORECASE,
)
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_RULES_LIMIT: Final = 10
_DOMAIN_LIMIT: Final = 128
_HEADERS_LIMIT: Final = 20
_HEADER_NAME_LIMIT: Final = 64
_HEADER_VALUE_LIMIT: Final = 2048
# What `PUT /sandboxes/{id}/network` replaces; the rest was settled at the start.
_SHAPING: Final = ("dnsServers", "egressProxy", "rules")
_EGRESS: Final = ("allowOut", "denyOut", *_SHAPING)


def network_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Read the `network` of a request for a sandbox.

    Raises:
        ApiError: 400: a setting is wrong. 501: it asks for `httpsPorts`.
    """
    network = document.get("network")
    if network is None:
        return {}
    if not isinstance(network, dict):
        raise ApiError(400, "network must be an object")
    public = network.get("allowPublicTraffic")
    if public is not None and not isinstance(public, bool):
        raise ApiError(400, "allowPublicTraffic must be true or false")
    _check_mask(network.get("maskRequestHost"))
    if network.get("httpsPorts"):
        raise ApiError(501, "network.httpsPorts is not supported by the local backend")
    _check_egress(network)
    return {name: value for name, value in network.items() if value is not None}


def updated_network(before: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the settings about traffic out of a sandbox; what is left out is cleared.

    Raises:
        ApiError: 400: a setting is wrong.
    """
    _check_egress(document)
    kept = {name: value for name, value in before.items() if name not in _EGRESS}
    sent = {name: document[name] for name in _EGRESS if document.get(name) is not None}
    return {**kept, **sent}


def check_served(network: Mapping[str, Any], egress: EgressSettings | None) -> None:
    """Refuse what cannot be done with traffic, where there is traffic.

    Args:
        network: Settings that are right in themselves.
        egress: Where sandboxes may connect to. None: nowhere.

    Raises:
        ApiError: 501: it holds such a setting, and silence would be a lie.
    """
    for name in _SHAPING:
        if egress is not None and network.get(name):
            raise ApiError(501, f"network.{name} is not supported by the local backend's egress")


def shown_network(network: Mapping[str, Any]) -> dict[str, Any]:
    """Show network settings, without the password of a proxy."""
    shown = dict(network)
    proxy = shown.get("egressProxy")
    if isinstance(proxy, dict):
        shown["egressProxy"] = {name: proxy[name] for name in proxy if name != "password"}
    return shown


def _check_mask(mask: object) -> None:
    if mask is None:
        return
    if not isinstance(mask, str) or _MASK.fullmatch(mask) is None:
        if isinstance(mask, str) and not mask.isascii():
            host = mask.rpartition(":")[0] or mask
            message = f"mask request host '{host}' is not ASCII. Please use ASCII characters only."
            raise ApiError(400, message)
        raise ApiError(400, f"mask request host is not valid: {mask}")


def _check_egress(settings: Mapping[str, Any]) -> None:
    allowed, denied = _texts(settings, "allowOut"), _texts(settings, "denyOut")
    for entry in denied:
        if not _is_destination(entry):
            raise ApiError(400, f"invalid denied CIDR {entry}")
    names = False
    for entry in allowed:
        if not _is_address(entry):
            names = True
        elif not _is_destination(entry):
            raise ApiError(400, f"invalid allowed address {entry}")
    if names and _ALL_TRAFFIC not in denied:
        raise ApiError(
            400,
            "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in"
            " deny out to block all other traffic.",
        )
    for server in _texts(settings, "dnsServers"):
        try:
            ipaddress.IPv4Address(server)
        except ValueError:
            raise ApiError(400, f"invalid DNS server {server}") from None
    _check_proxy(settings.get("egressProxy"))
    _check_rules(settings.get("rules"))


def _texts(settings: Mapping[str, Any], name: str) -> list[str]:
    value = settings.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ApiError(400, f"{name} must be a list of strings")
    return value


def _is_address(entry: str) -> bool:
    """Whether it is an address or a block of them, and not a name."""
    address, slash, length = entry.partition("/")
    try:
        if slash:
            # Python also takes a netmask here, which no client of E2B may send.
            return length.isascii() and length.isdigit() and bool(_network(entry))
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _is_destination(entry: str) -> bool:
    """Whether it is an address, or a block, that packets can be sent to."""
    if entry == _ALL_TRAFFIC:
        return True
    return _is_address(entry) and not ipaddress.ip_address(entry.partition("/")[0]).is_unspecified


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(entry, strict=False)


def _check_proxy(proxy: object) -> None:
    if proxy is None:
        return
    address = proxy.get("address") if isinstance(proxy, dict) else None
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port[:6]) <= 0xFFFF:
        raise ApiError(400, "egressProxy.address must be host:port")


def _check_rules(rules: object) -> None:
    if rules is None:
        return
    if not isinstance(rules, dict):
        raise ApiError(400, "rules must be an object")
    if len(rules) > _RULES_LIMIT:
        raise ApiError(400, f"Network rules can have at most {_RULES_LIMIT} domains.")
    for domain, entries in rules.items():
        _check_domain(domain)
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise ApiError(400, f'rules: "{domain}" must have a list of objects')
        if len(entries) > 1:
            raise ApiError(400, f'Domain "{domain}" can have at most 1 transform rule.')
        for entry in entries:
            transform = entry.get("transform")
            if transform is not None and not isinstance(transform, dict):
                raise ApiError(400, f'rules: transform of "{domain}" must be an object')
            _check_headers(domain, (transform or {}).get("headers"))


def _check_domain(domain: str) -> None:
    if not domain:
        raise ApiError(400, "Rule domain must not be empty.")
    if len(domain) > _DOMAIN_LIMIT:
        limit = f"exceeds maximum length of {_DOMAIN_LIMIT} characters"
        raise ApiError(400, f'Rule domain "{domain}" {limit}.')
    if _DNS_NAME.fullmatch(domain) is None:
        raise ApiError(400, f'Rule domain "{domain}" is not a valid domain name.')


def _check_headers(domain: str, headers: object) -> None:
    if headers is None:
        return
    if not isinstance(headers, dict):
        raise ApiError(400, f'rules: headers of "{domain}" must be an object')
    if len(headers) > _HEADERS_LIMIT:
        limit = f"can have at most {_HEADERS_LIMIT} headers per rule"
        raise ApiError(400, f'Domain "{domain}" {limit}.')
    for name, value in headers.items():
        place = f'in rule for domain "{domain}"'
        if not name:
            raise ApiError(400, f"Header name {place} must not be empty.")
        if _HEADER_NAME.fullmatch(name) is None:
            words = "must not contain CR or LF characters"
            raise ApiError(400, f'Header name "{name}" {place} {words}.')
        if len(name) > _HEADER_NAME_LIMIT:
            words = f"exceeds maximum length of {_HEADER_NAME_LIMIT} characters"
            raise ApiError(400, f'Header name "{name}" {place} {words}.')
        if not isinstance(value, str) or "\r" in value or "\n" in value:
            words = "must not contain CR or LF characters"
            raise ApiError(400, f'Value for header "{name}" {place} {words}.')
        if len(value) > _HEADER_VALUE_LIMIT:
            words = f"exceeds maximum length of {_HEADER_VALUE_LIMIT} characters"
            raise ApiError(400, f'Value for header "{name}" {place} {words}.')
