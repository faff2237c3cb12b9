"""Network settings: what is taken, what is refused and with which words."""

from __future__ import annotations

import pytest

from sandbox_service.e2b_local.control.network import network_of, shown_network, updated_network
from sandbox_service.e2b_local.control.routing import ApiError

EVERYTHING = "0.0.0.0/0"
RULES = {"api.example.com": [{"transform": {"headers": {"X-Key": "value"}}}]}


def refused(**network):
    with pytest.raises(ApiError) as caught:
        network_of({"network": network})
    return caught.value.status, caught.value.message


def test_what_means_nothing_without_a_network_is_kept():
    """Code written for the cloud must run here, and find its own settings again."""
    sent = {
        "allowPublicTraffic": False,
        "allowOut": ["8.8.8.8", "10.0.0.0/8", "*.example.com", "2001:db8::/32"],
        "denyOut": [EVERYTHING],
        "dnsServers": ["1.1.1.1"],
        "egressProxy": {"address": "proxy.example.com:1080"},
        "maskRequestHost": "localhost:${PORT}",
        "rules": RULES,
    }

    assert network_of({"network": sent}) == sent
    assert network_of({"network": None}) == network_of({}) == {}


@pytest.mark.parametrize(
    "entry",
    ["example.com", "0.0.0.0", "::", "::/0", "1.2.3.4/33", "1.2.3.4/255.0.0.0", "", "1.2.3"],
)
def test_a_denied_destination_must_be_an_address(entry):
    """A denial that means nothing would leave open what was to be closed."""
    assert refused(denyOut=[entry]) == (400, f"invalid denied CIDR {entry}")


def test_an_allowed_address_must_be_one_that_can_be_reached():
    """The text is E2B's: clients show it."""
    assert refused(allowOut=["0.0.0.0"]) == (400, "invalid allowed address 0.0.0.0")


def test_allowed_names_need_everything_else_to_be_denied():
    """Names are matched by a proxy, which is only in the way when all else is closed."""
    status, message = refused(allowOut=["example.com"])

    assert status == 400
    assert "you must include 'ALL_TRAFFIC' in deny out" in message
    assert network_of({"network": {"allowOut": ["example.com"], "denyOut": [EVERYTHING]}})


@pytest.mark.parametrize(
    ("network", "status", "words"),
    [
        ({"maskRequestHost": "not a host"}, 400, "mask request host is not valid: not a host"),
        ({"maskRequestHost": "münchen.example:80"}, 400, "'münchen.example' is not ASCII"),
        ({"allowPublicTraffic": "no"}, 400, "allowPublicTraffic"),
        ({"allowOut": "8.8.8.8"}, 400, "list of strings"),
        ({"denyOut": {}}, 400, "list of strings"),
        ({"rules": {"a": [{"transform": []}]}}, 400, "must be an object"),
        ({"dnsServers": ["::1"]}, 400, "invalid DNS server ::1"),
        ({"egressProxy": {"address": "nowhere"}}, 400, "host:port"),
        ({"egressProxy": {"address": "host:99999"}}, 400, "host:port"),
        ({"httpsPorts": [8443]}, 501, "httpsPorts"),
        ({"rules": []}, 400, "rules must be an object"),
        ({"rules": {"": []}}, 400, "Rule domain must not be empty."),
        ({"rules": {"a b": []}}, 400, 'Rule domain "a b" is not a valid domain name.'),
        ({"rules": {"*": []}}, 400, "is not a valid domain name"),
        ({"rules": {"a": [{}, {}]}}, 400, 'Domain "a" can have at most 1 transform rule.'),
        ({"rules": {str(n): [] for n in range(11)}}, 400, "at most 10 domains"),
    ],
)
def test_a_wrong_setting_is_refused(network, status, words):
    """What is not understood is not kept as if it were."""
    got, message = refused(**network)

    assert got == status
    assert words in message


@pytest.mark.parametrize("headers", [{"": "v"}, {"a b": "v"}, {"A": "v\r\nB: w"}, {"A": 1}, []])
def test_a_header_that_could_break_a_request_is_refused(headers):
    """It would be written into requests of the sandbox one day."""
    if headers == []:
        headers = {f"H{n}": "v" for n in range(21)}
    status, _ = refused(rules={"a.example": [{"transform": {"headers": headers}}]})

    assert status == 400


def test_an_update_replaces_all_about_egress_and_nothing_else():
    """What is left out of it is cleared; how the sandbox is reached stays."""
    before = {"allowPublicTraffic": False, "denyOut": ["1.1.1.1"], "rules": RULES}

    assert updated_network(before, {"allowOut": ["8.8.8.8"]}) == {
        "allowPublicTraffic": False,
        "allowOut": ["8.8.8.8"],
    }
    with pytest.raises(ApiError):
        updated_network(before, {"denyOut": ["example.com"]})


def test_the_password_of_a_proxy_is_not_shown():
    """Whoever may look at a sandbox need not be who configured it."""
    proxy = {"address": "p.example:1080", "username": "u", "password": "secret"}

    assert "secret" not in repr(shown_network({"egressProxy": proxy}))
    assert shown_network({"egressProxy": proxy})["egressProxy"]["username"] == "u"
