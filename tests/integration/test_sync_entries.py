"""SyncFiles with many entries in one message: the same as one by one, and as strict."""

from __future__ import annotations

import hashlib
import secrets

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import failure
from tests.support.trees import File, Folder, Link, data, digest, file_header, header

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP = {
    "app.py": File(b"app", 0o644),
    "empty": File(b"", 0o600),
    "bin/run": File(b"r" * 100_000, 0o755),
    "latest": Link("bin/run"),
    "folder": Folder(0o700),
}


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/entries-{secrets.token_hex(4)}"


def file(path: str, content: bytes, *, sent: bytes | None = None, **fields) -> pb.SyncEntry:
    values = {"size": len(content), "sha256": hashlib.sha256(content).digest(), "mode": 0o644}
    return pb.SyncEntry(
        file=pb.SyncFileHeader(path=path, **{**values, **fields}),
        data=content if sent is None else sent,
    )


def entry(path: str, it: File | Link | Folder) -> pb.SyncEntry:
    match it:
        case File(content, mode):
            return file(path, content, mode=mode)
        case Link(target):
            return pb.SyncEntry(link=pb.SyncLink(path=path, target=target))
        case Folder(mode):
            return pb.SyncEntry(directory=pb.SyncDirectory(path=path, mode=mode))


DELETE = pb.SyncEntry(delete=pb.SyncDelete(path="app.py"))


def together(*entries: pb.SyncEntry) -> pb.SyncFilesRequest:
    return pb.SyncFilesRequest(entries=pb.SyncEntries(entries=entries))


async def sync(box, root, *messages, **fields):
    return await box.client.sync([header(box.sandbox_id, root, **fields), *messages])


async def test_entries_that_travel_together_are_those_that_travel_alone(box, root):
    """Between them may come others, one by one."""
    large = secrets.token_bytes(2 << 20)
    receipt = await sync(
        box,
        root,
        together(*(entry(path, it) for path, it in APP.items())),
        file_header("large", large),
        data(large[: 1 << 20]),
        data(large[1 << 20 :]),
        together(file("last", b"last")),
    )
    whole = {**APP, "large": File(large), "last": File(b"last")}

    assert receipt.root_digest == digest(whole)
    assert receipt.added == len(whole)
    assert receipt.received_bytes == 100_000 + 3 + 4 + (2 << 20)


async def test_deletes_and_what_is_unchanged_travel_together_too(box, root):
    """A mirror of a large tree names most of it without its content."""
    await sync(box, root, together(*(entry(path, it) for path, it in APP.items())))
    unchanged = file("bin/run", APP["bin/run"].content, mode=0o755, unchanged=True, sent=b"")
    receipt = await sync(
        box, root, together(unchanged, file("new", b"new"), DELETE), mode=pb.SYNC_MODE_PATCH
    )

    assert (receipt.added, receipt.deleted, receipt.unchanged) == (1, 1, 1)


@pytest.mark.parametrize(
    "messages",
    [
        [together(DELETE, file("a", b"a"))],
        [together(DELETE), together(file("a", b"a"))],
        [together(file("a", b"a")), data(b"more")],
        [together(file("a", b"a", unchanged=True))],
        [together(pb.SyncEntry(link=pb.SyncLink(path="a", target="b"), data=b"a"))],
    ],
    ids=["file-after-delete", "message-after-delete", "data-after", "data-of-unchanged", "of-link"],
)
async def test_the_order_holds_inside_too(box, root, messages):
    """Nothing is guessed."""
    error = await failure(sync(box, root, *messages))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_STREAM")


@pytest.mark.parametrize("sent", [b"", b"ap", b"apps", b"APP"])
async def test_content_that_is_not_what_was_announced_is_refused(box, root, sent):
    """As when it comes by itself."""
    error = await failure(sync(box, root, together(file("app.py", b"app", sent=sent))))

    assert error.seen == ("INVALID_ARGUMENT", "CHECKSUM_MISMATCH")
    assert error.metadata["path"] == "app.py"


async def test_a_message_has_at_most_a_thousand_entries(box, root):
    """And at least one, of a kind."""
    for entries in ([file(f"{n}", b"") for n in range(1001)], [], [pb.SyncEntry()]):
        error = await failure(sync(box, root, together(*entries)))
        assert error.seen == ("INVALID_ARGUMENT", "INVALID_REQUEST")
