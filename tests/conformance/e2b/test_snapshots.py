"""Snapshots: a sandbox's disk under a name, from which others are made."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import e2b
import pytest

from tests.conformance.e2b.sdk import pages


@asynccontextmanager
async def snapshot_of(sdk, sandbox, **options):
    """Take a snapshot, which is deleted in the end."""
    taken = await sandbox.create_snapshot(**options)
    try:
        yield taken
    finally:
        await sdk.cls.delete_snapshot(taken.snapshot_id, **sdk.options)


async def test_sandboxes_are_made_from_a_snapshot(sdk):
    """Each has the files, and none sees what the others do."""
    sandbox = await sdk.create()
    await sandbox.files.write("deep/er/file", "then")
    await sandbox.commands.run("chmod 750 deep/er; ln -s file deep/er/link; touch /tmp/also")
    async with snapshot_of(sdk, sandbox) as taken:
        await sandbox.files.write("deep/er/file", "later")
        one, other = await asyncio.gather(
            sdk.create(taken.snapshot_id), sdk.create(taken.snapshot_id)
        )
        await one.files.write("deep/er/file", "mine")
        look = "stat -c '%a %U' deep/er; readlink deep/er/link"

        assert await one.files.read("deep/er/file") == "mine"
        assert await other.files.read("deep/er/file") == "then"
        assert await sandbox.files.read("deep/er/file") == "later"
        assert (await other.commands.run(look)).stdout == "750 user\nfile\n"
        assert other.sandbox_id not in {one.sandbox_id, sandbox.sandbox_id}


async def test_what_is_snapshotted_runs_on(sdk):
    """A copy disturbs nobody, and its stream is not cut."""
    sandbox = await sdk.create()
    handle = await sandbox.commands.run("read line; echo $line", background=True, stdin=True)
    async with snapshot_of(sdk, sandbox):
        await sandbox.commands.send_stdin(handle.pid, "on\n")

        assert (await handle.wait()).stdout == "on\n"
        assert (await sandbox.get_info()).state == e2b.SandboxState.RUNNING


async def test_a_snapshot_may_leave_memory_out(sdk):
    """`mode="filesystem"`: smaller, started anew."""
    sandbox = await sdk.create()
    await sandbox.files.write("kept", "yes")
    await sandbox.commands.run("sleep 600", background=True)
    async with snapshot_of(sdk, sandbox, mode="filesystem") as taken:
        copy = await sdk.create(taken.snapshot_id)

        assert await copy.files.read("kept") == "yes"
        assert await copy.commands.list() == []


async def test_metadata_of_files_is_copied(sdk):
    """An attribute belongs to the file."""
    sandbox = await sdk.create()
    await sandbox.files.write("with", "x", metadata={"owner": "me"})
    async with snapshot_of(sdk, sandbox) as taken:
        copy = await sdk.create(taken.snapshot_id)

        assert (await copy.files.get_info("with")).metadata == {"owner": "me"}


async def test_a_name_finds_the_newest_of_its_snapshots(sdk, name):
    """A second snapshot of a name takes its place."""
    short = f"snap-{name[-8:]}"
    sandbox = await sdk.create()
    await sandbox.files.write("n", "1")
    async with snapshot_of(sdk, sandbox, name=short) as first:
        await sandbox.files.write("n", "2")
        second = await sandbox.create_snapshot(name=short)
        copy = await sdk.create(second.names[0])

        assert any(short in full for full in first.names)
        assert second.snapshot_id == first.snapshot_id
        assert second.names == first.names
        assert await copy.files.read("n") == "2"


async def test_tags_of_a_name_are_kept_apart(sdk, name):
    """As versions of one thing."""
    short = f"tagged-{name[-8:]}"
    sandbox = await sdk.create()
    await sandbox.files.write("n", "1")
    async with snapshot_of(sdk, sandbox, name=f"{short}:v1") as first:
        await sandbox.files.write("n", "2")
        second = await sandbox.create_snapshot(name=f"{short}:v2")
        copies = await asyncio.gather(sdk.create(first.names[0]), sdk.create(second.names[0]))

        assert first.names[0].endswith(f"{short}:v1")
        assert second.names[0].endswith(f"{short}:v2")
        assert [await copy.files.read("n") for copy in copies] == ["1", "2"]
        await sdk.cls.delete_snapshot(second.snapshot_id, **sdk.options)


async def test_snapshots_are_listed_by_sandbox_and_by_name(sdk, name):
    """Page by page."""
    short = f"listed-{name[-8:]}"
    sandbox = await sdk.create()
    async with snapshot_of(sdk, sandbox) as plain, snapshot_of(sdk, sandbox, name=short) as named:
        of_sandbox = await pages(sdk.list_snapshots(sandbox_id=sandbox.sandbox_id, limit=1))
        of_name = await pages(sdk.list_snapshots(name=short))
        of_nothing = await pages(sdk.list_snapshots(name=f"{short}-not"))
        everything = await pages(sdk.list_snapshots())
        own = await pages(sandbox.list_snapshots())

    both = {plain.snapshot_id, named.snapshot_id}
    assert {it.snapshot_id for it in of_sandbox} == {it.snapshot_id for it in own} == both
    assert len(of_sandbox) == 2
    assert [it.snapshot_id for it in of_name] == [named.snapshot_id]
    assert of_nothing == []
    assert {it.snapshot_id for it in everything} >= both


async def test_a_deleted_snapshot_is_gone(sdk):
    """Twice is no error, and nothing is made from it any more."""
    sandbox = await sdk.create()
    taken = await sandbox.create_snapshot()
    made = await sdk.create(taken.snapshot_id)

    assert await sdk.cls.delete_snapshot(taken.snapshot_id, **sdk.options) is True
    assert await sdk.cls.delete_snapshot(taken.snapshot_id, **sdk.options) is False
    assert (await made.commands.run("echo lives")).stdout == "lives\n"
    with pytest.raises(e2b.SandboxException) as caught:
        await sdk.create(taken.snapshot_id)
    assert caught.value.status_code in {403, 404}


async def test_a_snapshot_outlives_its_sandbox(sdk):
    """It is a copy, not a view."""
    sandbox = await sdk.create()
    await sandbox.files.write("kept", "yes")
    async with snapshot_of(sdk, sandbox) as taken:
        await sandbox.kill()
        copy = await sdk.create(taken.snapshot_id)

        assert await copy.files.read("kept") == "yes"


async def test_the_answer_has_an_id_and_names(wire, own_box):
    """No name asked, none given; a template's delete removes it."""
    made = await wire.api("POST", f"/sandboxes/{own_box.id}/snapshots", json={})
    document = made.json()
    copy = await wire.api("POST", "/sandboxes", json={"templateID": document["snapshotID"]})
    quoted = document["snapshotID"].replace("/", "%2F").replace(":", "%3A")
    await wire.api("DELETE", f"/sandboxes/{copy.json()['sandboxID']}")
    deleted = await wire.api("DELETE", f"/templates/{quoted}")
    again = await wire.api("DELETE", f"/templates/{quoted}")

    assert made.status_code == copy.status_code == 201
    assert document["names"] == []
    assert copy.json()["templateID"] == document["snapshotID"].partition(":")[0]
    assert (deleted.status_code, again.status_code) == (204, 404)
