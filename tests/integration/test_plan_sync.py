"""PlanSync: how a folder of a sandbox differs from the caller's tree."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping

import pytest
from miosa.sandbox import v1 as pb

from tests.support.plans import FILE, FOLDER, LINK, entries, entry, plan
from tests.support.trees import Entry, File, Folder, Link, digest, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

APP: Mapping[str, Entry] = {
    "app.py": File(b"print('hello')\n", 0o644),
    "bin/run": File(b"#!/bin/sh\n", 0o755),
    "src/a b/ä\n.txt": File("ü".encode(), 0o644),
    "latest": Link("bin/run"),
    "empty": Folder(0o755),
}


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/plan-{secrets.token_hex(4)}"


async def sync(box, root, tree, **fields):
    return await box.client.sync([header(box.sandbox_id, root, **fields), *parts(tree)])


async def planned(box, root, tree: Mapping[str, Entry] | Iterable[pb.ManifestEntry], **fields):
    found = entries(tree) if isinstance(tree, Mapping) else list(tree)
    return await plan(box, root, found, **fields)


async def test_a_root_that_is_not_there_is_an_empty_tree(box, root):
    """Everything is missing; and it is not made."""
    found = await planned(box, root, APP)
    ran = await box.run(["ls", "-d", root])

    assert found.kinds == dict.fromkeys(APP, "MISSING")
    assert found.summary.missing == len(APP)
    assert found.summary.root == root
    assert found.summary.root_digest == digest({})
    assert found.summary.needed_bytes == sum(
        len(it.content) for it in APP.values() if isinstance(it, File)
    )
    assert ran.exited.exit_code != 0


async def test_equal_trees_have_no_difference(box, root):
    """What is equal is counted, and named only for who asks."""
    receipt = await sync(box, root, APP)
    quiet = await planned(box, root, APP)
    named = await planned(box, root, APP, include_equal=True)

    assert quiet.kinds == {}
    assert named.kinds == dict.fromkeys(APP, "EQUAL")
    for found in (quiet, named):
        assert found.summary.equal == len(APP)
        assert found.summary.root_digest == receipt.root_digest
        assert found.summary.needed_bytes == 0


async def test_each_difference_is_told_for_what_it_is(box, root):
    """Content, mode, kind, absence, and what only the sandbox has."""
    await sync(box, root, {**APP, "old/x": File(b"x"), "mode": File(b"m"), "kind/x": File(b"k")})
    await box.run("mkfifo pipe", cwd=root)
    mine = {
        **APP,
        "app.py": File(b"print('HELLO')\n", 0o644),
        "latest": Link("app.py"),
        "mode": File(b"m", 0o600),
        "kind": File(b"file"),
        "new": File(b"new!"),
    }
    found = await planned(box, root, mine)
    kinds = {
        it.path: (pb.EntryKind.Name(it.sandbox_kind)[11:], it.content_changed)
        for it in found.differences
    }

    assert found.kinds == {
        "app.py": "CHANGED", "latest": "CHANGED", "mode": "CHANGED", "kind": "CHANGED",
        "new": "MISSING", "old": "EXTRA", "old/x": "EXTRA", "kind/x": "EXTRA", "pipe": "EXTRA",
    }  # fmt: skip
    assert kinds == {
        "app.py": ("FILE", True), "latest": ("LINK", True), "mode": ("FILE", False),
        "kind": ("DIRECTORY", True), "new": ("UNSPECIFIED", False), "old": ("DIRECTORY", False),
        "old/x": ("FILE", False), "kind/x": ("FILE", False), "pipe": ("OTHER", False),
    }  # fmt: skip
    assert found.summary.needed_bytes == len(b"print('HELLO')\n") + len(b"file") + len(b"new!")


async def test_what_is_not_said_is_not_compared(box, root):
    """A mode that is unset, and a file without a hash but for its size."""
    await sync(box, root, APP)
    size = len(APP["app.py"].content)
    found = await planned(
        box, root, [entry("bin/run", FILE, size=10), entry("app.py", FILE, size=size - 1)]
    )

    assert found.kinds["app.py"] == "CHANGED"
    assert "bin/run" not in found.kinds


@pytest.mark.parametrize("verify", [pb.SYNC_VERIFY_INDEX, pb.SYNC_VERIFY_FULL])
async def test_an_edit_of_the_same_size_and_time_is_found(box, root, verify):
    """Whoever restores times does not fool the index."""
    await sync(box, root, APP)
    await planned(box, root, APP)
    await box.run(
        "touch -r app.py /tmp/ref; printf \"print('HELLO')\\n\" > app.py; touch -r /tmp/ref app.py",
        cwd=root,
    )
    found = await planned(box, root, APP, verify=verify)

    assert found.kinds == {"app.py": "CHANGED"}


async def test_what_is_excluded_is_neither_compared_nor_named(box, root):
    """Nor part of the digest."""
    await sync(box, root, APP)
    await box.run("mkdir -p node_modules/x; touch node_modules/x/y a.log 'b?'", cwd=root)
    found = await planned(box, root, APP, excludes=["node_modules/", "*.log", "b\\?", "??zz"])

    assert found.kinds == {}
    assert found.summary.root_digest == digest(APP)


async def test_names_that_are_no_utf8_are_shown_escaped(box, root):
    """They can be seen, though not sent."""
    await sync(box, root, APP)
    await box.run("touch $'bad\\xff'", cwd=root)
    found = await planned(box, root, APP)

    assert found.kinds == {"bad\\xff": "EXTRA"}


async def test_a_plan_leaves_an_index_for_the_sync_that_follows(box):
    """Files that somebody else made are hashed once."""
    name = f"plan-{secrets.token_hex(4)}"
    await box.run(f"mkdir {name}; echo one > {name}/a; echo two > {name}/b")
    ran = await box.run(
        f"until [[ -z $(find {name} -newerct '50 milliseconds ago' -print -quit) ]]; do :; done"
    )
    tree = {"a": File(b"one\n"), "b": File(b"two\n")}
    found = await planned(box, name, tree)
    index = await box.run(f"tr '\\0' '\\n' <.sandbox-sync/index.$(stat -c %d.%i {name})")

    assert ran.outcome == ("EXIT", 0)
    assert found.kinds == {}
    for content in (b"one\n", b"two\n"):
        assert hashlib.sha256(content).hexdigest() in index.text


async def test_twenty_thousand_entries_are_compared(box, root):
    """More than a message holds, in both directions."""
    await box.run(
        f"mkdir -p {root}; cd {root}; for d in {{0..99}}; do mkdir $d; for f in {{0..49}}; do "
        "echo $f > $d/$f; done; done"
    )
    folders = [entry(f"{d}", FOLDER) for d in range(100)]
    files = [
        entry(f"{d}/{f}", FILE, size=len(f"{f}\n"), sha256=hashlib.sha256(b"%d\n" % f).digest())
        for d in range(50)
        for f in range(50)
    ]
    missing = [entry(f"m/{n}", LINK, sha256=bytes(32)) for n in range(17_500)]
    found = await planned(box, root, [*files, *folders, *missing])
    kinds = list(found.kinds.values())

    assert found.summary.equal == 2500 + 100
    assert kinds.count("EXTRA") == found.summary.extra == 2500
    assert kinds.count("MISSING") == found.summary.missing == 17_500
    assert len(found.differences) == 20_000
