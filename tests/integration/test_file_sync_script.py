"""What a sync makes of a root: the script, run by this machine's own bash."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox_service.domain.errors import (
    InvalidPathError,
    NotAFileError,
    RootDigestMismatchError,
)
from sandbox_service.domain.files import (
    SyncData,
    SyncFile,
    SyncMode,
    SyncVerify,
)
from tests.integration.sync_home import (
    Home,
    Tree,
    digest,
    found,
    leaves,
    names,
    parents,
    whole,
)
from tests.unit.operations.exclude_patterns import PATTERNS


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


NAMES = st.sampled_from(["a", "b", "-rf", " x ", "é", "l\ni", "\\", "*", "a b", "$(id)", "'", "#"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FILES = st.tuples(st.sampled_from([0o644, 0o755, 0o400]), st.binary(max_size=8))
TARGETS = st.sampled_from(["a", "b/c", "./a", "a//b", "é", "l\ni", "-rf"])
ENTRIES = FILES | FILES | st.sampled_from([0o755, 0o700, 0o775]) | TARGETS


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    tree: Tree = {}
    for path, entry in draw(st.lists(st.tuples(PATHS, ENTRIES), max_size=8)):
        below_leaf = any(not isinstance(tree.get(parent, 0), int) for parent in parents(path))
        above = any(path in parents(other) for other in tree)
        if path not in tree and not below_leaf and (not above or isinstance(entry, int)):
            tree[path] = entry
    return tree


def scribble(root: Path, tree: Tree) -> None:
    """Change a file, if there is one, behind the sync's back: same size, same mtime."""
    for path, entry in sorted(tree.items()):
        if isinstance(entry, tuple) and entry[1]:
            file = root / path
            times = file.stat()
            file.chmod(0o600)
            file.write_bytes(bytes(byte ^ 1 for byte in entry[1]))
            file.chmod(entry[0])
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
            return


EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@EXAMPLES
@given(st.lists(trees(), min_size=2, max_size=3), st.sampled_from(SyncVerify))
def test_a_mirrored_root_is_the_tree_that_was_sent_after_any_edits(
    versions: list[Tree], verify: SyncVerify
) -> None:
    """Content, modes, links, absence, the receipt and the digest are all exact."""

    async def run(home: Home) -> None:
        before: Tree = {}
        for tree in versions:
            scribble(home.root, before)
            before = found(home.root)
            receipt = await home.send(tree, mode=SyncMode.MIRROR, verify=verify)
            after = found(home.root)

            assert after == whole(tree, before)
            assert receipt.root_digest == digest(after)
            there = tree.keys() & before.keys()
            changed = {path for path in there if before[path] != tree[path]}
            written = (tree[path] for path in {*receipt.added, *changed})
            # A file that gave way to a folder which nobody named is gone.
            gone = {path for path in leaves(before) if path in after and path not in tree}
            assert set(receipt.added) == tree.keys() - before.keys()
            assert set(receipt.deleted) == before.keys() - after.keys() | gone
            assert set(receipt.modified) == changed
            assert receipt.unchanged == len(there) - len(changed)
            assert receipt.written_bytes == sum(len(it[1]) for it in written if type(it) is tuple)
            before = after
        assert await home.clean()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Home(Path(folder))))


@EXAMPLES
@given(st.lists(trees(), min_size=2, max_size=3))
def test_patches_with_the_differences_make_the_same_tree(versions: list[Tree]) -> None:
    """A client that sends only what it changed ends with what it has."""

    async def run(home: Home) -> None:
        before: Tree = {}
        for tree in versions:
            target = whole(tree, before)
            different = {p: e for p, e in tree.items() if before.get(p) != e}
            other_kind = {
                path
                for path in before.keys() & target.keys()
                if isinstance(before[path], int) != isinstance(target[path], int)
            }
            receipt = await home.send(different, deletes=before.keys() - target.keys() | other_kind)
            after = found(home.root)

            assert after == whole(tree, before)
            assert receipt.root_digest == digest(after)
            before = after
        assert await home.clean()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Home(Path(folder))))


async def test_a_link_out_of_the_root_is_no_way_out(home: Home) -> None:
    """What is written below such a link would land outside; it is refused, in both modes."""
    outside = home.path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    await home.send({"a": (0o644, b"a")})
    (home.root / "out").symlink_to("../outside")

    for mode in SyncMode:
        with pytest.raises(InvalidPathError) as caught:
            await home.send({"a": (0o644, b"new"), "out/new": (0o644, b"x")}, mode=mode)
        assert caught.value.metadata["path"] == "out"
        await home.send({}, deletes=["out/kept"])
    assert found(outside) == {"kept": (0o644, b"kept")}
    assert (home.root / "a").read_bytes() == b"a"

    await home.send({"out/new": (0o644, b"x")}, deletes=["out"])

    assert found(outside) == {"kept": (0o644, b"kept")}
    assert found(home.root / "out") == {"new": (0o644, b"x")}
    assert await home.clean()


@pytest.mark.parametrize(
    ("before", "patch"),
    [
        ({"a/b": (0o644, b"b")}, {"a": (0o644, b"a")}),
        ({"a/b": (0o644, b"b")}, {"a": "b"}),
        ({"a": (0o644, b"a")}, {"a/b": (0o644, b"b")}),
        ({"a": (0o644, b"a")}, {"a": 0o755}),
        ({"a": "b", "b/c": (0o644, b"c")}, {"a/c": (0o644, b"new")}),
    ],
    ids=["folder-to-file", "folder-to-link", "file-to-folder", "file-to-empty", "link-to-folder"],
)
async def test_a_patch_turns_a_folder_into_no_file_nor_back_unless_told(
    home: Home, before: Tree, patch: Tree
) -> None:
    """A patch deletes only what it names."""
    await home.send(before)

    with pytest.raises(NotAFileError, match="'a'"):
        await home.send(patch | {"new": (0o644, b"new")})
    assert found(home.root) == whole(before, {})

    await home.send(patch, deletes=["a"])
    assert found(home.root) == whole(
        {path: entry for path, entry in before.items() if path[0] != "a"} | patch, {}
    )


async def test_a_mirror_spares_what_is_excluded(home: Home) -> None:
    """Dependencies that were installed inside survive, and are no part of the digest."""
    await home.send({"app/main.py": (0o644, b"1"), "app/old/x": (0o644, b"x")})
    for path in ["node_modules/p/index.js", "app/node_modules/q", "app/a.log", "app/old/b.log"]:
        (home.root / path).parent.mkdir(parents=True, exist_ok=True)
        (home.root / path).write_bytes(path.encode())

    receipt = await home.send(
        {"app/main.py": (0o644, b"2")},
        mode=SyncMode.MIRROR,
        excludes=("node_modules/", "*.log", "# a comment", ""),
    )

    files = {path for path, entry in found(home.root).items() if not isinstance(entry, int)}
    assert files == {
        "node_modules/p/index.js",
        "app/node_modules/q",
        "app/a.log",
        "app/old/b.log",
        "app/main.py",
    }
    assert receipt.deleted == ("app/old/x",)
    assert receipt.root_digest == digest(
        {"app/main.py": (0o644, b"2"), "app": 0o755, "app/old": 0o755}
    )


@pytest.mark.parametrize(("pattern", "path", "folder", "excluded"), PATTERNS)
async def test_a_pattern_means_the_same_in_the_sandbox(
    home: Home, pattern: str, path: str, folder: bool, excluded: bool
) -> None:
    """What may not be sent and what is not deleted are one and the same."""
    if folder:
        (home.root / path).mkdir(parents=True)
    else:
        (home.root / path).parent.mkdir(parents=True)
        (home.root / path).touch()

    await home.send({}, mode=SyncMode.MIRROR, excludes=(pattern,))

    assert (home.root / path).exists() is excluded


async def test_what_is_excluded_does_not_go_with_a_folder_that_becomes_a_file(home: Home) -> None:
    """Else a mirror would delete what it was asked to spare."""
    await home.send({"a/b": (0o644, b"b"), "a/c.log": (0o644, b"c")})

    with pytest.raises(NotAFileError):
        await home.send({"a": (0o644, b"a")}, mode=SyncMode.MIRROR, excludes=("*.log",))

    assert found(home.root) == {"a": 0o755, "a/b": (0o644, b"b"), "a/c.log": (0o644, b"c")}


async def test_a_tree_that_someone_changed_is_not_written_over(home: Home) -> None:
    """The expected digest is compared before anything is moved or deleted."""
    with pytest.raises(RootDigestMismatchError) as caught:
        await home.send({"a": (0o644, b"a")}, if_root_digest=bytes(32))
    assert caught.value.metadata["root_digest"] == digest({}).hex()
    assert not home.root.exists()

    first = await home.send({"a": (0o644, b"a")}, if_root_digest=digest({}))
    (home.root / "b").write_bytes(b"b")
    with pytest.raises(RootDigestMismatchError) as caught:
        await home.send({}, mode=SyncMode.MIRROR, if_root_digest=first.root_digest)
    assert caught.value.metadata["root_digest"] == digest(found(home.root)).hex()
    assert found(home.root) == {"a": (0o644, b"a"), "b": (0o644, b"b")}

    (home.root / "b").unlink()
    await home.send({}, mode=SyncMode.MIRROR, if_root_digest=first.root_digest)
    assert found(home.root) == {}
    assert await home.clean()


async def test_every_byte_and_odd_sizes_and_names_arrive(home: Home) -> None:
    """Bytes are bytes; a name may be as long as the file system lets it."""
    long = "/".join(["n" * 255, "é" * 127, "d" * 200, "e" * 200, "f" * 99])
    tree: Tree = {
        "every": (0o644, bytes(range(256)) * 5),
        "block": (0o755, bytes(512)),
        "empty": (0o644, b""),
        long: (0o600, b"long"),
        "x" * 100: (0o644, b"exactly a tar name"),
        "link": "t/" * 60 + "end",
        "empty folder": 0o700,
    }

    receipt = await home.send(tree)

    assert found(home.root) == whole(tree, {})
    assert receipt.root_digest == digest(found(home.root))
    assert set(receipt.added) == tree.keys()
    assert abs(home.root.stat().st_mtime - time.time()) < 60


async def test_files_without_times_are_newer_with_each_sync(home: Home) -> None:
    """Also within a second: a server that reloads looks at nothing else."""
    times = []
    for content in (b"1", b"2", b"3"):
        await home.send_parts([SyncFile(path="a", size=1, mode=0o644), SyncData(content)])
        times.append((home.root / "a").stat().st_mtime_ns)

    assert times[0] < times[1] < times[2]


async def test_modes_never_carry_setuid_and_times_are_exact(home: Home) -> None:
    """A setuid bit is dropped from what is sent, and from what was there."""
    moment = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
    parts = [SyncFile(path="a", size=1, mode=0o4755, mtime=moment), SyncData(b"a")]
    await home.send_parts(parts)
    file = home.root / "a"
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    assert file.stat().st_mtime_ns == 1709209815123456000

    file.chmod(0o6755)
    receipt = await home.send_parts(parts)
    assert stat.S_IMODE(file.stat().st_mode) == 0o755
    assert receipt.modified == ("a",)


async def test_an_unchanged_file_is_not_touched(home: Home) -> None:
    """Programs that watch files see only what changed, also when everything is sent."""
    tree: Tree = {f"d{n % 7}/f{n}": (0o644, b"%d" % n) for n in range(100)}
    await home.send(tree)
    before = {path: (home.root / path).stat() for path in tree}

    receipt = await home.send(tree | {"d1/f1": (0o644, b"new")})

    after = {path: (home.root / path).stat() for path in tree}
    assert receipt.modified == ("d1/f1",)
    assert receipt.unchanged == 99
    del before["d1/f1"]
    assert {path: (s.st_ino, s.st_ctime_ns) for path, s in before.items()} == {
        path: (after[path].st_ino, after[path].st_ctime_ns) for path in before
    }


async def test_the_home_itself_can_be_mirrored(tmp_path: Path) -> None:
    """What the sync keeps for itself in the home is neither listed nor deleted."""
    home = Home(tmp_path)
    (tmp_path / "old").write_bytes(b"old")
    receipt = await home.send({"a": (0o644, b"a")}, root="", mode=SyncMode.MIRROR)

    assert receipt.deleted == ("old",)
    assert receipt.root_digest == digest({"a": (0o644, b"a")})
    assert names(tmp_path) == {"a", ".sandbox-sync"}
    assert await home.clean()


async def test_a_root_by_way_of_a_link_is_the_folder_it_leads_to(home: Home) -> None:
    """The receipt names the real folder."""
    (home.path / "real").mkdir()
    (home.path / "link").symlink_to("real")

    receipt = await home.send({"a": (0o644, b"a")}, root="link")

    assert receipt.root == str(home.path / "real")
    assert found(home.path / "real") == {"a": (0o644, b"a")}


async def test_sockets_and_pipes_are_deleted_by_a_mirror(home: Home) -> None:
    """They have no digest, but a mirror leaves nothing that was not sent."""
    await home.send({"a": (0o644, b"a")})
    os.mkfifo(home.root / "pipe")

    receipt = await home.send({"a": (0o644, b"a")}, mode=SyncMode.MIRROR)

    assert receipt.deleted == ("pipe",)
    assert found(home.root) == {"a": (0o644, b"a")}


async def test_files_that_share_an_inode_are_replaced_one_by_one(home: Home) -> None:
    """Writing to one name of a hard link does not change the other."""
    await home.send({"a": (0o644, b"old"), "c": (0o644, b"c")})
    os.link(home.root / "a", home.root / "b")
    os.link(home.root / "a", home.path / "elsewhere")

    receipt = await home.send({"a": (0o644, b"new")})

    assert found(home.root) == {
        name: (0o644, data) for name, data in {"a": b"new", "b": b"old", "c": b"c"}.items()
    }
    assert (home.path / "elsewhere").read_bytes() == b"old"
    assert receipt.root_digest == digest(found(home.root))


@pytest.mark.parametrize("target", ["b/c", "b", "nowhere"])
async def test_a_link_that_ends_nowhere_gives_way_to_a_folder_in_a_mirror(
    home: Home, target: str
) -> None:
    """Also one that leads into itself, which whoever follows it by name never leaves."""
    await home.send({"a": (0o644, b"a")})
    (home.root / "b").symlink_to(target)

    await home.send({"b/x": (0o644, b"x")}, mode=SyncMode.MIRROR)

    assert found(home.root) == {"b": 0o755, "b/x": (0o644, b"x")}


async def test_a_link_that_ends_nowhere_outside_is_not_replaced_unasked(home: Home) -> None:
    """As one that ends somewhere is not."""
    await home.send({"a": (0o644, b"a")})
    (home.root / "b").symlink_to("../nowhere")

    with pytest.raises(InvalidPathError):
        await home.send({"b/x": (0o644, b"x")}, mode=SyncMode.MIRROR)

    assert (home.root / "b").is_symlink()
