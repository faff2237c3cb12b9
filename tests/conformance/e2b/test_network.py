"""What is kept and told of a sandbox's network."""

from __future__ import annotations

import pytest

ALL = "0.0.0.0/0"


async def test_the_settings_of_create_are_told(sdk):
    """As they were asked for."""
    network = {
        "allow_out": ["api.example.com", "1.1.1.1"],
        "deny_out": [ALL],
        "mask_request_host": "localhost:${PORT}",
        "rules": {"api.example.com": [{"transform": {"headers": {"X-A": "b"}}}]},
    }
    sandbox = await sdk.create(network=network)
    told = (await sandbox.get_info()).network

    assert told["allow_out"] == network["allow_out"]
    assert told["deny_out"] == network["deny_out"]
    assert told["mask_request_host"] == network["mask_request_host"]
    assert told["rules"] == network["rules"]


async def test_internet_access_may_be_refused(sdk):
    """And is told as it was asked."""
    sandbox = await sdk.create(allow_internet_access=False)

    assert (await sandbox.get_info()).allow_internet_access is False


async def test_an_update_replaces_the_rules(sdk):
    """It does not add to them."""
    sandbox = await sdk.create(network={"allow_out": ["1.1.1.1"], "deny_out": [ALL]})
    await sandbox.update_network({"allow_out": ["8.8.8.8"], "deny_out": [ALL]})
    changed = (await sandbox.get_info()).network
    await sandbox.update_network({})
    cleared = (await sandbox.get_info()).network or {}

    assert (changed["allow_out"], changed["deny_out"]) == (["8.8.8.8"], [ALL])
    assert not cleared.get("allow_out")
    assert not cleared.get("deny_out")


@pytest.mark.parametrize(
    "rules",
    [
        {"denyOut": ["example.com"]},
        {"denyOut": ["not-a-cidr"]},
        {"denyOut": [ALL, "example.com"]},
        {"allowOut": ["example.com"]},
        {"allowOut": ["example.com"], "denyOut": ["10.0.0.0/8"]},
        {"allowOut": ["*.example.com"]},
    ],
)
async def test_rules_that_could_not_hold_are_refused(wire, box, rules):
    """A name is only allowed where all else is denied, and never denied."""
    response = await wire.api("PUT", f"/sandboxes/{box.id}/network", json=rules)

    assert response.status_code == 400
    assert response.json()["code"] == 400


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"allowOut": ["8.8.8.8"]},
        {"allowOut": ["8.8.0.0/16"], "denyOut": ["10.0.0.0/8"]},
        {"denyOut": [ALL]},
        {"allowOut": ["example.com", "*.example.com", "8.8.8.8"], "denyOut": [ALL]},
    ],
)
async def test_rules_that_hold_are_taken(wire, box, rules):
    """With no content."""
    response = await wire.api("PUT", f"/sandboxes/{box.id}/network", json=rules)

    assert response.status_code == 204


async def test_the_same_rules_hold_for_create(wire):
    """Nothing is made of what could not be kept."""
    document = {"templateID": wire.endpoint.template, "network": {"allowOut": ["example.com"]}}
    response = await wire.api("POST", "/v2/sandboxes", json=document)

    assert response.status_code == 400


async def test_a_mask_that_is_no_host_is_refused(wire):
    """It would be sent to programs as theirs."""
    for mask in ("a b", "http://x/", "x\ty"):
        document = {"templateID": wire.endpoint.template, "network": {"maskRequestHost": mask}}
        response = await wire.api("POST", "/v2/sandboxes", json=document)

        assert response.status_code == 400, mask


async def test_the_network_outlives_a_pause(sdk):
    """It belongs to the sandbox."""
    sandbox = await sdk.create(network={"allow_out": ["1.1.1.1"], "deny_out": [ALL]})
    await sandbox.pause()
    again = await sdk.connect(sandbox.sandbox_id)

    assert (await again.get_info()).network["allow_out"] == ["1.1.1.1"]
