"""Where a sandbox may connect to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.e2b_local.egress.destinations import Destinations, read_host
from sandbox_service.e2b_local.egress.policy import (
    DeniedError,
    EgressRules,
    EgressSettings,
    check_host,
    pick_address,
)

ANYWHERE = EgressSettings(allow=Destinations.parse(["*"]))
REGISTRY = EgressSettings(allow=Destinations.parse(["pypi.org", "*.npmjs.org", "9.9.9.0/24"]))
FREE = EgressRules()
PUBLIC = ipaddress.ip_address("93.184.215.14")


def verdict(settings, rules, host, *addresses, port=443):
    """The addresses that may be connected to, or why none may."""
    try:
        check_host(settings, rules, host, port)
        found = [ipaddress.ip_address(address) for address in addresses]
        return [str(address) for address in pick_address(settings, rules, host, found)]
    except DeniedError as error:
        return str(error)


def refusal(settings, rules, host):
    """Why a host is refused before it is looked up."""
    with pytest.raises(DeniedError) as caught:
        check_host(settings, rules, host, 443)
    return str(caught.value)


def test_listed_hosts_are_reached_and_others_are_not():
    assert verdict(REGISTRY, FREE, "pypi.org", str(PUBLIC)) == [str(PUBLIC)]
    assert verdict(REGISTRY, FREE, "registry.npmjs.org", str(PUBLIC)) == [str(PUBLIC)]
    assert "not on the list" in verdict(REGISTRY, FREE, "npmjs.org", str(PUBLIC))
    assert "not on the list" in verdict(REGISTRY, FREE, "evil.example", str(PUBLIC))
    assert "not on the list" in verdict(REGISTRY, FREE, "pypi.org.evil.example", str(PUBLIC))


def test_a_listed_network_is_reached_by_address_alone():
    """To look up whatever name a program makes up would carry its data out, by the name."""
    assert verdict(REGISTRY, FREE, "9.9.9.9", "9.9.9.9") == ["9.9.9.9"]
    assert "not on the list" in verdict(REGISTRY, FREE, "9.9.8.9", "9.9.8.9")
    assert "not on the list" in refusal(REGISTRY, FREE, "secret.attacker.example")


def test_only_open_ports_are_reached():
    assert "port 22" in verdict(ANYWHERE, FREE, "pypi.org", str(PUBLIC), port=22)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.5", "172.16.3.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "198.18.0.1", "203.0.113.7"),
        *("::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "::7f00:1", "2001::1"),
        *("::ffff:0:7f00:1", "::ffff:0:a9fe:a9fe", "fec0::1", "4000::1", "3fff::1", "2001:db8::1"),
        *("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "240.0.0.1"),
    ],
)
def test_what_is_not_public_is_never_reached(address):
    assert "not public" in verdict(ANYWHERE, FREE, "rebound.example", address)


def test_a_private_network_must_be_named_and_loopback_cannot_be():
    networks = tuple(
        ipaddress.ip_network(text)
        for text in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10", "::/0")
    )
    own = EgressSettings(allow=Destinations.parse(["*"]), private=networks)
    assert verdict(own, FREE, "registry.internal", "10.0.0.5") == ["10.0.0.5"]
    assert "not public" in verdict(own, FREE, "localhost", "127.0.0.1")
    assert "not public" in verdict(own, FREE, "metadata", "169.254.169.254")
    assert "not public" in verdict(own, FREE, "metadata", "::ffff:169.254.169.254")
    for address in ("100.100.100.200", "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "::1", "ff02::1"):
        assert "not public" in verdict(own, FREE, "metadata", address)
    assert verdict(own, FREE, "registry.internal", "fd00:1::5") == ["fd00:1::5"]


def test_a_sandbox_without_internet_reaches_only_what_it_named():
    closed = EgressRules(internet=False, allow=Destinations.parse(["pypi.org"]))
    assert verdict(ANYWHERE, closed, "pypi.org", str(PUBLIC)) == [str(PUBLIC)]
    assert "denied" in refusal(ANYWHERE, closed, "npmjs.org")
    by_network = EgressRules(internet=False, allow=Destinations.parse(["93.184.215.0/24"]))
    assert verdict(ANYWHERE, by_network, "pypi.org", str(PUBLIC)) == [str(PUBLIC)]
    assert "denied" in verdict(ANYWHERE, by_network, "pypi.org", "9.9.9.9")


def test_a_sandbox_cannot_widen_what_the_server_allows():
    greedy = EgressRules(allow=Destinations.parse(["*", "0.0.0.0/0"]))
    assert "not on the list" in verdict(REGISTRY, greedy, "evil.example", str(PUBLIC))
    assert "port 22" in verdict(REGISTRY, greedy, "pypi.org", str(PUBLIC), port=22)
    assert "not public" in verdict(ANYWHERE, greedy, "inside.example", "10.0.0.5")


def test_allow_wins_over_deny():
    rules = EgressRules(
        deny=Destinations.parse(["0.0.0.0/0"]), allow=Destinations.parse(["pypi.org"])
    )
    assert verdict(ANYWHERE, rules, "pypi.org", str(PUBLIC)) == [str(PUBLIC)]
    assert "denied" in verdict(ANYWHERE, rules, "npmjs.org", str(PUBLIC))


@pytest.mark.parametrize(
    ("network", "access", "host", "addresses", "outcome"),
    [
        ({}, None, "a.org", [str(PUBLIC)], [str(PUBLIC)]),
        ({}, True, "a.org", [str(PUBLIC)], [str(PUBLIC)]),
        ({}, False, "a.org", [str(PUBLIC)], "denied"),
        ({"denyOut": ["0.0.0.0/0"]}, True, "a.org", ["2606:4700::1"], "denied"),
        ({"denyOut": ["0.0.0.0/0"]}, None, "2606:4700::1", ["2606:4700::1"], "denied"),
        ({"denyOut": ["93.184.0.0/16"]}, None, "a.org", [str(PUBLIC), "9.9.9.9"], ["9.9.9.9"]),
        ({"denyOut": ["93.184.0.0/16"]}, None, "a.org", ["::ffff:93.184.215.14"], "denied"),
        (
            {"allowOut": ["A.org."], "denyOut": ["0.0.0.0/0"]},
            None,
            "a.org",
            ["9.9.9.9"],
            ["9.9.9.9"],
        ),
        ({"allowOut": ["*.a.org"]}, False, "b.a.org", ["9.9.9.9"], ["9.9.9.9"]),
        ({"allowOut": ["*.a.org"]}, False, "a.org", ["9.9.9.9"], "denied"),
        ({"allowOut": ["9.9.9.9"]}, False, "9.9.9.9", ["9.9.9.9"], ["9.9.9.9"]),
        ({"allowOut": ["0.0.0.0/0"]}, False, "a.org", ["2606:4700::1"], ["2606:4700::1"]),
        ({"allowOut": ["no host at all", "-"]}, False, "a.org", ["9.9.9.9"], "denied"),
        ({"denyOut": ["fe80::1%eth0", "9.9.9.9"]}, None, "a.org", ["9.9.9.9"], "denied"),
    ],
)
def test_e2bs_settings_mean_what_they_mean_there(network, access, host, addresses, outcome):
    """All traffic is both versions', though clients write it as IPv4's."""
    rules = EgressRules.read(network, allow_internet_access=access)
    found = verdict(ANYWHERE, rules, host, *addresses)
    assert found == outcome if isinstance(outcome, list) else outcome in found


@pytest.mark.parametrize(
    "entry",
    [
        *("", "a b", "http://x", "-x.org", "x..org", "0x7f.1", "1.2.3", "*.*", "*.1.2.3.4"),
        *("fe80::1%eth0", "2130706433", "x.org:443", "user@x.org", "1.2.3.4/33", "\u0661"),
        "x" * 64,
    ],
)
def test_entries_that_are_neither_host_nor_network_are_refused(entry):
    with pytest.raises(ValueError, match="no host, address or network"):
        Destinations.parse([entry])


def test_hosts_are_compared_in_one_form():
    assert read_host("PyPI.org.") == "pypi.org"
    assert read_host("2606:4700:0::1") == "2606:4700::1"
    assert Destinations.parse([" PyPI.ORG. ", "*.Example.com"]).hosts == {
        "pypi.org",
        "*.example.com",
    }


def embeddings(address):
    """IPv6 addresses by which translators, or the kernel, may mean an IPv4 one."""
    number = int(address)
    for prefix, shift in (
        *(("::", 0), ("::ffff:0:0", 0), ("::ffff:0:0:0", 0), ("64:ff9b::", 0)),
        *(("64:ff9b:1::", 0), ("2002::", 80)),
    ):
        yield ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number << shift)


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_no_disguise_makes_an_address_public(address):
    for disguised in embeddings(address):
        assert "not public" in verdict(ANYWHERE, FREE, "any.example", str(disguised))


@given(st.ip_addresses())
def test_no_address_is_reached_that_is_not_global(address):
    reached = verdict(ANYWHERE, FREE, "any.example", str(address))
    if isinstance(reached, list):
        found = ipaddress.ip_address(reached[0])
        assert found.is_global
        assert not any((found.is_loopback, found.is_link_local, found.is_multicast))
        assert found.version == 4 or found in ipaddress.ip_network("2000::/3")


@given(st.ip_addresses(), st.ip_addresses())
def test_rules_only_narrow(address, other):
    """Whatever a creator allows, nothing is reached that would not be without."""
    rules = EgressRules(internet=False, allow=Destinations.parse(["*", f"{other}", f"{address}"]))
    free = verdict(REGISTRY, FREE, "pypi.org", str(address))
    asked = verdict(REGISTRY, rules, "pypi.org", str(address))
    assert asked == free
