"""Limits of a sync: each has a reason of its own, and what was there stays whole."""

from __future__ import annotations

import pytest
import pytest_asyncio
from miosa.sandbox import v1 as pb

from tests.support.calls import Client, failure
from tests.support.service import served
from tests.support.trees import File, Folder, Gone, Link, digest, file_header, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENTRIES, BYTES = 40, 1_000_000
ROOT = "app"
BEFORE = {"app.py": File(b"before\n"), "kept/file": File(b"kept\n")}
DEEP = "d/" * 1900


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small():
    """A sandbox of a deployment that allows little."""
    env = {"SANDBOX_SYNC_FILES_MAX": str(ENTRIES), "SANDBOX_SYNC_BYTES_MAX": str(BYTES)}
    with served(env=env) as service:
        async with Client.connected(service.grpc_address) as client:
            yield await client.sandbox()
            await client.destroy_all()


async def refused(box, messages):
    """Send what has to be refused over a tree, and see it as before; returns how it was refused."""
    first = await box.client.sync(
        [header(box.sandbox_id, ROOT, mode=pb.SYNC_MODE_MIRROR), *parts(BEFORE)]
    )
    error = await failure(box.client.sync([header(box.sandbox_id, ROOT), *messages]))
    after = await box.client.sync([header(box.sandbox_id, ROOT)])

    assert first.root_digest == after.root_digest == digest(BEFORE)
    return error


@pytest.mark.parametrize("entry", [File(b""), Link("app.py"), Folder(), Gone()])
async def test_more_entries_than_a_sync_may_have(small, entry):
    """Files, links, folders and deletes count alike."""
    error = await refused(small, parts({f"e{n}": entry for n in range(ENTRIES + 1)}))

    assert error.seen == ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE")
    assert error.metadata["limit_entries"] == str(ENTRIES)


async def test_as_many_as_it_may_have(small):
    """The limit itself is allowed."""
    tree = {f"f{n}": File(b"x" * (BYTES // ENTRIES)) for n in range(ENTRIES)}
    receipt = await small.client.sync([header(small.sandbox_id, "full"), *parts(tree)])

    assert receipt.added == ENTRIES
    assert receipt.received_bytes == BYTES


async def test_more_bytes_than_a_sync_may_have(small):
    """Told at the header of the file that is one too many, before its data has come."""
    tree = {"a": File(b"a" * (BYTES - 5)), "b": File(b"123456")}
    error = await refused(small, parts(tree))

    assert error.seen == ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE")
    assert error.metadata["limit_bytes"] == str(BYTES)
    assert error.metadata["actual_bytes"] == str(BYTES + 1)


@pytest.mark.parametrize("size", [BYTES + 1, 16 << 30])
async def test_a_file_that_is_announced_as_too_large(small, size):
    """Nobody has to send it to learn that."""
    error = await refused(small, [file_header("a", b"", size=size)])

    assert error.seen == ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("path", "rule"),
    [("n" * 256, "name_length"), ("é" * 128, "name_length"), (f"{'x' * 200}/" * 20 + "f", "")],
    ids=["name", "name of two-byte letters", "path"],
)
async def test_a_name_or_a_path_that_no_file_system_takes(small, path, rule):
    """Bytes count, not letters."""
    error = await refused(small, parts({path: File(b"a")}))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PATH")
    assert error.metadata["path"].startswith(path[:50])
    assert not rule or error.metadata["rule"] == rule


async def test_the_longest_name_and_the_deepest_path_are_taken(small):
    """What the kernel takes: 255 bytes in a name, and as many folders as fit into a path."""
    tree = {"n" * 255: File(b"n"), "é" * 127: File(b"e"), f"{DEEP}f": File(b"deep")}
    first = await small.client.sync([header(small.sandbox_id, "deep"), *parts(tree)])
    tree[f"{DEEP}f"] = File(b"deeper")
    second = await small.client.sync([header(small.sandbox_id, "deep"), *parts(tree)])
    gone = await small.client.sync(
        [header(small.sandbox_id, "deep", mode=pb.SYNC_MODE_MIRROR), *parts({"a": File(b"a")})]
    )

    assert (first.added, second.modified) == (3, 1)
    assert second.root_digest == digest(tree)
    assert gone.root_digest == digest({"a": File(b"a")})
