"""Connections on which nothing happens for a while stay."""

from __future__ import annotations

import pytest

from tests.e2e.go_client import GoRun, names_of_tests

pytestmark = [pytest.mark.needs("go"), pytest.mark.timeout(400)]


@pytest.mark.parametrize("name", names_of_tests("keepalive_test.go"))
def test_go_client_that_pings_is_not_sent_away(quiet_connections: GoRun, name: str) -> None:
    """A server of default settings ends the connection at the third ping, after 30 s."""
    assert quiet_connections.passed(name), quiet_connections.finish()
