"""The sync client goes by what it remembers of a sandbox's folder, as long as that is true."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import pytest
from miosa.sandbox import v1 as pb

from sandbox_service.client.sync import FolderSync
from tests.support.folders import described, sandboxed

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Counted:
    """A stub that counts the plans that are asked for."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self.plans = 0

    def PlanSync(self, metadata: Sequence[tuple[str, str]]) -> Any:  # noqa: N802
        self.plans += 1
        return self._stub.PlanSync(metadata=metadata)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stub, name)


@pytest.fixture
def root():
    return f"/tmp/memory-{secrets.token_hex(4)}"


@pytest.fixture
def stub(box):
    return Counted(box.client.stub)


@pytest.fixture
def syncing(box, stub):
    return FolderSync(stub, box.client.metadata, cached=False)


@pytest.fixture
def folder(tmp_path):
    for name in ("app.py", "lib.py", "old.py"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture(params=[pb.SYNC_VERIFY_INDEX, pb.SYNC_VERIFY_FULL], ids=["index", "full"])
def header(box, root, request):
    return pb.SyncFilesHeader(
        sandbox_id=box.sandbox_id, root=root, mode=pb.SYNC_MODE_MIRROR, verify=request.param
    )


def edit(folder):
    (folder / "app.py").write_text("edited")
    (folder / "new").mkdir()
    (folder / "new/it.py").write_text("new")
    (folder / "old.py").unlink()


async def test_who_synced_before_need_not_ask(box, root, folder, header, stub, syncing):
    await syncing.sync(folder, header)
    edit(folder)
    asked = stub.plans
    synced = await syncing.sync(folder, header)

    assert stub.plans == asked
    assert await sandboxed(box, root) == described(folder)
    assert (synced.receipt.added, synced.receipt.modified, synced.receipt.deleted) == (2, 1, 1)
    assert (synced.rounds, synced.identical, synced.plan.summary.root) == (1, True, root)


@pytest.mark.parametrize(
    "meanwhile",
    [
        "echo x >lib.py",
        "chmod 700 lib.py",
        "echo x >extra",
        "mkdir new; mkfifo new/it.py",
        "rm *",
    ],
)
async def test_what_changed_in_the_sandbox_is_seen(
    box, root, folder, header, stub, syncing, meanwhile
):
    await syncing.sync(folder, header)
    edit(folder)
    await box.run(meanwhile, cwd=root)
    synced = await syncing.sync(folder, header)

    assert await sandboxed(box, root) == described(folder)
    assert synced.identical is True
    assert synced.rounds == 2


async def test_a_pipe_that_no_digest_tells_of_is_deleted(box, root, folder, header, syncing):
    await syncing.sync(folder, header)
    edit(folder)
    await box.run("mkfifo pipe", cwd=root)
    synced = await syncing.sync(folder, header)

    assert await sandboxed(box, root) == described(folder)
    assert synced.receipt.others == 0
    assert synced.rounds == 2


async def test_a_pipe_that_is_in_the_way_is_replaced(box, root, folder, header, syncing):
    await syncing.sync(folder, header)
    edit(folder)
    await box.run("mkfifo new", cwd=root)
    synced = await syncing.sync(folder, header)

    assert await sandboxed(box, root) == described(folder)
    assert synced.identical is True


async def test_a_patch_leaves_a_pipe_and_says_that_it_cannot_compare(
    box, root, folder, header, syncing
):
    header.mode = pb.SYNC_MODE_PATCH
    await syncing.sync(folder, header)
    (folder / "app.py").write_text("edited")
    await box.run("mkfifo pipe", cwd=root)
    synced = await syncing.sync(folder, header)

    found = await box.run("ls", cwd=root)
    assert found.text.split() == ["app.py", "lib.py", "old.py", "pipe"]
    assert synced.receipt.others == 1
    assert synced.identical is None
