"""What the sync client leaves out, keeps and refuses, and who changes what meanwhile."""

from __future__ import annotations

import asyncio
import os
import secrets

import grpc
import pytest
from miosa.sandbox import v1 as pb

from sandbox_service.client import sync, upload
from sandbox_service.client.errors import SyncError
from sandbox_service.client.sync import FolderSync
from tests.support.folders import described, sandboxed

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/rules-{secrets.token_hex(4)}"


@pytest.fixture
def folder(tmp_path):
    """A small project."""
    for name, content in {"app.py": "1", "src/lib.py": "2", "keep.log": "3"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.fixture
def mirror(box, root):
    return pb.SyncFilesHeader(sandbox_id=box.sandbox_id, root=root, mode=pb.SYNC_MODE_MIRROR)


@pytest.fixture
def patch(box, root):
    return pb.SyncFilesHeader(sandbox_id=box.sandbox_id, root=root)


@pytest.fixture
def syncing(box):
    return FolderSync(box.client.stub, box.client.metadata, cached=False)


@pytest.mark.parametrize(
    "rules",
    [
        # The service can be told all of it, none of it, and some of it.
        "node_modules/\n*.log\n__pycache__/\n",
        "*\n!*/\n!*.py\n!.gitignore\n!/keep.log\nnode_modules/\n",
        "node_modules/\n__pycache__/\n*.log\n!keep.log\n",
    ],
)
async def test_what_is_ignored_is_neither_sent_nor_deleted(
    box, root, folder, mirror, syncing, rules
):
    """What was installed or written in the sandbox stays there, whatever the rules look like."""
    (folder / ".gitignore").write_text(rules)
    (folder / "here.log").touch()
    await syncing.sync(folder, mirror)
    await box.run(
        "mkdir -p node_modules/m src/__pycache__ gone && echo m >node_modules/m/i.js && "
        "echo l >there.log && echo c >src/__pycache__/lib.log && "
        "echo x >extra.py && echo x >gone/x.py",
        cwd=root,
    )
    synced = await syncing.sync(folder, mirror)
    found = await sandboxed(box, root)
    again = await syncing.sync(folder, mirror)

    ours = described(folder)
    del ours["here.log"]
    if "!" not in rules:
        del ours["keep.log"]
    assert {path: found[path] for path in ours if path in found} == ours
    assert set(found) - set(ours) == {
        "node_modules", "node_modules/m", "node_modules/m/i.js", "src/__pycache__",
        "src/__pycache__/lib.log", "there.log",
    }  # fmt: skip
    assert synced.receipt.deleted == 3
    assert synced.identical is not False
    assert again.receipt is None


async def test_a_folder_of_ignored_files_stays_and_is_told(box, root, folder, mirror, syncing):
    """It is gone here; what is in it there is none of the sync's business."""
    (folder / ".gitignore").write_text("__pycache__/\n")
    await syncing.sync(folder, mirror)
    await box.run("mkdir src/__pycache__ && echo c >src/__pycache__/lib.pyc", cwd=root)
    (folder / "src/lib.py").unlink()
    (folder / "src").rmdir()
    synced = await syncing.sync(folder, mirror)

    found = await sandboxed(box, root)
    assert set(found) - set(described(folder)) == {
        "src", "src/__pycache__", "src/__pycache__/lib.pyc",
    }  # fmt: skip
    assert synced.stuck == ["src"]
    assert synced.rounds == 2
    assert synced.receipt.deleted == 1


async def test_what_is_left_out_here_is_not_deleted_there(box, root, folder, mirror, syncing):
    """It may be a socket in both, and two links that each lead out."""
    (folder / "current").symlink_to("/etc/hostname")
    await syncing.sync(folder, mirror)
    await box.run("ln -s /srv/app current", cwd=root)
    synced = await syncing.sync(folder, mirror)

    assert (await sandboxed(box, root))["current"] == ("l", "/srv/app")
    assert set(synced.tree.left_out) == {"current"}


async def test_a_patch_deletes_nothing_and_says_that_it_cannot_compare(
    box, root, folder, patch, syncing
):
    """Without being asked nobody's files go."""
    first = await syncing.sync(folder, patch)
    await box.run("echo x >theirs", cwd=root)
    (folder / "app.py").write_text("changed")
    (folder / "keep.log").unlink()
    second = await syncing.sync(folder, patch)

    found = await sandboxed(box, root)
    assert set(found) == {"app.py", "src", "src/lib.py", "keep.log", "theirs"}
    assert found["app.py"] == described(folder)["app.py"]
    assert (first.identical, second.identical) == (True, None)
    assert second.receipt.received_bytes == len("changed")


async def test_a_patch_does_not_replace_a_folder(box, root, folder, patch, mirror, syncing):
    """What is in it would go; a mirror may."""
    await syncing.sync(folder, patch)
    await box.run("rm app.py && mkdir app.py && echo x >app.py/x", cwd=root)
    with pytest.raises(SyncError, match=r"app\.py is a folder in the sandbox, and a file here"):
        await syncing.sync(folder, patch)
    await syncing.sync(folder, mirror)

    assert await sandboxed(box, root) == described(folder)


async def test_an_empty_folder_makes_an_empty_root(box, root, tmp_path, mirror, syncing):
    """A program may want to write there."""
    synced = await syncing.sync(tmp_path, mirror)

    assert await sandboxed(box, root) == {}
    assert synced.identical is True


async def test_a_dry_run_changes_nothing(box, root, folder, mirror, syncing):
    """And knows what would change."""
    await syncing.sync(folder, mirror)
    await box.run("echo x >theirs", cwd=root)
    before = await sandboxed(box, root)
    (folder / "app.py").write_text("changed")
    planned = await syncing.sync(folder, mirror, dry_run=True)

    assert await sandboxed(box, root) == before
    assert set(planned.work.files) == {"app.py"}
    assert planned.work.deletes == ["theirs"]
    assert planned.receipt is None


async def test_a_change_in_the_sandbox_between_plan_and_sync_is_planned_anew(
    box, root, folder, mirror, syncing, monkeypatch
):
    """Nothing is written over what nobody has looked at."""
    await syncing.sync(folder, mirror)
    (folder / "app.py").write_text("changed")
    real = sync.upload
    times = []

    async def slow(*arguments):
        if not times:
            await box.run("echo theirs >src/lib.py; echo new >new.py", cwd=root)
        times.append(1)
        return await real(*arguments)

    monkeypatch.setattr(sync, "upload", slow)
    synced = await syncing.sync(folder, mirror)

    assert await sandboxed(box, root) == described(folder)
    assert (synced.rounds, len(times)) == (2, 2)


async def test_a_file_that_changes_while_it_is_sent_is_looked_at_again(
    box, root, folder, mirror, syncing, monkeypatch
):
    """Neither the old nor a mixture of both arrives."""
    real = upload._check
    times = []

    def check(handle, file):
        if file.path == "app.py" and len(times) < 2:
            times.append(1)
            (folder / "app.py").write_text("edited in between" * len(times))
        real(handle, file)

    monkeypatch.setattr(upload, "_check", check)
    synced = await syncing.sync(folder, mirror)

    assert await sandboxed(box, root) == described(folder)
    assert synced.rounds == 3


async def test_a_file_that_changes_all_the_time_is_refused(
    box, root, folder, mirror, syncing, monkeypatch
):
    """And nothing was changed in the sandbox."""
    real = upload._check

    def check(handle, file):
        (folder / "app.py").write_text(secrets.token_hex(8))
        real(handle, file)

    await syncing.sync(folder, mirror)
    before = await sandboxed(box, root)
    monkeypatch.setattr(upload, "_check", check)
    (folder / "app.py").write_text("first")
    with pytest.raises(SyncError, match=r"app\.py changed while it was sent"):
        await syncing.sync(folder, mirror)

    assert await sandboxed(box, root) == before


async def test_an_answer_that_is_lost_is_asked_for_again(
    box, root, folder, mirror, syncing, monkeypatch
):
    """By the same id: the files are not written twice, and the reload runs once."""
    real = sync.upload
    ids = []

    async def lossy(stub, metadata, header, *rest):
        receipt = await real(stub, metadata, header, *rest)
        ids.append(header.sync_id)
        if len(ids) == 1:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone"
            )
        return receipt

    monkeypatch.setattr(sync, "upload", lossy)
    mirror.reload.program.shell_command = f"echo ran >>{root}.reloads"
    synced = await syncing.sync(folder, mirror)

    assert await sandboxed(box, root) == described(folder)
    assert synced.receipt.reused
    assert synced.receipt.added == 4
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert (await box.run(f"cat {root}.reloads; rm {root}.reloads")).text == "ran\n"


async def test_a_file_keeps_the_time_at_which_it_was_written(box, root, folder, mirror, syncing):
    """Build tools go by it."""
    os.utime(folder / "app.py", ns=(0, 1_234_567_890_123_456_000))
    os.utime(folder / "keep.log", ns=(0, -1))
    await syncing.sync(folder, mirror)
    ran = await box.run("stat -c %.6Y app.py", cwd=root)

    assert ran.text.strip() == "1234567890.123456"


async def test_who_asks_is_told_how_far_it_is(folder, mirror, syncing):
    """Each phase, up to all files and bytes."""
    (folder / "large").write_bytes(bytes(2_000_000))
    told = []
    syncing.on_progress = told.append
    await syncing.sync(folder, mirror)
    last = {it.phase: it for it in told}

    assert list(dict.fromkeys(it.phase for it in told)) == ["hashing", "comparing", "sending"]
    for phase in ("hashing", "sending"):
        assert (last[phase].files, last[phase].size) == (4, 2_000_003)
        assert (last[phase].files_total, last[phase].size_total) == (4, 2_000_003)


async def test_a_large_file_arrives_in_pieces(box, root, folder, mirror, syncing):
    """More than one message takes."""
    (folder / "large").write_bytes(secrets.token_bytes(5_000_001))
    synced = await syncing.sync(folder, mirror)

    assert synced.identical is True
    assert await sandboxed(box, root) == described(folder)


async def test_two_clients_at_once_leave_a_tree_of_one_of_them(
    box, root, tmp_path, mirror, syncing
):
    """Each goes on until the sandbox has its own, so who is last wins."""
    folders = [tmp_path / name for name in "ab"]
    for one in folders:
        (one / "d").mkdir(parents=True)
        for number in range(20):
            (one / "d" / f"{one.name}{number}").write_text(one.name)
    done = await asyncio.gather(
        *(syncing.sync(one, mirror) for one in folders), return_exceptions=True
    )

    assert await sandboxed(box, root) in [described(one) for one in folders]
    assert any(not isinstance(it, Exception) for it in done)


async def test_who_syncs_into_no_sandbox_is_told_what_to_do(folder, mirror, syncing):
    """In words, not in codes."""
    mirror.sandbox_id = "missing"
    with pytest.raises(SyncError, match="Check the sandbox's id and the tenant") as caught:
        await syncing.sync(folder, mirror)

    assert caught.value.reason == "SANDBOX_NOT_FOUND"
