"""SyncFiles that are repeated, guarded, and followed by a reload."""

from __future__ import annotations

import secrets

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import failure, program
from tests.support.trees import File, digest, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/sync-{secrets.token_hex(4)}"


async def sync(box, root, tree, **fields):
    return await box.client.sync([header(box.sandbox_id, root, **fields), *parts(tree)])


def counts(receipt):
    return receipt.added, receipt.modified, receipt.deleted, receipt.unchanged


async def test_a_guarded_sync_refuses_a_tree_that_somebody_else_changed(box, root):
    """Two editors of one tree."""
    receipt = await sync(box, root, {"a": File(b"a")})
    await box.run("echo theirs > a", cwd=root)
    error = await failure(sync(box, root, {"a": File(b"b")}, if_root_digest=receipt.root_digest))
    content = await box.run("cat a", cwd=root)
    now = digest({"a": File(b"theirs\n")})
    done = await sync(box, root, {"a": File(b"b")}, if_root_digest=now)

    assert error.seen == ("ABORTED", "ROOT_DIGEST_MISMATCH")
    assert error.metadata["root_digest"] == now.hex()
    assert content.stdout == b"theirs\n"
    assert done.modified == 1


async def test_a_repeated_sync_id_gets_the_stored_receipt_and_changes_nothing(box, root):
    """A retry after a lost answer; the reload ran once."""
    tree = {"a": File(b"a")}
    fields = {
        "sync_id": f"rev-{secrets.token_hex(4)}",
        "reload": {"program": program("mktemp /tmp/reload.XXXXXX")},
    }
    first = await sync(box, root, tree, **fields)
    await box.run("echo changed > a", cwd=root)
    again = await sync(box, root, tree, **fields)
    ran = await box.run("cat a; ls /tmp/reload.* | wc -l; rm /tmp/reload.*", cwd=root)

    assert not first.reused
    assert again.reused
    assert again.root_digest == first.root_digest
    assert counts(again) == counts(first)
    assert again.reload == first.reload
    assert ran.text.split() == ["changed", "1"]


async def test_a_sync_id_with_other_content_is_refused(box, root):
    """Rather than a receipt of something else."""
    sync_id = f"rev-{secrets.token_hex(4)}"
    await sync(box, root, {"a": File(b"a")}, sync_id=sync_id)
    content = await failure(sync(box, root, {"a": File(b"b")}, sync_id=sync_id))
    other_root = await failure(sync(box, root + "-2", {"a": File(b"a")}, sync_id=sync_id))

    for error in (content, other_root):
        assert error.seen == ("ALREADY_EXISTS", "SYNC_ID_REUSED")
        assert error.metadata["sync_id"] == sync_id
    assert (await box.run("cat a", cwd=root)).stdout == b"a"


async def test_a_sync_id_with_another_reload_runs_no_second_one(box, root):
    """The stored receipt comes with the result of the first, or the call is refused."""
    sync_id, tree = f"rev-{secrets.token_hex(4)}", {"a": File(b"a")}
    await sync(box, root, tree, sync_id=sync_id)
    reload = {"program": program("touch /tmp/second-reload")}
    error = await failure(sync(box, root, tree, sync_id=sync_id, reload=reload))
    ran = await box.run("test -e /tmp/second-reload")

    assert error.seen == ("ALREADY_EXISTS", "SYNC_ID_REUSED")
    assert ran.outcome == ("EXIT", 1)


async def test_the_reload_action_runs_in_the_root(box, root):
    """Its folder is the root, or relative to it."""
    outputs = [
        (
            await sync(
                box,
                root,
                {"src/app.py": File(b"%d" % number)},
                reload={"program": program("pwd"), "cwd": cwd},
            )
        ).reload.output_tail
        for number, cwd in enumerate(["", "/usr", "."])
    ]

    assert outputs == [f"{it}\n".encode() for it in (root, "/usr", root)]


async def test_a_reloads_relative_folder_lies_in_the_root(box, root):
    """As the contract says."""
    receipt = await sync(
        box, root, {"src/app.py": File(b"1")}, reload={"program": program("pwd"), "cwd": "src"}
    )

    assert receipt.reload.output_tail == f"{root}/src\n".encode()


async def test_the_reload_action_runs_when_something_changed_and_only_then(box, root):
    """A failed reload is a result: the files are there."""
    tree = {"app.py": File(b"1")}
    reload = {"program": program("echo oops >&2; exit 3"), "exec_id": f"r{root[-4:]}"}
    receipt = await sync(box, root, tree, reload=reload)
    quiet = await sync(box, root, tree, reload=reload)
    result = receipt.reload

    assert (result.cause, result.fault, result.exit_code) == (pb.CAUSE_EXIT, pb.FAULT_USER, 3)
    assert result.exec_id == f"r{root[-4:]}"
    assert result.output_tail == b"oops\n"
    assert result.HasField("duration")
    assert not result.running
    assert not quiet.HasField("reload")


async def test_a_reload_that_hangs_is_ended_after_its_timeout(box, root):
    """Thirty seconds unless asked; here less."""
    reload = {"program": program("sleep 100"), "timeout": {"nanos": 300_000_000}}
    receipt = await sync(box, root, {"a": File(b"a")}, reload=reload)

    assert receipt.reload.cause == pb.CAUSE_TIMEOUT
    assert receipt.added == 1
