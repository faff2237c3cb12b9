"""SyncFiles: a folder of a sandbox becomes what was sent, and the receipt says so."""

from __future__ import annotations

import asyncio
import hashlib
import secrets

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from miosa.sandbox import v1 as pb

from tests.support.trees import File, Folder, Gone, Link, digest, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP = {
    "app.py": File(b"print('hello')\n"),
    "bin/run": File(b"#!/bin/sh\nexec python3 app.py\n", 0o755),
    "src/a b/\xc3\xa4\n.txt": File("ü".encode()),
    "empty": File(b""),
    "folders/empty": Folder(),
    "folders/private": Folder(0o700),
    "latest": Link("bin/run"),
    "src/up": Link("../app.py"),
}


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/sync-{secrets.token_hex(4)}"


async def sync(box, root, tree, **fields):
    return await box.client.sync([header(box.sandbox_id, root, **fields), *parts(tree)])


def kinds(receipt):
    return {
        it.path: pb.ChangeKind.Name(it.kind).removeprefix("CHANGE_KIND_") for it in receipt.changes
    }


def counts(receipt):
    return receipt.added, receipt.modified, receipt.deleted, receipt.unchanged


async def test_a_tree_is_there_as_it_was_sent(box, root):
    """Content, modes, links, empty folders and names that nobody likes."""
    receipt = await sync(box, root, APP)
    ran = await box.run(
        "python3 app.py; ./latest; cat src/up; stat -c %a bin/run app.py empty "
        "folders/empty folders/private; readlink latest src/up",
        cwd=root,
    )
    odd = await box.run(["cat", f"{root}/src/a b/\xc3\xa4\n.txt"])

    assert ran.text.split() == [
        "hello", "hello", "print('hello')", "755", "644", "644", "755", "700",
        "bin/run", "../app.py",
    ]  # fmt: skip
    assert odd.text == "ü"
    assert receipt.root == root
    assert set(kinds(receipt).values()) == {"ADDED"}
    assert {path for path, it in APP.items() if not isinstance(it, Folder)} <= set(kinds(receipt))
    assert receipt.received_bytes == sum(
        len(it.content) for it in APP.values() if isinstance(it, File)
    )


async def test_a_receipt_counts_what_was_named_folders_too(box, root):
    """Folders on the way to a file are nobody's entries."""
    first = await sync(box, root, APP)
    again = await sync(box, root, APP)
    changed = await sync(
        box, root, {**APP, "folders/empty": Folder(0o711), "folders/private": Gone()}
    )

    assert counts(first) == (8, 0, 0, 0)
    assert counts(again) == (0, 0, 0, 8)
    assert counts(changed) == (0, 1, 1, 6)


async def test_a_receipt_says_how_much_was_written(box, root):
    """Which is less than what was received when little differs."""
    await sync(box, root, APP)
    receipt = await sync(box, root, {**APP, "app.py": File(b"changed"), "new": File(b"new")})

    assert receipt.written_bytes == len(b"changed" + b"new")


async def test_the_root_digest_is_the_one_that_the_contract_defines(box, root):
    """A client that computes it can tell whether its tree is the sandbox's."""
    first = await sync(box, root, APP)
    changed = {**APP, "app.py": File(b"print(2)\n", 0o600), "latest": Link("app.py")}
    second = await sync(box, root, changed)

    assert first.root_digest == digest(APP)
    assert second.root_digest == digest(changed)


async def test_a_second_sync_changes_only_what_differs(box, root):
    """The inner loop of who edits an app."""
    await sync(box, root, APP)
    receipt = await sync(
        box,
        root,
        {
            **APP,
            "app.py": File(b"print('changed')\n"),
            "new.txt": File(b"new"),
            "empty": Gone(),
        },
    )
    ran = await box.run("python3 app.py; cat new.txt; ls -d empty", cwd=root)

    assert kinds(receipt) == {"app.py": "MODIFIED", "new.txt": "ADDED", "empty": "DELETED"}
    assert ran.text == "changed\nnew"


async def test_the_same_tree_again_changes_nothing(box, root):
    """And touches no file: a watcher in the sandbox stays quiet."""
    await sync(box, root, APP)
    before = await box.run("stat -c '%n %i %Y %Z' app.py bin/run", cwd=root)
    receipt = await sync(box, root, APP)
    after = await box.run("stat -c '%n %i %Y %Z' app.py bin/run", cwd=root)

    assert counts(receipt)[:3] == (0, 0, 0)
    assert list(receipt.changes) == []
    assert after.stdout == before.stdout


async def test_a_file_changed_in_the_sandbox_is_put_right(box, root):
    """Also when neither size nor time tell of it."""
    await sync(box, root, APP)
    await box.run(
        "touch -r app.py /tmp/ref; printf \"print('HELLO')\\n\" > app.py; touch -r /tmp/ref app.py",
        cwd=root,
    )
    receipt = await sync(box, root, APP)
    ran = await box.run("cat app.py", cwd=root)

    assert kinds(receipt) == {"app.py": "MODIFIED"}
    assert ran.stdout == APP["app.py"].content


async def test_modes_and_types_are_changes_too(box, root):
    """A file that becomes a link, and one that becomes executable."""
    await sync(box, root, {"a": File(b"a"), "b": File(b"b"), "c": Link("a")})
    tree = {"a": File(b"a", 0o755), "b": Link("a"), "c": File(b"c")}
    receipt = await sync(box, root, tree)

    assert kinds(receipt) == {"a": "MODIFIED", "b": "MODIFIED", "c": "MODIFIED"}
    assert receipt.root_digest == digest(tree)


async def test_an_unset_mode_leaves_a_file_the_one_it_has(box, root):
    """Unset is not 0o644."""
    await sync(box, root, {"run": File(b"one", 0o755), "dir": Folder(0o750)})
    receipt = await sync(box, root, {"run": File(b"two"), "dir": Folder()})
    ran = await box.run("stat -c %a run dir", cwd=root)

    assert ran.text.split() == ["755", "750"]
    assert kinds(receipt) == {"run": "MODIFIED"}


async def test_modify_times_are_kept(box, root):
    """Build tools go by them."""
    time = Timestamp(seconds=1_500_000_000, nanos=123_000_000)
    (head, body) = parts({"a": File(b"a")})
    head.file.modify_time.CopyFrom(time)
    await box.client.sync([header(box.sandbox_id, root), head, body])
    ran = await box.run("stat -c %.Y a", cwd=root)

    assert float(ran.text) == pytest.approx(1_500_000_000.123, abs=1e-3)


async def test_patch_leaves_alone_what_it_does_not_name(box, root):
    """The default."""
    await sync(box, root, {"keep": File(b"keep")})
    await sync(box, root, {"other": File(b"other")})
    ran = await box.run("ls", cwd=root)

    assert ran.text.split() == ["keep", "other"]


async def test_mirror_deletes_what_it_does_not_name_unless_it_is_excluded(box, root):
    """The root becomes what was named; what is installed there stays."""
    await sync(box, root, {"old/x": File(b"x"), "keep": File(b"k"), "gone": Link("keep")})
    await box.run("mkdir -p node_modules/m; echo m > node_modules/m/i.js; echo l > a.log", cwd=root)
    receipt = await sync(
        box,
        root,
        {"keep": File(b"k"), "new": File(b"n")},
        mode=pb.SYNC_MODE_MIRROR,
        excludes=["node_modules/", "*.log"],
    )
    ran = await box.run("find . -mindepth 1 | LC_ALL=C sort", cwd=root)

    assert ran.text.split() == [
        "./a.log",
        "./keep",
        "./new",
        "./node_modules",
        "./node_modules/m",
        "./node_modules/m/i.js",
    ]
    assert counts(receipt) == (1, 0, 3, 1)
    assert receipt.root_digest == digest({"keep": File(b"k"), "new": File(b"n")})


async def test_a_deleted_folder_goes_with_everything_in_it(box, root):
    """And a delete of what is not there is no error."""
    await sync(box, root, {"d/a": File(b"a"), "d/e/b": File(b"b"), "keep": File(b"k")})
    receipt = await sync(box, root, {"d": Gone(), "never": Gone()})

    assert receipt.deleted == 4
    assert receipt.root_digest == digest({"keep": File(b"k")})


async def test_every_byte_value_arrives(box, root):
    """In the content, and a file of many chunks."""
    every = bytes(range(256)) * 4
    noise = secrets.token_bytes(5_000_000)
    await sync(box, root, {"every.bin": File(every), "noise.bin": File(noise)})
    ran = await box.run("sha256sum every.bin noise.bin", cwd=root)

    assert ran.text.split()[::2] == [hashlib.sha256(it).hexdigest() for it in (every, noise)]


async def test_a_root_relative_to_the_home_is_told_absolute(box):
    """Effective values, as everywhere."""
    name = f"app-{secrets.token_hex(4)}"
    receipt = await sync(box, name, {"a": File(b"a")})

    assert receipt.root == f"/home/user/{name}"
    assert (await box.run(f"ls {name}; rm -r {name}")).text.split() == ["a"]


async def test_a_dot_is_the_home_itself(client):
    """The contract says so."""
    box = await client.sandbox()
    receipt = await sync(box, ".", {"app/b": File(b"b")})

    assert receipt.root == "/home/user"
    assert (await box.run("cat app/b")).stdout == b"b"


async def test_a_sync_says_how_long_each_phase_took(box, root):
    """Where time went."""
    receipt = await sync(box, root, {"a": File(b"a")})

    assert {it.phase for it in receipt.timings}
    assert receipt.preview_state == pb.PREVIEW_STATE_NOT_LISTENING


async def test_a_sync_says_whose_files_they_are(box, root):
    """Effective values, as everywhere."""
    receipt = await sync(box, root, {"a": File(b"a")})

    assert receipt.user == "user"


async def test_two_syncs_at_once_leave_a_tree_of_one_of_them(box, root):
    """Whole files, whoever comes last."""
    trees = [{f"f{n}": File(letter * 100_000) for n in range(20)} for letter in (b"a", b"b")]
    receipts = await asyncio.gather(*(sync(box, root, tree) for tree in trees))
    ran = await box.run("for f in f*; do sha256sum $f; done | cut -c1-64 | sort -u", cwd=root)
    hashes = {hashlib.sha256(letter * 100_000).hexdigest() for letter in (b"a", b"b")}

    assert set(ran.text.split()) <= hashes
    assert {it.root_digest for it in receipts} <= {digest(tree) for tree in trees}


async def test_nothing_but_the_tree_is_left_behind(box, root):
    """Neither in the root nor beside it."""
    before = await box.run("ls -A /tmp ~ | LC_ALL=C sort; ls -A / | sort")
    await sync(box, root, APP)
    await box.run(["rm", "-r", root])
    after = await box.run("ls -A /tmp ~ | LC_ALL=C sort; ls -A / | sort")

    assert after.text == before.text


async def test_a_thousand_files_make_a_receipt_that_is_cut_and_says_so(box, root):
    """A receipt fits into a message; its numbers are whole."""
    tree = {f"d{n % 10}/f{n:04}": File(b"%d" % n) for n in range(1100)}
    receipt = await sync(box, root, tree)
    paths = [it.path.encode() for it in receipt.changes]

    assert receipt.added >= 1100
    assert len(paths) == 1000
    assert receipt.changes_truncated
    assert paths == sorted(path.encode() for path in tree)[:1000]
    assert receipt.root_digest == digest(tree)
