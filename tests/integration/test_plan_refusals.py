"""PlanSync: what is refused, and how its two streams hold each other up."""

from __future__ import annotations

import asyncio
import secrets

import grpc
import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import failure, first_output, unlikely, until
from tests.support.plans import FILE, FOLDER, LINK, answered, entry, manifest, plan, plan_header

pytestmark = pytest.mark.asyncio(loop_scope="session")

NEW = [entry("a", FILE, size=1, sha256=bytes(32))]


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/plan-{secrets.token_hex(4)}"


async def refused(box, messages):
    return await failure(answered(box, messages))


@pytest.mark.parametrize(
    ("messages", "expected", "received"),
    [
        (lambda head: [], "header", "nothing"),
        (lambda head: [*manifest(NEW), head], "header", "manifest"),
        (lambda head: [head, head], "manifest", "header"),
        (lambda head: [head, *manifest(NEW), head], "manifest", "header"),
    ],
    ids=["nothing", "no-header", "two-headers", "late-header"],
)
async def test_messages_out_of_order_are_refused(box, root, messages, expected, received):
    """The order is part of the contract."""
    error = await refused(box, messages(plan_header(box.sandbox_id, root)))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_STREAM")
    assert (error.metadata["expected"], error.metadata["received"]) == (expected, received)


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/x", "a//b", "./a", "a/", "n" * 256, ".sandbox-sync/x", "a/.sandbox-sync"],
    ids=lambda path: path[:20],
)
async def test_a_path_that_no_sync_could_write_is_refused(box, root, path):
    """Here already, and by the entry's place."""
    found = [*NEW, entry(path)]
    error = await refused(box, [plan_header(box.sandbox_id, root), *manifest(found)])

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PATH")
    assert error.fields == ["manifest.entries[1].path"]


@pytest.mark.parametrize(
    ("found", "field"),
    [
        ([*NEW, *NEW], "manifest.entries[1].path"),
        ([entry("x/y"), entry("x", LINK, sha256=bytes(32))], "manifest.entries.path"),
        ([entry("x"), entry("x/y")], "manifest.entries.path"),
        ([entry("x", FOLDER, size=1)], "manifest.entries[0].size"),
        ([entry("x", FOLDER, sha256=bytes(32))], "manifest.entries[0].sha256"),
        ([entry("x", LINK)], "manifest.entries[0].sha256"),
        ([entry("x", sha256=b"short")], "manifest.entries[0].sha256"),
        ([entry("x", pb.ENTRY_KIND_OTHER)], "manifest.entries[0].kind"),
        ([entry("x.log")], "manifest.entries[0].path"),
        ([entry("build/x")], "manifest.entries[0].path"),
    ],
    ids=["twice", "below-a-link", "below-a-file", "folder-size", "folder-hash", "link-hash",
         "hash-size", "other", "excluded", "below-excluded"],
)  # fmt: skip
async def test_entries_that_make_no_tree_are_refused(box, root, found, field):
    """Nothing is guessed."""
    head = plan_header(box.sandbox_id, root, excludes=["*.log", "build/"])
    error = await refused(box, [head, *manifest(found)])

    assert error.code.name == "INVALID_ARGUMENT"
    assert error.fields == [field]


@pytest.mark.parametrize(
    ("fields", "seen", "field"),
    [
        ({"root": "/"}, ("INVALID_ARGUMENT", "INVALID_PATH"), "header.root"),
        ({"root": "../x"}, ("INVALID_ARGUMENT", "INVALID_PATH"), "header.root"),
        ({"root": "a/.sandbox-sync"}, ("INVALID_ARGUMENT", "INVALID_PATH"), "header.root"),
        ({"excludes": ["!a"]}, ("INVALID_ARGUMENT", "INVALID_REQUEST"), "header.excludes[0]"),
        ({"user": "nemo"}, ("FAILED_PRECONDITION", "USER_NOT_FOUND"), None),
    ],
)
async def test_a_header_that_cannot_be_followed_is_refused(box, root, fields, seen, field):
    """As that of a sync is."""
    error = await refused(box, [plan_header(box.sandbox_id, **{"root": root, **fields})])

    assert error.seen == seen
    assert field is None or error.fields == [field]


async def test_a_root_that_is_no_folder_is_told_before_the_manifest_is_whole(box, root):
    """Also to a client that is slow to say what it has."""
    await box.run(f"touch {root}")
    call = box.client.stub.PlanSync(metadata=box.client.metadata)
    await call.write(plan_header(box.sandbox_id, root))
    error = await failure(call.read())

    assert error.seen == ("FAILED_PRECONDITION", "NOT_A_FILE")
    assert error.metadata["path"] == root


async def test_a_root_that_may_not_be_read_is_told(box, root):
    """It is not empty, whatever it looks like."""
    await box.run(f"mkdir -m 0300 {root}")
    error = await refused(box, [plan_header(box.sandbox_id, root)])

    assert error.seen == ("FAILED_PRECONDITION", "FILE_NOT_ACCESSIBLE")


async def test_a_sandbox_that_there_is_not_is_told(box, root):
    """The first message says which one it is."""
    error = await refused(box, [plan_header("nobody", root), *manifest(NEW)])

    assert error.seen == ("NOT_FOUND", "SANDBOX_NOT_FOUND")


async def test_bytes_that_are_no_message_are_refused(box, root):
    """In the middle of the stream too."""
    call = box.client.channel.stream_stream(
        "/miosa.sandbox.v1.SandboxService/PlanSync",
        request_serializer=bytes,
        response_deserializer=pb.PlanSyncResponse.FromString,
    )(
        iter([plan_header(box.sandbox_id, root).SerializeToString(), b"\xff\xff"]),
        metadata=box.client.metadata,
    )
    error = await failure(call.read())

    assert error.seen == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")


async def test_a_manifest_with_more_entries_than_a_sync_may_have_is_refused(box, root):
    """It would be held in memory."""
    limit = (await box.client.stub.GetCapabilities(
        pb.GetCapabilitiesRequest(), metadata=box.client.metadata
    )).limits.max_sync_entries  # fmt: skip
    found = [entry(f"{n}") for n in range(limit + 1)]
    error = await refused(box, [plan_header(box.sandbox_id, root), *manifest(found)])

    assert error.seen == ("INVALID_ARGUMENT", "PAYLOAD_TOO_LARGE")
    assert error.metadata["limit_entries"] == str(limit)


async def test_a_deadline_ends_a_plan_whose_manifest_never_ends(box, root):
    """The caller's own is the only one that a stream has."""
    call = box.client.stub.PlanSync(metadata=box.client.metadata, timeout=0.5)
    await call.write(plan_header(box.sandbox_id, root))
    error = await failure(call.read())

    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_caller_that_leaves_leaves_nothing_running(box):
    """Whatever the listing waits for, here for a sync that does not end."""
    # The root's name is an argument of the script: what runs is found by it.
    mark = unlikely()
    sync = box.exec(
        "mkdir -p .sandbox-sync; exec 9>.sandbox-sync/lock; flock 9; echo x; exec sleep 1000"
    )
    await first_output(sync)
    call = box.client.stub.PlanSync(metadata=box.client.metadata)
    await call.write(plan_header(box.sandbox_id, str(mark)))
    await until(lambda: box.having(mark))
    call.cancel()
    await box.gone(mark)
    sync.cancel()
    again = await plan(box, str(mark), NEW)

    assert again.kinds == {"a": "MISSING"}


async def test_a_caller_that_is_slow_to_end_its_stream_is_waited_for(box, root):
    """The listing was made long before; others are not held up by it."""
    await box.run(f"mkdir {root}; touch {root}/old")
    call = box.client.stub.PlanSync(metadata=box.client.metadata)
    await call.write(plan_header(box.sandbox_id, root))
    for message in manifest(NEW):
        await call.write(message)
    other = await asyncio.wait_for(plan(box, root, []), 20)
    await call.done_writing()
    parts = [part async for part in call]

    assert other.kinds == {"old": "EXTRA"}
    assert parts[-1].summary.missing == parts[-1].summary.extra == 1
