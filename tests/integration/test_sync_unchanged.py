"""SyncFiles with files that are named as unchanged: nothing is sent of them, all is verified."""

from __future__ import annotations

import hashlib
import secrets

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import failure
from tests.support.trees import File, data, digest, file_header, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP = {"app.py": File(b"app", 0o644), "bin/run": File(b"run", 0o755), "old": File(b"old", 0o644)}
MIRROR = {"mode": pb.SYNC_MODE_MIRROR}


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/unchanged-{secrets.token_hex(4)}"


def named(path: str, file: File, **fields: object) -> pb.SyncFilesRequest:
    return file_header(path, file.content, **{"mode": file.mode, **fields}, unchanged=True)


async def synced(box, root, messages, **fields):
    return await box.client.sync([header(box.sandbox_id, root, **fields), *messages])


async def test_a_mirror_keeps_what_is_named_as_unchanged(box, root):
    """This is how a tree of which little changed is synced."""
    await synced(box, root, parts(APP))
    new = File(b"new", 0o644)
    receipt = await synced(
        box,
        root,
        [
            named("bin/run", APP["bin/run"]),
            file_header("app.py", new.content, mode=0o644),
            data(new.content),
        ],
        **MIRROR,
    )

    assert receipt.root_digest == digest({"app.py": new, "bin/run": APP["bin/run"]})
    assert (receipt.added, receipt.modified, receipt.deleted, receipt.unchanged) == (0, 1, 1, 1)
    assert (receipt.received_bytes, receipt.written_bytes) == (3, 3)


async def test_an_unset_mode_is_any(box, root):
    """Only the content is verified then."""
    await synced(box, root, parts(APP))
    receipt = await synced(
        box, root, [named(path, it, mode=None) for path, it in APP.items()], **MIRROR
    )

    assert receipt.root_digest == digest(APP)
    assert receipt.unchanged == 3


@pytest.mark.parametrize(
    ("path", "file", "fields"),
    [
        ("app.py", File(b"APP", 0o644), {}),
        ("app.py", File(b"APP", 0o644), {"mode": None}),
        ("app.py", File(b"app", 0o600), {}),
        ("gone", File(b"app", 0o644), {}),
        ("bin", File(b"app", 0o644), {}),
        ("app.py/x", File(b"app", 0o644), {}),
    ],
    ids=["content", "content-any-mode", "mode", "missing", "folder", "below-a-file"],
)
async def test_what_is_not_as_it_was_named_is_refused(box, root, path, file, fields):
    """Somebody changed it since the plan; nothing is changed on its account."""
    await synced(box, root, parts(APP))
    messages = [*parts({"z": File(b"z")}), named(path, file, **fields)]
    for how in ({}, MIRROR):
        error = await failure(synced(box, root, messages, **how))
        assert error.seen == ("FAILED_PRECONDITION", "CONTENT_MISSING")
        assert error.metadata["path"] == path
    after = await synced(box, root, [])

    assert after.root_digest == digest(APP)


async def test_an_edit_that_keeps_size_and_time_is_no_file_unchanged(box, root):
    """What it is verified by is not what a program can set back."""
    await synced(box, root, parts(APP))
    await box.run("touch -r old /tmp/ref; printf OLD > old; touch -r /tmp/ref old", cwd=root)
    error = await failure(synced(box, root, [named("old", APP["old"])]))

    assert error.seen == ("FAILED_PRECONDITION", "CONTENT_MISSING")


async def test_a_root_that_is_not_there_has_nothing_unchanged(box, root):
    """And is not made."""
    error = await failure(synced(box, root, [named("a", File(b"a", 0o644))]))
    ran = await box.run(["ls", "-d", root])

    assert error.seen == ("FAILED_PRECONDITION", "CONTENT_MISSING")
    assert ran.exited.exit_code != 0


async def test_a_retry_that_names_as_unchanged_what_was_sent_asks_for_the_same(box, root):
    """Who plans anew after a lost answer finds that the sandbox has everything."""
    fields = {**MIRROR, "sync_id": f"rev-{secrets.token_hex(4)}"}
    first = await synced(box, root, parts(APP), **fields)
    again = await synced(box, root, [named(path, it) for path, it in APP.items()], **fields)
    error = await failure(synced(box, root, [named("old", APP["old"])], **fields))

    assert again.reused
    assert again.root_digest == first.root_digest
    assert error.seen == ("ALREADY_EXISTS", "SYNC_ID_REUSED")


async def test_an_unchanged_file_needs_its_hash(box, root):
    """There is nothing else to verify it by."""
    file = named("old", APP["old"], sha256=hashlib.sha256(b"old").digest()[:31])
    error = await failure(synced(box, root, [file]))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_REQUEST")
