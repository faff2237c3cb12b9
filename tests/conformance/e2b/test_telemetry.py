"""Metrics and logs of sandboxes, and the calls about templates that need no build."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import e2b
import pytest
from e2b import AsyncTemplate

from tests.support.connect_wire import until

METRIC_FIELDS = {
    "timestamp",
    "timestampUnix",
    "cpuCount",
    "cpuUsedPct",
    "memUsed",
    "memTotal",
    "memCache",
    "diskUsed",
    "diskTotal",
}


async def test_metrics_show_what_a_sandbox_uses(sdk):
    """Numbers that belong together."""
    sandbox = await sdk.create()

    async def measured():
        return await sandbox.get_metrics()

    await until(measured)
    last = (await sandbox.get_metrics())[-1]

    assert last.cpu_count >= 1
    assert last.cpu_used_pct >= 0
    assert last.mem_total > last.mem_used > 0
    assert last.mem_cache >= 0
    assert last.disk_total > last.disk_used >= 0
    assert last.timestamp.tzinfo is not None


async def test_metrics_have_a_history_and_a_range(async_sdk):
    """What lies outside of it is left out."""
    sandbox = await async_sdk.create()

    async def twice():
        return len(await sandbox.get_metrics()) >= 2

    await until(twice)
    every = await sandbox.get_metrics()
    times = [it.timestamp for it in every]
    future = datetime.now(UTC) + timedelta(hours=1)
    past = datetime.now(UTC) - timedelta(hours=1)

    assert times == sorted(times)
    with pytest.raises(e2b.SandboxException, match="400"):
        await sandbox.get_metrics(start=future, end=past)
    assert await sandbox.get_metrics(end=past) == []
    assert len(await sandbox.get_metrics(start=past, end=future)) >= len(every)


async def test_metrics_of_several_are_asked_at_once(wire, new_box):
    """By id; those that are not there are left out."""
    one, other = await new_box(), await new_box()

    async def both():
        query = {"sandbox_ids": f"{one.id},{other.id},inotthere"}
        response = await wire.api("GET", "/sandboxes/metrics", params=query)
        assert response.status_code == 200, response.text
        return response.json()["sandboxes"].keys() == {one.id, other.id}

    await until(both)
    query = {"sandbox_ids": one.id}
    document = (await wire.api("GET", "/sandboxes/metrics", params=query)).json()
    assert document["sandboxes"][one.id].keys() >= METRIC_FIELDS


async def test_logs_tell_of_a_life(wire, own_box):
    """In both versions: lines with their time."""
    await own_box.run("echo said")
    first = await wire.api("GET", f"/sandboxes/{own_box.id}/logs")
    second = await wire.api("GET", f"/v2/sandboxes/{own_box.id}/logs")

    assert first.status_code == second.status_code == 200
    assert first.json().keys() >= {"logs", "logEntries"}
    assert all(set(it) >= {"timestamp", "line"} for it in first.json()["logs"])
    assert all(
        set(it) >= {"timestamp", "level", "message", "fields"} for it in second.json()["logs"]
    )
    assert second.json()["logs"]


async def test_logs_come_in_either_direction_and_with_a_limit(wire, own_box):
    """A page of a long life."""
    await own_box.run("true")

    async def times(**query):
        path = f"/v2/sandboxes/{own_box.id}/logs"
        return [
            it["timestamp"] for it in (await wire.api("GET", path, params=query)).json()["logs"]
        ]

    forward = await times(direction="forward")
    assert forward == sorted(forward)
    assert await times(direction="backward") == forward[::-1]
    assert len(await times(limit="1")) == 1


async def test_templates_are_looked_up_by_alias(endpoint, wire):
    """Without building anything."""
    found = await wire.api("GET", f"/templates/aliases/{endpoint.template}")
    missing = await wire.api("GET", "/templates/aliases/no-such-alias")

    assert found.status_code == 200
    assert found.json().keys() >= {"templateID", "public"}
    assert (missing.status_code, missing.json()["code"]) == (404, 404)


async def test_the_sdk_asks_whether_a_template_is_there(endpoint):
    """Agents ask before they build."""
    assert await AsyncTemplate.exists(endpoint.template, **endpoint.sdk)
    assert not await AsyncTemplate.exists("no-such-alias", **endpoint.sdk)


async def test_building_a_template_is_refused_in_words(endpoint, local):
    """It must not look like a fault of the network."""
    template = AsyncTemplate().from_base_image().run_cmd("true")
    with pytest.raises((e2b.BuildException, e2b.SandboxException), match="not supported"):
        await AsyncTemplate.build(template, "mine", **endpoint.sdk)
