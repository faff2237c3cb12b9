"""The sync's script, run by this machine's own bash in a folder."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox_service.domain.errors import (
    ChecksumMismatchError,
    DiskFullError,
    InvalidPathError,
    InvalidRequestError,
    RootDigestMismatchError,
    SandboxError,
)
from sandbox_service.domain.files import (
    SyncData,
    SyncDelete,
    SyncDirectory,
    SyncFile,
    SyncHeader,
    SyncLink,
    SyncMode,
    SyncPart,
    SyncReceipt,
    SyncVerify,
    file_record,
    folder_record,
    link_record,
    root_digest,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.ports import ProcessSpec
from sandbox_service.operations.file_sync import FileSync
from tests.integration.bash_sandbox import BashProcess, BashSandbox, record
from tests.unit.operations.exclude_patterns import PATTERNS

File = tuple[int, bytes]
"""A file's mode and content."""

Entry = File | int | str
"""A file, a folder's mode, or a link's target."""

Tree = dict[str, Entry]
"""Entries by path, folders of entries left out unless they have a mode of their own."""


def sent(tree: Mapping[str, Entry], deletes: Iterable[str] = ()) -> list[SyncPart]:
    """Return the parts that say what a tree is."""
    parts: list[SyncPart] = [SyncDelete(path) for path in deletes]
    for path, entry in tree.items():
        match entry:
            case str():
                parts.append(SyncLink(path, entry))
            case int():
                parts.append(SyncDirectory(path, entry))
            case mode, content:
                sha256 = hashlib.sha256(content).digest()
                parts.append(SyncFile(path=path, size=len(content), mode=mode, sha256=sha256))
                parts += [SyncData(content[:3]), SyncData(content[3:])] if content else []
    return parts


async def stream(parts: Iterable[SyncPart]) -> AsyncIterator[SyncPart]:
    for part in parts:
        yield part


def found(root: Path) -> Tree:
    """Return what is in a folder, every folder with its mode."""
    tree: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            key = str(path.relative_to(root))
            mode = stat.S_IMODE(path.lstat().st_mode)
            if path.is_symlink():
                tree[key] = os.readlink(path)  # noqa: PTH115 - pathlib would tidy the target.
            elif path.is_dir():
                tree[key] = mode
            else:
                tree[key] = (mode, path.read_bytes())
    return tree


def digest(tree: Mapping[str, Entry]) -> bytes:
    """Return the digest that a client would compute of a tree."""
    records = []
    for path, entry in tree.items():
        match entry:
            case str():
                records.append(link_record(path, entry))
            case int():
                records.append(folder_record(path, entry))
            case mode, content:
                records.append(file_record(path, mode, hashlib.sha256(content).digest()))
    return root_digest(records)


def parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def whole(tree: Tree, before: Tree) -> Tree:
    """Return a tree with the folders that its entries imply, as they are after a sync."""
    result = dict(tree)
    for path in tree:
        for parent in parents(path):
            old = before.get(parent)
            result.setdefault(parent, old if isinstance(old, int) else 0o755)
    return result


def leaves(tree: Tree) -> Tree:
    return {path: entry for path, entry in tree.items() if not isinstance(entry, int)}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Home:
    """A home folder to sync into, and the sync."""

    def __init__(self, path: Path, **sandbox: object) -> None:
        self.path = path
        self.root = path / "project"
        self.sandbox = BashSandbox(path, **sandbox)  # type: ignore[arg-type]
        self.sync = FileSync(self.sandbox, Limits())  # type: ignore[arg-type]

    async def send(
        self, tree: Mapping[str, Entry], *, deletes: Iterable[str] = (), **header: object
    ) -> SyncReceipt:
        return await self.send_parts(sent(tree, deletes), **header)

    async def send_parts(self, parts: Iterable[SyncPart], **header: object) -> SyncReceipt:
        asked = SyncHeader(**{"root": "project", **header})  # type: ignore[arg-type]
        return await self.sync.sync(record(), asked, stream(parts))

    async def clean(self) -> bool:
        """Wait until nothing that was staged is left."""
        await self.sync.aclose()
        state = self.path / ".sandbox-sync"
        for _ in range(1000):
            if not list(state.glob("*.tar")) and not list(state.glob("stage/*")):
                return True
            await asyncio.sleep(0.01)
        return False


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
            old, new = leaves(before), leaves(after)
            changed = {path for path in old.keys() & new.keys() if old[path] != new[path]}
            assert set(receipt.added) == new.keys() - old.keys()
            assert set(receipt.deleted) == old.keys() - new.keys()
            assert set(receipt.modified) == changed
            assert receipt.unchanged == len(new) - len(receipt.added) - len(changed)
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
        assert caught.value.metadata == {"path": "out"}
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

    with pytest.raises(InvalidPathError, match="'a'"):
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
    assert receipt.folders_deleted == 0
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

    with pytest.raises(InvalidPathError):
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


class DamagingSandbox(BashSandbox):
    """A sandbox on whose way in something happens to the bytes."""

    def __init__(self, home: Path, damage: str) -> None:
        super().__init__(home)
        self.damage = damage

    async def write_file(
        self, sandbox_id: str, path: str, content: bytes | AsyncIterator[bytes], user: str = ""
    ) -> None:
        await super().write_file(sandbox_id, path, content, user)
        archive = self.home / path
        data = archive.read_bytes()
        if self.damage == "flip":
            archive.write_bytes(data.replace(b"content", b"cOntent", 1))
        elif self.damage == "cut":
            archive.write_bytes(data[: len(data) // 1024 * 512])
        else:
            archive.write_bytes(data.replace(b"t/a\0", b"t/b\0", 1))


@pytest.mark.parametrize("damage", ["flip", "cut", "rename"])
async def test_what_is_damaged_on_its_way_changes_nothing(tmp_path: Path, damage: str) -> None:
    """The hashes are compared inside the sandbox, before the first rename."""
    home = Home(tmp_path)
    await home.send({"a": (0o644, b"old"), "z": (0o644, b"z")})
    home.sync = FileSync(DamagingSandbox(tmp_path, damage), Limits())  # type: ignore[arg-type]

    with pytest.raises(ChecksumMismatchError):
        await home.send({"a": (0o644, b"content")}, deletes=["z"])

    assert found(home.root) == {"a": (0o644, b"old"), "z": (0o644, b"z")}
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
    assert len(receipt.added) == 6


async def test_modes_never_carry_setuid_and_times_are_exact(home: Home) -> None:
    """A setuid bit is dropped from what is sent, and from what was there."""
    time = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
    parts = [SyncFile(path="a", size=1, mode=0o4755, mtime=time), SyncData(b"a")]
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


async def test_a_reader_never_sees_half_a_file(home: Home) -> None:
    """A file that is replaced is the old one or the new one at every moment."""
    versions = [bytes([65 + n]) * 300_000 for n in range(2)]
    await home.send({"dir/file": (0o644, versions[0])})
    done = False

    def read() -> int:
        seen = 0
        while not done:
            assert (home.root / "dir/file").read_bytes() in versions
            seen += 1
        return seen

    reading = asyncio.create_task(asyncio.to_thread(read))
    try:
        for n in range(1, 8):
            await home.send({"dir/file": (0o644, versions[n % 2])})
    finally:
        done = True
    assert await reading > 0


class DyingSandbox(BashSandbox):
    """A sandbox that kills the script some time after its start."""

    delay = 0.0

    async def start(self, sandbox_id: str, spec: ProcessSpec) -> BashProcess:
        process = await super().start(sandbox_id, spec)
        asyncio.get_running_loop().call_later(self.delay, kill_group, process.pid)
        return process


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


async def test_a_sync_that_is_killed_leaves_whole_files_and_the_next_one_heals(
    tmp_path: Path,
) -> None:
    """A crash at any moment leaves the old file or the new one, and nothing staged for ever."""
    home = Home(tmp_path)
    paths = [f"d{n % 20}/f{n}" for n in range(200)]
    await home.send(dict.fromkeys(paths, (0o644, b"old" * 2000)))
    for step in range(12):
        dying = DyingSandbox(tmp_path)
        dying.delay = 0.01 * step
        home.sync, whole_sync = FileSync(dying, Limits()), home.sync  # type: ignore[arg-type]
        new = b"%3d" % step * 2000
        old = {(home.root / path).read_bytes() for path in paths}
        with contextlib.suppress(SandboxError):
            await home.send(dict.fromkeys(paths, (0o644, new)))
        assert {(home.root / path).read_bytes() for path in paths} <= old | {new}
        home.sync = whole_sync

    await home.send(dict.fromkeys(paths, (0o644, b"healed")))

    assert {(home.root / path).read_bytes() for path in paths} == {b"healed"}
    assert await home.clean()


async def test_two_mirrors_at_once_end_as_one_of_them(home: Home) -> None:
    """They are applied one after the other, never interleaved."""
    one: Tree = {f"a{n}": (0o644, b"1") for n in range(60)}
    two: Tree = {f"a{n}": (0o755, b"2") for n in range(30, 90)}
    await asyncio.gather(
        *(home.send(tree, mode=SyncMode.MIRROR) for tree in [one, two] * 3),
    )

    assert found(home.root) in (one, two)


async def test_the_home_itself_can_be_mirrored(tmp_path: Path) -> None:
    """What the sync keeps for itself in the home is neither listed nor deleted."""
    home = Home(tmp_path)
    (tmp_path / "old").write_bytes(b"old")
    receipt = await home.send({"a": (0o644, b"a")}, root="", mode=SyncMode.MIRROR)

    assert receipt.deleted == ("old",)
    assert receipt.root_digest == digest({"a": (0o644, b"a")})
    assert names(tmp_path) == {"a", ".sandbox-sync"}
    assert await home.clean()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the homes of these tests."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        if Path(folder).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("/dev/shm is no file system of its own here")
        yield Path(folder)


@pytest.mark.parametrize("above", [".", "above"])
async def test_a_root_on_another_file_system_is_staged_beside_it(
    home: Home, elsewhere: Path, above: str
) -> None:
    """A rename works on one file system only; nothing is left beside the root."""
    root = elsewhere / above / "root"
    for content in (b"1", b"2"):
        receipt = await home.send({"d/f": (0o644, content), "g": (0o644, b"g")}, root=str(root))
        assert found(root) == {"d": 0o755, "d/f": (0o644, content), "g": (0o644, b"g")}
    assert receipt.root == str(root)
    assert names(root.parent) == {"root"}
    assert names(elsewhere) <= {"root", "above"}


async def test_a_root_by_way_of_a_link_is_the_folder_it_leads_to(home: Home) -> None:
    """The receipt names the real folder."""
    (home.path / "real").mkdir()
    (home.path / "link").symlink_to("real")

    receipt = await home.send({"a": (0o644, b"a")}, root="link")

    assert receipt.root == str(home.path / "real")
    assert found(home.path / "real") == {"a": (0o644, b"a")}


@pytest.mark.parametrize("root", ["file", "file/below", "dangling", "dangling/below"])
async def test_a_root_that_cannot_be_a_folder_is_refused(home: Home, root: str) -> None:
    """A file in its place is not replaced."""
    (home.path / "file").write_bytes(b"kept")
    (home.path / "dangling").symlink_to("nowhere")

    with pytest.raises(InvalidPathError):
        await home.send({"a": (0o644, b"a")}, root=root)

    assert (home.path / "file").read_bytes() == b"kept"
    assert not (home.path / "nowhere").exists()
    assert await home.clean()


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


async def test_a_caller_that_leaves_while_sending_changes_nothing(home: Home) -> None:
    """The archive that was begun is removed."""
    sending = asyncio.Event()

    async def parts() -> AsyncIterator[SyncPart]:
        yield SyncFile(path="a", size=2_000_000)
        yield SyncData(bytes(1_000_000))
        sending.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(home.sync.sync(record(), SyncHeader(root="project"), parts()))
    await sending.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await home.clean()
    assert not home.root.exists()


async def test_a_caller_that_leaves_later_finds_the_receipt(home: Home) -> None:
    """Once all was sent the sync is applied, once."""
    tree: Tree = {"a": (0o644, b"a")}
    started = asyncio.Event()
    start = home.sandbox.start

    async def noting(sandbox_id: str, spec: ProcessSpec) -> BashProcess:
        process = await start(sandbox_id, spec)
        started.set()
        return process

    home.sandbox.start = noting  # type: ignore[method-assign]
    call = asyncio.create_task(home.send(tree, sync_id="1"))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    receipt = await home.send(tree, sync_id="1")

    assert receipt.repeated
    assert receipt.added == ("a",)
    assert len(home.sandbox.commands) == 1


@pytest.fixture
def small_home(tmp_path: Path) -> Iterator[Home]:
    """A home on a file system of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this root may not mount")
    yield Home(tmp_path)
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


async def test_a_full_disk_leaves_the_old_files(small_home: Home) -> None:
    """The staging is what fills it, so nothing has been moved yet; and it is removed."""
    home = small_home
    await home.send({"a": (0o644, b"old")})
    assert await home.clean()

    with pytest.raises(DiskFullError):
        await home.send({"a": (0o644, b"new"), "b": (0o644, bytes(700_000))}, deletes=["a"])

    assert found(home.root) == {"a": (0o644, b"old")}
    assert await home.clean()
    await home.send({"a": (0o644, b"new"), "b": (0o644, bytes(300_000))})


@pytest.fixture
def nobody() -> Iterator[Home]:
    """A home whose owner has no rights beside it."""
    if os.geteuid() != 0:
        pytest.skip("running as somebody else needs root")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        (path / "home").mkdir()
        (path / "theirs/sub").mkdir(parents=True)
        os.chown(path / "home", 65534, 65534)
        yield Home(path / "home", uid=65534)


async def test_a_root_that_the_user_may_not_write_is_refused(nobody: Home) -> None:
    """The service's own failure is not blamed for it."""
    theirs = nobody.path.parent / "theirs"

    for root in (theirs, theirs / "sub/new"):
        with pytest.raises(InvalidRequestError):
            await nobody.send({"a": (0o644, b"a")}, root=str(root))
    receipt = await nobody.send({"a": (0o644, b"a")})

    assert found(theirs) == {"sub": 0o755}
    assert receipt.uid == 65534
    assert (nobody.root / "a").stat().st_uid == 65534
    assert await nobody.clean()
