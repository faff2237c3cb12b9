"""Snapshots and forks, through the SDK and without it."""

from __future__ import annotations

import e2b
import pytest
from e2b import AsyncSandbox

from tests.integration.e2b_wire import connected
from tests.integration.life_calls import api, detail, refusal, sandbox_of


@pytest.fixture
async def client(backend):
    async with connected(backend) as client:
        yield client


async def test_a_snapshot_makes_new_sandboxes(backend, client):
    """Files are there, programs are not, and the origin goes on."""
    async with sandbox_of(backend, envs={"ORIGIN": "yes"}) as sandbox:
        await sandbox.commands.run("mkdir -p d && echo deep > d/f && ln -s f d/l && chmod 700 d/f")
        running = await sandbox.commands.run("sleep 300", background=True)
        snapshot = await sandbox.create_snapshot(name="Life-Test")
        await sandbox.files.write("d/f", "later")

        assert snapshot.snapshot_id == "local/life-test:default"
        assert [one.pid for one in await sandbox.commands.list()] == [running.pid]
        for template in (snapshot.snapshot_id, "life-test"):
            async with sandbox_of(backend, template=template) as made:
                result = await made.commands.run("cat d/l; stat -c %a d/f; echo $ORIGIN")
                assert result.stdout == "deep\n700\nyes\n"
                assert await made.commands.list() == []
                assert made.sandbox_id != sandbox.sandbox_id

        listed = await AsyncSandbox.list_snapshots(
            sandbox_id=sandbox.sandbox_id, **api(backend)
        ).next_items()
        assert [one.snapshot_id for one in listed] == [snapshot.snapshot_id]
        assert await AsyncSandbox.delete_snapshot(snapshot.snapshot_id, **api(backend)) is True
        assert await AsyncSandbox.delete_snapshot(snapshot.snapshot_id, **api(backend)) is False
        with pytest.raises(e2b.SandboxException, match="not found"):
            await AsyncSandbox.create(snapshot.snapshot_id, **backend.sdk)


@pytest.mark.parametrize("memory", [True, False])
async def test_a_paused_sandbox_can_be_copied_and_stays_paused(backend, client, memory):
    """Nobody must resume it for that."""
    async with sandbox_of(backend) as sandbox:
        await sandbox.files.write("/tmp/a", "kept")
        path = f"/sandboxes/{sandbox.sandbox_id}"
        await client.post(f"{path}/pause", json={"memory": memory})
        taken = await client.post(f"{path}/snapshots", json={})
        assert taken.status_code == 201, taken.text
        snapshot = taken.json()

        assert (await detail(client, sandbox.sandbox_id))["state"] == "paused"
        async with sandbox_of(backend, template=snapshot["snapshotID"]) as made:
            assert await made.files.read("/tmp/a") == "kept"
        await sandbox.connect(timeout=60)
        assert await sandbox.files.read("/tmp/a") == "kept"
        assert await AsyncSandbox.delete_snapshot(snapshot["snapshotID"], **api(backend))


async def test_snapshots_are_listed_by_page_and_name(backend, client):
    """`X-Next-Token` leads on."""
    async with sandbox_of(backend) as sandbox:
        made = [
            (await sandbox.create_snapshot(name=name)).snapshot_id
            for name in ("pages", "pages:v1", "pages:v2", "other")
        ]
        paginator = sandbox.list_snapshots(limit=3)
        seen = [[one.snapshot_id for one in await paginator.next_items()]]
        while paginator.has_next:
            seen.append([one.snapshot_id for one in await paginator.next_items()])
        named = await sandbox.list_snapshots(name="pages").next_items()

        assert seen == [made[:0:-1], made[:1]]
        assert {one.snapshot_id for one in named} == set(made[:3])
        assert (await refusal(await client.get("/snapshots?nextToken=x")))[0] == 400
        assert (await refusal(await client.get("/snapshots?limit=0")))[0] == 400
        wrong = await client.post(
            f"/sandboxes/{sandbox.sandbox_id}/snapshots", json={"name": "a b"}
        )
        assert (await refusal(wrong))[1] == "Invalid name: invalid template ID: a b"
        # All tags of a name go with it.
        assert (await client.delete("/templates/pages%3Av1")).status_code == 204
        assert await AsyncSandbox.delete_snapshot("other", **api(backend))
        assert await sandbox.list_snapshots().next_items() == []
        assert (await refusal(await client.delete("/templates/base")))[0] == 403


async def test_forks_start_with_the_same_files(backend, client):
    """Each with an id and a token of its own."""
    metadata = {"owner": "forks"}
    async with sandbox_of(backend, metadata=metadata) as sandbox:
        await sandbox.files.write("a", "kept")
        response = await client.post(
            f"/sandboxes/{sandbox.sandbox_id}/fork", json={"count": 3, "timeout": 60}
        )
        assert response.status_code == 201
        forks = [one["sandbox"] for one in response.json()]
        try:
            assert len({one["sandboxID"] for one in forks} | {sandbox.sandbox_id}) == 4
            assert len({one["envdAccessToken"] for one in forks}) == 3
            for one in forks:
                fork = await AsyncSandbox.connect(one["sandboxID"], **backend.sdk)
                await fork.files.write("a", (await fork.files.read("a")) + one["sandboxID"])
                assert (await fork.get_info()).metadata == metadata
            assert await sandbox.files.read("a") == "kept"
        finally:
            for one in forks:
                assert (await client.delete(f"/sandboxes/{one['sandboxID']}")).status_code == 204
        for count in (0, 101, "x"):
            wrong = await client.post(
                f"/sandboxes/{sandbox.sandbox_id}/fork", json={"count": count}
            )
            assert (await refusal(wrong))[0] == 400
