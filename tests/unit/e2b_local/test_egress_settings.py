"""What the owner writes about the way out of sandboxes, and what is wrong with it."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from sandbox_service.e2b_local.control.network import check_served
from sandbox_service.e2b_local.control.routing import ApiError
from sandbox_service.e2b_local.egress import (
    PACKAGE_REGISTRIES,
    ConnectionQuota,
    EgressCounts,
    diagnosis,
    examine_egress,
    read_settings,
)
from sandbox_service.e2b_local.errors import ConfigError


def test_nothing_said_is_no_way_out():
    assert read_settings("none") is None


def test_a_way_out_leads_to_the_registries_by_the_webs_ports():
    settings = read_settings("proxy")
    assert settings.allow.hosts == set(PACKAGE_REGISTRIES)
    assert (settings.ports, settings.private) == ({80, 443}, ())


def test_lists_have_commas_and_may_have_blanks():
    settings = read_settings("proxy", " pypi.org , *.x.org,9.9.9.0/24,", "443, 8443", "10.0.0.0/8,")
    assert settings.allow.hosts == {"pypi.org", "*.x.org"}
    assert settings.allow.networks == (ipaddress.ip_network("9.9.9.0/24"),)
    assert settings.ports == {443, 8443}
    assert settings.private == (ipaddress.ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize("mode", ["none", "proxy"])
@pytest.mark.parametrize(
    ("allow", "ports", "private", "words"),
    [
        ("https://pypi.org", "", "", "'https://pypi.org' is no host"),
        ("pypi.org;x.org", "", "", "no host"),
        ("", "0", "", "'0' is no port"),
        ("", "70000", "", "no port"),
        ("", "80-90", "", "no port"),
        ("", "\u0661", "", "no port"),
        ("", "", "10.0.0.0/99", "'10.0.0.0/99' is no network"),
        ("", "", "registry.internal", "no network"),
        ("", "", "127.0.0.1", "never leads to 127.0.0.1"),
        ("", "", "::1", "never leads"),
        ("", "", "fe80::/64", "never leads"),
        ("", "", "169.254.0.0/16", "never leads"),
        ("", "", "224.0.0.0/4", "never leads"),
        ("", "", "100.100.100.200", "never leads"),
    ],
)
def test_what_is_wrong_is_named(mode, allow, ports, private, words):
    """Also where it would not matter now: it was meant to."""
    with pytest.raises(ConfigError, match=words):
        read_settings(mode, allow, ports, private)


@pytest.mark.parametrize("private", ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "100.64.0.0/10"])
def test_networks_with_some_use_are_taken(private):
    assert read_settings("proxy", private=private).private


def test_another_mode_is_refused():
    with pytest.raises(ConfigError, match="none or proxy"):
        read_settings("all")


async def examined(monkeypatch, *settings, **addresses):
    """The findings where these names have these addresses, and others none."""

    async def look_up(name):
        if name not in addresses:
            raise socket.gaierror(-2, "Name or service not known")
        return [ipaddress.ip_address(addresses[name])]

    monkeypatch.setattr(diagnosis, "look_up", look_up)
    monkeypatch.setattr(diagnosis, "_binding", lambda: None)
    return await examine_egress(*settings)


async def test_the_doctor_says_where_sandboxes_may_go(monkeypatch):
    addresses = {"a.org": "93.184.215.14"}
    [finding] = await examined(monkeypatch, "proxy", "a.org,*.b.org", "443", "", **addresses)
    assert finding.ok
    assert finding.detail == "proxy: to *.b.org, a.org, ports 443"
    [none] = await examined(monkeypatch, "none", "", "", "")
    assert (none.ok, none.detail) == (True, "none: sandboxes reach no network")


async def test_the_doctor_finds_names_that_lead_nowhere(monkeypatch):
    settings = ("proxy", "a.org,b.org,c.org", "443", "198.18.0.0/15")
    addresses = {"a.org": "203.0.113.7", "c.org": "198.18.0.1"}
    _, first, second = await examined(monkeypatch, *settings, **addresses)
    assert not first.ok
    assert first.detail == "a.org leads to an address that is not public: 203.0.113.7"
    assert "SANDBOX_LOCAL_EGRESS_PRIVATE" in first.fix
    assert not second.ok
    assert second.detail.startswith("b.org has no address here")


async def test_the_doctor_names_what_is_wrong(monkeypatch):
    [finding] = await examined(monkeypatch, "proxy", "a b", "", "")
    assert (finding.ok, finding.name) == (False, "egress")
    assert "'a b' is no host" in finding.detail


@pytest.mark.parametrize(
    "network",
    [{"dnsServers": ["1.1.1.1"]}, {"egressProxy": {"address": "a:1"}}, {"rules": {"a.org": []}}],
)
def test_what_nothing_here_can_do_is_refused_where_there_is_traffic(network):
    check_served(network, None)
    with pytest.raises(ApiError) as caught:
        check_served(network, read_settings("proxy"))
    assert caught.value.status == 501


def test_what_only_narrows_is_taken():
    network = {"allowOut": ["9.9.9.9"], "denyOut": ["0.0.0.0/0"], "dnsServers": [], "rules": {}}
    check_served(network, read_settings("proxy"))


def test_a_quota_is_given_back():
    quota = ConnectionQuota(1)
    assert [quota.take(), quota.take()] == [True, False]
    quota.give_back()
    assert quota.take()
    assert EgressCounts() == EgressCounts(0, 0, 0, 0)
