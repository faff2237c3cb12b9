"""What a sync keeps of what is there, and what it does not begin: the script, run by bash."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox_service.domain.errors import InvalidPathError
from sandbox_service.domain.exec_errors import ExecIdReusedError
from sandbox_service.domain.files import (
    SyncData,
    SyncDirectory,
    SyncFile,
    SyncHeader,
    SyncMode,
    SyncPart,
    SyncReceipt,
)
from tests.integration.bash_sandbox import record
from tests.integration.sync_home import Home, Tree, digest, found, sent, stream


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
    path = "/".join(["n" * 198] * 20)
    deep = "/".join(["d" * 200] * 2)

    with pytest.raises(InvalidPathError) as caught:
        await home.send({path: (0o644, b"a"), "b": (0o644, b"b")}, root=deep)
    assert caught.value.metadata["path"] == path
    assert not (home.path / "d").exists()

    await home.send({path: (0o644, b"a")})
    receipt = await home.send({path: (0o644, b"b")})

    assert receipt.modified == (path,)
    assert await home.clean()
