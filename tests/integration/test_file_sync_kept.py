"""What a sync keeps of what is there, and what it does not begin: the script, run by bash."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_service.domain.errors import (
    InvalidPathError,
    NotAFileError,
    RootDigestMismatchError,
    SyncIdReusedError,
)
from sandbox_service.domain.exec_errors import ExecIdReusedError
from sandbox_service.domain.files import (
    SyncData,
    SyncDirectory,
    SyncFile,
    SyncHeader,
    SyncMode,
    SyncPart,
    SyncReceipt,
    SyncVerify,
)
from tests.integration.bash_sandbox import record
from tests.integration.sync_home import Home, Tree, digest, found, names, sent, stream


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize("mode", SyncMode)
async def test_what_is_sent_without_a_mode_keeps_the_one_it_has(home: Home, mode: SyncMode) -> None:
    """Whatever its name; a new one, or one of another kind, gets the usual mode."""
    names = ["run", "l\ni", "a b", "$(id)", "]", "same", "kind", "usual"]
    before: Tree = dict.fromkeys(names, (0o751, b"old")) | {
        "dir/x": (0o600, b"old"),
        "dir": 0o750,
        "setgid": 0o770,
        "kind": "run",
        "usual": (0o644, b"old"),
    }
    await home.send(before)
    (home.root / "setgid").chmod(0o2770)
    same = (home.root / "same").stat()
    content = dict.fromkeys([*names, "dir/x", "fresh/f"], b"new") | {"same": b"old"}
    parts: list[SyncPart] = [SyncDirectory("dir"), SyncDirectory("setgid"), SyncDirectory("made")]
    for path, data in content.items():
        parts += [SyncFile(path=path, size=3), SyncData(data)]

    receipt = await home.send_parts(parts, mode=mode)

    assert found(home.root) == {
        **dict.fromkeys(names, (0o751, b"new")),
        "same": (0o751, b"old"),
        "kind": (0o644, b"new"),
        "usual": (0o644, b"new"),
        "dir": 0o750,
        "dir/x": (0o600, b"new"),
        "setgid": 0o2770,
        "made": 0o755,
        "fresh": 0o755,
        "fresh/f": (0o644, b"new"),
    }
    assert set(receipt.added) == {"made", "fresh/f"}
    assert set(receipt.modified) == content.keys() - {"same", "fresh/f"}
    assert receipt.unchanged == 3
    assert receipt.root_digest == digest(found(home.root))
    after = (home.root / "same").stat()
    assert (after.st_ino, after.st_ctime_ns) == (same.st_ino, same.st_ctime_ns)


async def test_a_sync_that_may_not_change_anything_says_why_or_finds_nothing(home: Home) -> None:
    """What is to follow could not be run, which matters only when something changes."""
    why = ExecIdReusedError("used")

    async def send(content: bytes, root: str = "project") -> SyncReceipt:
        parts = sent({"a": (0o644, content)})
        return await home.sync.sync(record(), SyncHeader(root=root), stream(parts), why)

    await home.send({"a": (0o644, b"a")})
    assert not (await send(b"a")).changed
    for content, root in ((b"b", "project"), (b"a", "new")):
        with pytest.raises(ExecIdReusedError):
            await send(content, root)

    assert (home.root / "a").read_bytes() == b"a"
    assert not (home.path / "new").exists()
    assert await home.clean()


async def test_a_path_that_is_too_long_below_its_root_is_refused(home: Home) -> None:
    """The kernel takes 4,095 bytes in all, and nothing of the sync is written then."""
    path = "/".join(["n" * 198] * 19)
    deep = "/".join(["d" * 200] * 2)

    with pytest.raises(InvalidPathError) as caught:
        await home.send({path: (0o644, b"a"), "b": (0o644, b"b")}, root=deep)
    assert caught.value.metadata["path"] == path
    assert not (home.path / "d").exists()

    await home.send({path: (0o644, b"a")})
    receipt = await home.send({path: (0o644, b"b")})

    assert receipt.modified == (path,)
    assert await home.clean()


@pytest.mark.parametrize("name", [b"bad\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
async def test_a_mirror_does_not_delete_what_no_caller_can_name(home: Home, name: bytes) -> None:
    """A name that is not UTF-8 is in no tree that was sent, so nobody has said that it may go."""
    await home.send({"a": (0o644, b"a"), "old/é": (0o644, b"x"), "kind": 0o755})
    for folder in (b"", b"old/", b"kind/"):
        (home.root / os.fsdecode(folder + name)).write_bytes(b"kept")

    receipt = await home.send({"a": (0o644, b"a"), "kind": 0o755}, mode=SyncMode.MIRROR)
    with pytest.raises(NotAFileError):
        await home.send({"kind": (0o644, b"a file")}, mode=SyncMode.MIRROR)

    assert receipt.deleted == ("old/é",)
    assert names(home.root) == {"a", "old", "kind", os.fsdecode(name)}
    assert names(home.root / "old") == names(home.root / "kind") == {os.fsdecode(name)}


async def test_receipts_are_bounded(home: Home) -> None:
    """The oldest give way, by number and by size; the newest always stays."""
    receipts = home.path / ".sandbox-sync/receipts"
    receipts.mkdir(parents=True)
    for number in range(4200):
        (receipts / f"{number:04}").touch()
        os.utime(receipts / f"{number:04}", (time.time() - 5000 + number,) * 2)
    await home.send({"a": (0o644, b"a")}, sync_id="1")
    assert await home.clean()
    assert len(names(receipts)) == 4096
    assert "0104" not in names(receipts)

    with (receipts / "4199").open("wb") as large:
        large.truncate(64 * 1024 * 1024)
    await home.send({"a": (0o644, b"b")}, sync_id="2")
    assert await home.clean()

    assert len(names(receipts)) < 10
    assert (await home.send({"a": (0o644, b"b")}, sync_id="2")).repeated


async def test_a_receipt_is_the_same_when_it_is_given_again(home: Home) -> None:
    """From the sandbox, to a service that knows nothing of the first call."""
    tree: Tree = {"a": (0o644, b"a"), "l\ni": (0o644, b"b"), "d": 0o700}
    first = await home.send(tree, sync_id="1")
    (home.root / "a").write_bytes(b"theirs")
    again = await Home(home.path).send(tree, sync_id="1")

    assert again.repeated
    # What the port was like then says nothing of now.
    assert replace(again, repeated=False, timings=()) == replace(first, timings=(), listening=None)
    assert (home.root / "a").read_bytes() == b"theirs"
    with pytest.raises(SyncIdReusedError) as caught:
        await home.send({"a": (0o644, b"other")}, sync_id="1")
    assert caught.value.metadata == {"sync_id": "1"}


async def test_a_sync_that_failed_has_no_receipt(home: Home) -> None:
    """Its id may be used again."""
    with pytest.raises(RootDigestMismatchError):
        await home.send({"a": (0o644, b"a")}, sync_id="1", if_root_digest=bytes(32))

    assert not (await home.send({"a": (0o644, b"b")}, sync_id="1")).repeated


@pytest.mark.parametrize("kind", ["link", "folder"])
async def test_what_was_staged_goes_though_the_index_cannot_be_kept(home: Home, kind: str) -> None:
    """A program in the sandbox may have put anything in its place."""
    await home.send({"a": (0o644, b"a")})
    assert await home.clean()
    status = home.root.stat()
    index = home.path / ".sandbox-sync" / f"index.{status.st_dev}.{status.st_ino}"
    index.unlink()
    if kind == "link":
        index.symlink_to("/proc")
    else:
        index.mkdir()

    receipt = await home.send({"a": (0o644, b"b")})

    assert receipt.modified == ("a",)
    assert await home.clean()


async def test_as_many_excludes_as_one_sync_may_have_are_heeded(home: Home) -> None:
    """They travel as arguments, of which the kernel takes only so many bytes."""
    excludes = tuple(f"{number:03}" + "\xe9" * 96 for number in range(256))
    await home.send({excludes[-1]: (0o644, b"kept"), "b": (0o644, b"b")})

    receipt = await home.send({"a": (0o644, b"a")}, mode=SyncMode.MIRROR, excludes=excludes)

    assert receipt.deleted == ("b",)
    assert (home.root / excludes[-1]).read_bytes() == b"kept"


async def test_more_paths_than_a_program_takes_arguments(home: Home) -> None:
    """All are hashed, though those of half of them are more than the kernel's 2 MiB."""
    deep = "/".join(["d" * 250] * 12)
    tree: Tree = {f"{deep}/{each}": (0o644, b"%d" % each) for each in range(1600)}

    receipt = await home.send(tree, verify=SyncVerify.FULL)

    assert receipt.root_digest == digest(found(home.root))
    assert len(found(home.root)) == 1600 + 12
