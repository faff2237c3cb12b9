"""DownloadTree: the tree that a sync would describe comes out, or it is told that it did not."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import grpc
import pytest

from tests.support.calls import failure, until
from tests.support.reads import download, downloading, opened, read
from tests.support.trees import File, Folder, Link, digest, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = "n" * 200
TREE = {
    "app.py": File(b"print('hello')\n", 0o644),
    "bin": Folder(0o700),
    "bin/run": File(b"#!/bin/sh\n\0\xff\n", 0o755),
    "a b": Folder(0o755),
    "a b/ä\n.txt": File("ü".encode(), 0o600),
    "empty": File(b"", 0o644),
    "folders": Folder(0o755),
    "folders/empty": Folder(0o711),
    "latest": Link("bin/run"),
    "dangling": Link("../elsewhere/" + LONG),
    f"{LONG}": Folder(0o755),
    f"{LONG}/{LONG}": Folder(0o755),
    f"{LONG}/{LONG}/{LONG}": File(b"deep", 0o644),
    "blocks": File(b"x" * 1024, 0o644),
    "larger": File(bytes(range(256)) * 5000, 0o644),
}
LARGE = 64 << 20
MAKE = f"truncate -s {LARGE - 1} it && printf x >>it"
"""Not all zeros: tar fills up with zeros what is missing of a file."""


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/tree-{secrets.token_hex(4)}"


async def in_folder(box, folder, script):
    ran = await box.run(f"mkdir -p {folder} && cd {folder} && {script}")
    assert ran.outcome == ("EXIT", 0), ran.stderr


async def test_what_was_synced_in_comes_out_the_same_with_the_same_digest(box, root):
    """Content, modes, links, empty folders, and names that nobody likes."""
    tree = {**TREE, "dangling": Link("elsewhere/" + LONG)}
    receipt = await box.client.sync([header(box.sandbox_id, root), *parts(tree)])
    got = await download(box, root)

    assert got.root == root
    assert got.tree == tree
    assert got.summary.root_digest == receipt.root_digest == digest(tree)
    assert got.summary.skipped_count == 0


async def test_an_empty_folder_is_a_tree(box, root):
    """And its digest is that of nothing."""
    await in_folder(box, root, "true")
    got = await download(box, root)

    assert (got.tree, got.summary.root_digest) == ({}, digest({}))


async def test_a_file_has_its_time_and_hard_links_are_files(box, root):
    """Also times before 1970, and to the microsecond."""
    await in_folder(
        box, root, "echo hi >a && ln a b && touch -d @1500.25 a && echo >c && touch -d @-1.5 c"
    )
    got = await download(box, root)
    times = {path: it.modify_time.ToDatetime(UTC) for path, it in got.files.items()}

    assert got.tree["a"] == got.tree["b"] == File(b"hi\n", 0o644)
    assert times["a"] == times["b"] == datetime.fromtimestamp(1500.25, UTC)
    assert times["c"] == datetime.fromtimestamp(-1.5, UTC)


async def test_what_cannot_be_told_is_counted(box, root):
    """Pipes, sockets, and what has no name in UTF-8, also as a link's target."""
    await in_folder(
        box,
        root,
        "mkdir d $'d\\xff' && echo >$'d\\xff/in' && echo >d/in && mkfifo p d/p && "
        "ln -s $'\\xff' l && echo >$'f\\xff' && "
        "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('s')\"",
    )
    got = await download(box, root)

    assert set(got.tree) == {"d", "d/in"}
    assert got.summary.skipped_count == 7
    assert got.summary.root_digest == digest(got.tree)


async def test_excludes_mean_what_they_mean_to_a_sync(box, root):
    """Nothing below an excluded folder is read, so that it need not be readable."""
    await in_folder(
        box,
        root,
        "mkdir -p src node_modules/x closed .sandbox-sync && touch src/a.py src/a.pyc keep é.log "
        ".sandbox-sync/x && chmod 0 closed",
    )
    excludes = ["*.pyc", "/node_modules", "closed/", "?.log"]
    got = await download(box, root, excludes=excludes)
    answer = await box.client.sync(
        [header(box.sandbox_id, root, excludes=excludes), *parts({"keep": File(b"")})]
    )

    assert set(got.tree) == {"src", "src/a.py", "keep"}
    assert got.summary.root_digest == answer.root_digest == digest(got.tree)


@pytest.mark.parametrize(
    ("root_of", "seen"),
    [
        ("{}/none", ("NOT_FOUND", "FILE_NOT_FOUND")),
        ("{}/file", ("FAILED_PRECONDITION", "NOT_A_FILE")),
        ("{}/pipe", ("FAILED_PRECONDITION", "NOT_A_FILE")),
        ("{}/closed", ("FAILED_PRECONDITION", "FILE_NOT_ACCESSIBLE")),
        ("{}/outer", ("FAILED_PRECONDITION", "FILE_NOT_ACCESSIBLE")),
        ("{}/files", ("FAILED_PRECONDITION", "FILE_NOT_ACCESSIBLE")),
        ("/", ("INVALID_ARGUMENT", "INVALID_PATH")),
        ("{}/../x", ("INVALID_ARGUMENT", "INVALID_PATH")),
    ],
)
async def test_a_tree_that_cannot_be_read_whole_is_refused(box, root, root_of, seen):
    """Nothing is left out silently."""
    await in_folder(
        box,
        root,
        "echo >file && mkfifo pipe && mkdir -p closed outer/closed files && echo >files/locked && "
        "chmod 0 closed outer/closed files/locked",
    )
    failed = await failure(download(box, root_of.format(root)))

    assert failed.seen == seen
    assert failed.metadata["path"]


async def test_a_bad_pattern_is_refused(box, root):
    """As a sync refuses it."""
    failed = await failure(download(box, root, excludes=["fine", "!keep"]))
    assert failed.seen == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert failed.fields == ["excludes[1]"]


async def changed_on_the_way(box, call, change):
    """Read the first data of a stream, change something, and read the rest."""
    data = b""
    while not data:
        data = (await call.read()).data
    assert (await box.run(change)).outcome == ("EXIT", 0)
    size = len(data)
    last = None
    while (answer := await call.read()) is not grpc.aio.EOF:
        last = answer
        size += len(answer.data)
    assert await call.code() is grpc.StatusCode.OK
    assert last is not None
    assert last.WhichOneof("part") == "summary"
    return size


CHANGES = {
    "both ends are overwritten": "printf y | dd of={0} bs=1 conv=notrunc && "
    "printf y | dd of={0} bs=1 seek=67108863 conv=notrunc",
    "it is cut short": "truncate -s 1000 {}",
}
HARMLESS = {
    "it grows": "echo more >>{}",
    "it is replaced": "echo new >{0}.new && mv {0}.new {0}",
    "it is deleted": "rm {}",
    "its mode changes": "chmod 600 {}",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("rpc", ["ReadFile", "DownloadTree"])
async def test_a_file_that_changes_while_it_is_read_is_never_called_whole(box, root, change, rpc):
    """What was sent is no state that it ever had, and the caller is told."""
    await in_folder(box, root, MAKE)
    path = f"{root}/it"
    call = opened(box, path) if rpc == "ReadFile" else downloading(box, root)
    failed = await failure(changed_on_the_way(box, call, change.format(path)))

    assert failed.seen == ("ABORTED", "FILE_CHANGED")
    assert failed.metadata["path"] == path


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
async def test_a_file_whose_range_stays_as_it_was_is_read_as_it_was(box, root, change):
    """A log that grows can be read, and so can a file that is replaced or deleted meanwhile."""
    await in_folder(box, root, MAKE)
    path = f"{root}/it"

    assert await changed_on_the_way(box, opened(box, path), change.format(path)) == LARGE


async def test_many_files_come_in_batches_and_none_is_missing(box, root):
    """More than one batch has, in folders and without."""
    await in_folder(
        box, root, "for i in $(seq 600); do mkdir -p d$((i % 7)); echo $i >d$((i % 7))/$i; done"
    )
    got = await download(box, root)

    files = {path: it for path, it in got.tree.items() if isinstance(it, File)}
    assert {path.partition("/")[2]: it.content for path, it in files.items()} == {
        str(i): f"{i}\n".encode() for i in range(1, 601)
    }
    assert got.summary.root_digest == digest(got.tree)


async def test_a_caller_that_leaves_ends_what_runs_in_the_sandbox(box, root):
    """Nothing goes on for nobody."""
    await in_folder(box, root, MAKE)
    call = downloading(box, root)
    await call.read()
    await call.read()
    running = f"pgrep -fc '[d]ownload {root}'"
    assert int((await box.run(running)).text) > 0
    call.cancel()

    async def gone():
        return int((await box.run(running)).text) == 0

    await until(gone)


async def test_reading_leaves_nothing_behind_in_the_sandbox(box, root):
    """No room is needed, and no file is made."""
    await in_folder(box, root, "echo hi >it")
    look = f"find ~ {root} /tmp -xdev | sort | sha256sum; stat -c %y {root}"
    before = (await box.run(look)).text
    await download(box, root)
    await read(box, f"{root}/it")

    assert (await box.run(look)).text == before


async def test_bytes_that_went_out_are_counted(box, root, service):
    """The operator sees how much."""
    await in_folder(box, root, "printf 12345 >it")
    before = service.metric("sandbox_read_bytes_total")
    await download(box, root)
    await read(box, f"{root}/it")

    assert service.metric("sandbox_read_bytes_total") == before + 10
