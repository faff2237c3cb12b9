"""The service with a way out for its embedded sandboxes: what it tells, and who is kept in."""

from __future__ import annotations

import shlex

import pytest

from tests.integration.egress_world import ASK
from tests.support.calls import Client, pb
from tests.support.service import served


@pytest.mark.asyncio(loop_scope="session")
async def test_a_sandbox_without_internet_has_none_though_others_have():
    """The settings of the environment come through, and so does the network policy."""
    variables = {"SANDBOX_LOCAL_EGRESS": "proxy", "SANDBOX_LOCAL_EGRESS_ALLOW": "*.sandbox.invalid"}
    ask = f"python3 -c {shlex.quote(ASK)} a.sandbox.invalid:443"
    with served(env=variables) as service:
        async with Client.connected(service.grpc_address) as client:
            told = await client.call("GetCapabilities", pb.GetCapabilitiesRequest())
            [internet] = [it for it in told.features if it.feature == pb.FEATURE_INTERNET]
            free = await client.sandbox()
            network = {"egress_default": pb.EGRESS_DEFAULT_DENY}
            kept = await client.sandbox(network=network)
            assert "cannot be reached" in (await free.run(ask)).text
            assert "denied by this sandbox" in (await kept.run(ask)).text
            await client.destroy_all()

    # Not all of it: a policy that says ALLOW is still refused.
    assert not internet.supported
    assert "proxy" in internet.note
