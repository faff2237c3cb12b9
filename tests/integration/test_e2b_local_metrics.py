"""What sandboxes use and do, told by the unmodified SDK and over the wire."""

from __future__ import annotations

import datetime

import e2b
import pytest
from e2b import AsyncSandbox, Sandbox
from e2b.api.client.api.sandboxes import (
    get_sandboxes_metrics,
    get_sandboxes_sandbox_id_logs,
    get_v_2_sandboxes_sandbox_id_logs,
)
from e2b.api.client.models import LogLevel, LogsDirection
from e2b.api.client_sync import get_api_client
from e2b.connection_config import ConnectionConfig

from tests.integration.e2b_wire import connected, new_box, until

SECOND = datetime.timedelta(seconds=1)


@pytest.fixture
async def sandbox(backend):
    sandbox = await AsyncSandbox.create("base", timeout=120, **backend.sdk)
    yield sandbox
    await sandbox.kill()


@pytest.fixture(scope="module")
def api(backend):
    """The SDK's own generated client, for calls that its classes do not make."""
    return get_api_client(ConnectionConfig(**backend.sdk))


def now():
    return datetime.datetime.now(datetime.UTC)


async def test_a_sandbox_is_measured_before_anybody_asks(backend):
    """This listing shows what there is; it measures nothing itself."""
    async with connected(backend) as client:
        boxes = [await new_box(client), await new_box(client)]
        ids = [box.id for box in boxes]

        async def measured():
            params = {"sandbox_ids": ",".join([*ids, "unknown"])}
            response = await client.get("/sandboxes/metrics", params=params)
            assert response.status_code == 200
            return set(response.json()["sandboxes"]) == set(ids)

        await until(measured)
        for box in boxes:
            await client.delete(f"/sandboxes/{box.id}")


async def test_the_sdk_asks_for_a_range_of_time(backend, sandbox):
    """Now, the past before the sandbox, and a range that is none."""
    began = now() - 2 * SECOND
    newest = (await sandbox.get_metrics(start=began, end=now()))[-1]

    assert abs((newest.timestamp - now()).total_seconds()) < 60
    assert newest.mem_used > 0
    assert newest.mem_total > 0
    assert newest.disk_total > 0
    assert await sandbox.get_metrics(start=began - 9 * SECOND, end=began - 8 * SECOND) == []
    with pytest.raises(e2b.SandboxException, match="Invalid time range"):
        await sandbox.get_metrics(start=now(), end=began)
    with pytest.raises(e2b.SandboxNotFoundException):
        await AsyncSandbox.get_metrics("iunknown", **backend.sdk)


def test_the_synchronous_sdk_asks_too(backend):
    """Same wire, other client."""
    began = now() - SECOND
    with Sandbox.create("base", timeout=60, **backend.sdk) as sandbox:
        assert sandbox.get_metrics(start=began)[-1].mem_used > 0
        assert sandbox.get_metrics(start=began - 9 * SECOND, end=began - 8 * SECOND) == []


async def test_a_busy_sandbox_shows_a_share_of_all_its_cpus(sandbox):
    """100 is all there is, however many programs want it."""
    for _ in range(2):
        await sandbox.commands.run("while :; do :; done", background=True, timeout=0)

    async def busy():
        newest = (await sandbox.get_metrics())[-1]
        assert 0 <= newest.cpu_used_pct <= 100
        return newest.cpu_used_pct > 5

    await until(busy)


async def test_envd_counts_the_same_share(backend):
    """Its own metrics are of all CPUs too."""
    loops = "while :; do :; done & while :; do :; done"
    async with connected(backend) as client:
        box = await new_box(client)
        async with box.start(loops) as events:
            await anext(events)

            async def busy():
                shown = (await client.get("/metrics", headers=box.headers())).json()
                assert 0 <= shown["cpu_used_pct"] <= 100
                return shown["cpu_used_pct"] > 5

            await until(busy)
        await client.delete(f"/sandboxes/{box.id}")


async def test_a_list_of_metrics_comes_through_the_generated_client(sandbox, api):
    """Its schema is the one that is kept to."""
    await sandbox.get_metrics()
    listed = get_sandboxes_metrics.sync(client=api, sandbox_ids=[sandbox.sandbox_id])

    assert listed.sandboxes[sandbox.sandbox_id]["memUsed"] > 0


async def test_the_log_tells_of_a_sandbox_and_its_programs(backend, sandbox, api):
    """From its creation to its end, and for a while after that."""
    await sandbox.commands.run("echo $SECRET", envs={"SECRET": "not-for-logs"})
    with pytest.raises(e2b.CommandExitException):
        await sandbox.commands.run("exit 3")
    await sandbox.set_timeout(90)
    await sandbox.kill()

    logs = get_sandboxes_sandbox_id_logs.sync(sandbox.sandbox_id, client=api)
    told = [entry.message for entry in logs.log_entries]
    started = "Program {} started: /bin/bash -l -c"
    pids = [
        entry.fields["pid"] for entry in logs.log_entries if entry.message.startswith("Program")
    ]
    assert told[0] == "Sandbox created"
    assert told[1] == f"{started.format(pids[0])} 'echo $SECRET'"
    assert told[2] == f"Program {pids[0]} ended: exit status 0"
    assert told[3] == f"{started.format(pids[2])} 'exit 3'"
    assert told[4] == f"Program {pids[2]} ended: exit status 3"
    assert told[-2] == "Lifetime changed"
    assert logs.log_entries[-2].fields["seconds_left"] == "90"
    assert told[-1] == "Sandbox ended: it was killed"
    assert "not-for-logs" not in str(logs.to_dict())
    assert [line.timestamp for line in logs.logs] == [entry.timestamp for entry in logs.log_entries]
    missing = get_sandboxes_sandbox_id_logs.sync_detailed("iunknown", client=api)
    assert missing.status_code == 404


async def test_logs_are_read_backwards_page_by_page(sandbox, api):
    """As a dashboard does, from the newest on."""
    for _ in range(2):
        await sandbox.commands.run("true")
    with pytest.raises(e2b.CommandExitException):
        await sandbox.commands.run("false")

    def page(**wanted):
        return get_v_2_sandboxes_sandbox_id_logs.sync(sandbox.sandbox_id, client=api, **wanted).logs

    forward = page()
    backward, more = [], page(direction=LogsDirection.BACKWARD, limit=2)
    while more:
        backward += more
        cursor = round(more[-1].timestamp.timestamp() * 1000)
        more = page(direction=LogsDirection.BACKWARD, limit=2, cursor=cursor)

    assert backward == forward[::-1]
    assert {entry.level for entry in page(level=LogLevel.WARN)} == {LogLevel.WARN}
    assert [entry.message for entry in page(search="created")] == ["Sandbox created"]


async def test_a_paused_sandbox_keeps_its_history_and_its_log(backend, sandbox, api):
    """Nothing is measured while it stands still, and nothing of it is forgotten."""
    before = await sandbox.get_metrics()
    await sandbox.pause()
    paused = await AsyncSandbox.get_metrics(sandbox.sandbox_id, **backend.sdk)
    logs = get_v_2_sandboxes_sandbox_id_logs.sync(sandbox.sandbox_id, client=api).logs

    assert paused[-1].timestamp - before[-1].timestamp < 60 * SECOND
    assert len(paused) >= len(before)
    assert logs[-1].message == "Sandbox paused"
    await AsyncSandbox.connect(sandbox.sandbox_id, **backend.sdk)
    logs = get_v_2_sandboxes_sandbox_id_logs.sync(sandbox.sandbox_id, client=api).logs
    assert "Sandbox resumed" in [entry.message for entry in logs]
