"""Whatever breaks between a program and its reader: nothing is lost, or it is told."""

from __future__ import annotations

import secrets

import pytest

from tests.support import chaos

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def test_nothing_is_lost_in_chaos_or_it_is_told():
    """Broken connections, readers that come and go, and a service that is killed."""
    plan = chaos.Plan(seed=secrets.randbelow(2**31), seconds=15, execs=50)
    report = await chaos.run(plan)
    print(f"{plan}\n{report}")

    assert report.wrong == [], f"{plan}\n{report}"
    assert report.seen["durable whole"] > 0
    assert report.seen["faults"] > 0
    assert report.seen["kills"] == plan.kills
