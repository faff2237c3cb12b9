"""Only a trusted peer says for whom it calls."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from sandbox_service.domain.errors import (
    InvalidRequestError,
    TenantRequiredError,
    UnauthenticatedError,
)
from sandbox_service.rpc.identity import TrustedPeers, request_id

LOOPBACK = TrustedPeers([ip_network("127.0.0.0/8"), ip_network("::1/128")])
ACME = {"x-miosa-tenant-id": "acme"}


@pytest.mark.parametrize(
    "peer",
    [
        "ipv4:127.0.0.1:5",
        "ipv4:127.9.9.9:5",
        "ipv6:[::1]:5",
        "ipv6:%5B::1%5D:5",
        "ipv6:[::ffff:127.0.0.1]:5",
        "unix:",
        "unix:/tmp/socket",
    ],
)
def test_a_peer_on_this_machine_is_believed(peer):
    """Loopback in all the ways that gRPC writes it."""
    caller = LOOPBACK.identify(peer, {**ACME, "x-miosa-user-id": "eve"}, "r-1")

    assert (caller.tenant, caller.user, caller.fleet) == ("acme", "eve", False)


@pytest.mark.parametrize(
    "peer", ["ipv4:10.0.0.1:5", "ipv6:[2001:db8::1]:5", "ipv4:128.0.0.1:5", "odd", ""]
)
def test_another_peer_is_not(peer):
    """Metadata is only text that anybody can send."""
    with pytest.raises(UnauthenticatedError):
        LOOPBACK.identify(peer, ACME, "r-1")


def test_a_call_without_a_tenant_is_refused_with_the_header_to_set():
    """Everything is keyed by tenant; there is no default one."""
    with pytest.raises(TenantRequiredError) as caught:
        LOOPBACK.identify("ipv4:127.0.0.1:5", {}, "r-1")

    assert caught.value.metadata == {"metadata_key": "x-miosa-tenant-id"}


@pytest.mark.parametrize("name", ["has space", "ümlaut", "x" * 129, "new\nline"])
def test_a_tenant_or_user_that_is_no_name_is_refused(name):
    """They are keys of the store and values of E2B's metadata."""
    with pytest.raises(TenantRequiredError):
        LOOPBACK.identify("ipv4:127.0.0.1:5", {"x-miosa-tenant-id": name}, "r-1")

    with pytest.raises(InvalidRequestError):
        LOOPBACK.identify("ipv4:127.0.0.1:5", {**ACME, "x-miosa-user-id": name}, "r-1")


def test_the_fleet_role_sees_every_tenant():
    """The orchestrator's own sweeps need it."""
    caller = LOOPBACK.identify("unix:", {**ACME, "x-miosa-role": "fleet"}, "r-1")

    assert caller.fleet
    assert caller.may_see("other")


def test_a_callers_request_id_is_kept_and_a_strange_one_replaced():
    """It goes into logs, so it must not write lines of its own."""
    assert request_id({"x-request-id": "abc-1.2:3_4"}) == "abc-1.2:3_4"
    assert request_id({"x-request-id": "a\nb"}) not in ("a\nb", "")
    assert request_id({}) != request_id({})
