"""Who calls: from the call's metadata, which only a trusted peer may set."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final
from urllib.parse import unquote

from sandbox_service.domain.errors import (
    InvalidRequestError,
    TenantRequiredError,
    UnauthenticatedError,
)
from sandbox_service.domain.identity import Caller

TENANT_HEADER: Final = "x-miosa-tenant-id"
USER_HEADER: Final = "x-miosa-user-id"
ROLE_HEADER: Final = "x-miosa-role"
REQUEST_ID_HEADER: Final = "x-request-id"
FORWARDED_HEADER: Final = "x-miosa-forwarded"
"""Set by an instance that passes a call on to another one."""

FLEET_ROLE: Final = "fleet"
"""The role that sees every tenant's sandboxes."""

_KNOWN_MAX: Final = 4096

_NAME: Final = re.compile(r"[!-~]{1,128}")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id(metadata: Mapping[str, str]) -> str:
    """Return the caller's correlation id, or a new one."""
    given = metadata.get(REQUEST_ID_HEADER, "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def forwarded(caller: Caller) -> Sequence[tuple[str, str]]:
    """Return the metadata with which another instance is called for a caller."""
    metadata = {
        TENANT_HEADER: caller.tenant,
        USER_HEADER: caller.user,
        ROLE_HEADER: FLEET_ROLE if caller.fleet else "",
        REQUEST_ID_HEADER: caller.request_id,
        FORWARDED_HEADER: "1",
    }
    return [(name, value) for name, value in metadata.items() if value]


class TrustedPeers:
    """Believes the metadata of peers that the operator named, and of nobody else.

    Args:
        networks: Where trusted peers are.
    """

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def identify(self, peer: str, metadata: Mapping[str, str], request_id: str) -> Caller:
        """Return who calls.

        Args:
            peer: As gRPC names it: `ipv4:1.2.3.4:5`, `ipv6:[::1]:5` or `unix:...`.
            request_id: Of the call.

        Raises:
            UnauthenticatedError: The peer is not to be believed.
            TenantRequiredError: It names no tenant.
        """
        if not self._trusts(peer):
            raise UnauthenticatedError(
                "This peer is not trusted to say for whom it calls. "
                "The operator lists trusted peers in SANDBOX_TRUSTED_PEERS."
            )
        tenant = metadata.get(TENANT_HEADER, "")
        user = metadata.get(USER_HEADER, "")
        if not _NAME.fullmatch(tenant):
            raise TenantRequiredError(
                f"The call names no tenant. Set the metadata {TENANT_HEADER} to a name of "
                "1 to 128 visible ASCII characters.",
                metadata={"metadata_key": TENANT_HEADER},
            )
        if user and not _NAME.fullmatch(user):
            raise InvalidRequestError.of(
                USER_HEADER, "has to be 1 to 128 visible ASCII characters", "metadata"
            )
        return Caller(
            tenant=tenant,
            user=user,
            fleet=metadata.get(ROLE_HEADER) == FLEET_ROLE,
            request_id=request_id,
            forwarded=FORWARDED_HEADER in metadata,
        )

    def _trusts(self, peer: str) -> bool:
        kind, _, rest = peer.partition(":")
        # The port differs by connection; whoever shares a host shares the answer.
        return kind == "unix" or self._trusts_host(rest.rpartition(":")[0])

    def _trusts_host(self, written: str) -> bool:
        known = self._known.get(written)
        if known is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            known = self._known[written] = self._is_trusted(unquote(written).strip("[]"))
        return known

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        return any(address in network for network in self._networks)
