"""A fleet on a machine that only pretends."""

from __future__ import annotations

import pytest

from sandbox_service.e2b_local.fleet import Fleet
from tests.unit.e2b_local.fleet_double import Clock, FakeMachine


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def machine(tmp_path):
    return FakeMachine(tmp_path)


@pytest.fixture
async def fleet(machine, clock):
    """At most three sandboxes run in it."""
    fleet = Fleet(machine, clock, max_sandboxes=3)
    fleet.begin()
    yield fleet
    await fleet.close()
