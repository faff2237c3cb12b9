"""SyncFiles: what is refused, and that a refused sync has changed nothing."""

from __future__ import annotations

import hashlib
import secrets

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import failure
from tests.support.trees import File, Link, data, digest, file_header, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

BEFORE = {"app.py": File(b"before\n"), "dir/inner": File(b"inner")}


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/refused-{secrets.token_hex(4)}"


async def unchanged(box, root, messages):
    """Send what has to be refused over a tree, and see it as before; returns how it was refused."""
    first = await box.client.sync([header(box.sandbox_id, root), *parts(BEFORE)])
    error = await failure(box.client.sync(messages))
    after = await box.client.sync([header(box.sandbox_id, root)])

    assert first.root_digest == digest(BEFORE)
    assert after.root_digest == digest(BEFORE)
    return error


NEW = list(parts({"app.py": File(b"after\n")}))
UNCHANGED = file_header("app.py", b"x", unchanged=True)
DELETE = pb.SyncFilesRequest(delete=pb.SyncDelete(path="app.py"))


@pytest.mark.parametrize(
    ("messages", "expected", "received"),
    [
        (lambda head: [], "header", "nothing"),
        (lambda head: NEW, "header", "file"),
        (lambda head: [data(b"x")], "header", "data"),
        (lambda head: [DELETE], "header", "delete"),
        (lambda head: [head, head], None, "header"),
        (lambda head: [head, *NEW, head], None, "header"),
        (lambda head: [head, data(b"x")], None, "data"),
        (lambda head: [head, *NEW, DELETE, data(b"x")], None, "data"),
        (lambda head: [head, UNCHANGED, data(b"x")], None, "data"),
        (lambda head: [head, DELETE, *parts({"b": File(b"b")})], None, "file"),
    ],
    ids=["nothing", "file-first", "data-first", "delete-first", "two-headers", "late-header",
         "data-without-file", "data-after-delete",
         "data-of-unchanged", "file-after-delete"],
)  # fmt: skip
async def test_messages_out_of_order_are_refused(box, root, messages, expected, received):
    """The order is part of the contract, and nothing is guessed."""
    error = await unchanged(box, root, messages(header(box.sandbox_id, root)))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_STREAM")
    assert error.metadata["received"] == received
    assert expected is None or error.metadata["expected"] == expected


@pytest.mark.parametrize(
    "file",
    [
        [file_header("app.py", b"after\n", sha256=hashlib.sha256(b"x").digest()), data(b"after\n")],
        [file_header("app.py", b"after\n", size=5), data(b"after\n")],
        [file_header("app.py", b"after\n", size=7), data(b"after\n")],
        [file_header("app.py", b"after\n")],
        [file_header("app.py", b"after\n"), data(b"after\n"), data(b"more")],
    ],
    ids=["other-content", "more-than-its-size", "less-than-its-size", "no-data", "data-too-much"],
)
async def test_content_that_is_not_what_was_announced_is_refused(box, root, file):
    """The file changed while it was read."""
    error = await unchanged(box, root, [header(box.sandbox_id, root), *file])

    assert error.seen == ("INVALID_ARGUMENT", "CHECKSUM_MISMATCH")
    assert error.metadata["path"] == "app.py"


ESCAPES = ["../out", "a/../../out", "/etc/out", "a//b", "a/./b", ".", "..", "a/..", "./a",
           "a/", "n" * 256, ".sandbox-sync/x", "a/.sandbox-sync"]  # fmt: skip


@pytest.mark.parametrize("path", ESCAPES, ids=lambda path: path[:20])
@pytest.mark.parametrize("kind", ["file", "link", "directory", "delete"])
async def test_a_path_that_is_none_below_the_root_is_refused(box, root, kind, path):
    """Nothing outside of the root is ever written, nor what a sync needs for itself."""
    part = {
        "file": file_header(path, b""),
        "link": pb.SyncFilesRequest(link=pb.SyncLink(path=path, target="app.py")),
        "directory": pb.SyncFilesRequest(directory=pb.SyncDirectory(path=path)),
        "delete": pb.SyncFilesRequest(delete=pb.SyncDelete(path=path)),
    }[kind]
    error = await failure(box.client.sync([header(box.sandbox_id, root), part]))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PATH")
    assert error.fields == [f"{kind}.path"]


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../out", "a/../../out", "..", "dir/../../x", "x/../.."]
)
async def test_a_link_that_points_outside_is_refused(box, root, target):
    """A later file would be written through it."""
    part = pb.SyncFilesRequest(link=pb.SyncLink(path="link", target=target))
    error = await unchanged(box, root, [header(box.sandbox_id, root), part])

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PATH")
    assert error.fields == ["link.target"]


async def test_nothing_is_written_through_a_link_that_leaves_the_root(box, root):
    """A program in the sandbox laid it there."""
    await box.client.sync([header(box.sandbox_id, root), *parts(BEFORE)])
    await box.run(f"mkdir {root}-out; ln -s {root}-out trap", cwd=root)
    error = await failure(
        box.client.sync([header(box.sandbox_id, root), *parts({"trap/x": File(b"x")})])
    )
    ran = await box.run(["ls", "-A", f"{root}-out"])

    assert error.code.name in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
    assert error.reason in ("INVALID_PATH", "NOT_A_FILE")
    assert ran.text == ""


async def test_a_path_that_is_named_twice_is_refused(box, root):
    """Which one would it be?"""
    error = await unchanged(
        box, root, [header(box.sandbox_id, root), *NEW, *parts({"app.py": Link("dir")})]
    )

    assert error.code.name == "INVALID_ARGUMENT"
    assert error.fields == ["link.path"]


async def test_a_path_below_a_file_of_the_same_sync_is_refused(box, root):
    """No tree has it."""
    error = await unchanged(
        box, root, [header(box.sandbox_id, root), *parts({"x": File(b""), "x/y": File(b"")})]
    )

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PATH")


async def test_a_root_that_is_a_file_is_refused(box, root):
    """And the file is left as it is."""
    await box.run(f"echo file > {root}")
    error = await failure(box.client.sync([header(box.sandbox_id, root), *parts(BEFORE)]))
    ran = await box.run(f"cat {root}; rm {root}")

    assert error.seen == ("FAILED_PRECONDITION", "NOT_A_FILE")
    assert ran.stdout == b"file\n"


@pytest.mark.parametrize("root_", ["/", "../x", "a/../..", "/a/../b", "/tmp/.sandbox-sync/x"])
async def test_a_root_that_is_none_is_refused(box, root_):
    """The whole file system is not to be mirrored away."""
    error = await failure(box.client.sync([header(box.sandbox_id, root_), *parts(BEFORE)]))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PATH")
    assert error.fields == ["header.root"]


async def test_a_root_that_may_not_be_written_is_told(box):
    """It is the caller's to mend, no failure of the service."""
    error = await failure(box.client.sync([header(box.sandbox_id, "/usr/app"), *parts(BEFORE)]))

    assert error.seen == ("FAILED_PRECONDITION", "FILE_NOT_ACCESSIBLE")


async def test_what_is_excluded_may_not_be_written(box, root):
    """Excluded means that it is none of the sync's business."""
    error = await unchanged(
        box,
        root,
        [header(box.sandbox_id, root, excludes=["*.log"]), *parts({"a.log": File(b"x")})],
    )

    assert error.code.name == "INVALID_ARGUMENT"
    assert error.fields == ["file.path"]


async def test_a_user_that_is_not_there_is_told(box, root):
    """Before anything is written."""
    error = await unchanged(box, root, [header(box.sandbox_id, root, user="nemo"), *NEW])

    assert error.seen == ("FAILED_PRECONDITION", "USER_NOT_FOUND")


async def test_a_pattern_that_negates_another_is_refused(box, root):
    """The language of excludes has none."""
    error = await unchanged(
        box, root, [header(box.sandbox_id, root, excludes=["*.log", "!a.log"]), *NEW]
    )

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert error.fields == ["header.excludes[1]"]
    assert "negation" in error.message


async def test_a_reload_in_a_language_that_there_is_not_is_refused_before_anything_is_written(
    box, root
):
    """The contract says: nothing was written."""
    reload = {"program": {"source": {"language": "fortran", "code": "end"}}}
    error = await unchanged(box, root, [header(box.sandbox_id, root, reload=reload), *NEW])

    assert error.seen == ("INVALID_ARGUMENT", "LANGUAGE_NOT_SUPPORTED")


async def test_a_reload_with_a_used_exec_id_is_refused_before_anything_is_written(box, root):
    """An exec id is used once."""
    exec_id = f"x{secrets.token_hex(4)}"
    await box.run("true", exec_id=exec_id)
    reload = {"program": {"shell_command": "true"}, "exec_id": exec_id}
    error = await unchanged(box, root, [header(box.sandbox_id, root, reload=reload), *NEW])

    assert error.seen == ("ALREADY_EXISTS", "EXEC_ID_REUSED")


async def test_a_sync_that_is_cancelled_half_way_changes_nothing(box, root):
    """A crashed client leaves the tree as it was, and no rubbish."""
    await box.client.sync([header(box.sandbox_id, root), *parts(BEFORE)])
    call = box.client.stub.SyncFiles(metadata=box.client.metadata)
    await call.write(header(box.sandbox_id, root))
    await call.write(file_header("app.py", b"x" * (2 << 20)))
    await call.write(data(b"x" * (1 << 20)))
    call.cancel()
    after = await box.client.sync([header(box.sandbox_id, root)])

    assert after.root_digest == digest(BEFORE)


async def test_a_sync_whose_disk_is_full_says_so_and_leaves_the_old_files(client):
    """Here it is the sized `/tmp`, so that no disk of the machine is filled."""
    box = await client.sandbox()
    await client.sync([header(box.sandbox_id, "/tmp/app"), *parts(BEFORE)])
    kind = await box.run("stat -f -c %T /tmp")
    assert kind.text == "tmpfs\n"
    filled = await box.run(
        "free=$(df --output=avail -B1 /tmp | tail -1); fallocate -l $((free - 3145728)) /tmp/filler"
    )
    content = secrets.token_bytes(1 << 20)
    tree = {"app.py": File(b"after"), **{f"f{n}": File(content) for n in range(8)}}
    error = await failure(client.sync([header(box.sandbox_id, "/tmp/app"), *parts(tree)]))
    ran = await box.run("cat app.py; rm /tmp/filler", cwd="/tmp/app")

    assert filled.outcome == ("EXIT", 0)
    assert error.seen == ("RESOURCE_EXHAUSTED", "DISK_FULL")
    assert ran.stdout in (b"before\n", b"after")
