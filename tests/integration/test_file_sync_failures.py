"""What a sync leaves when something goes wrong: the script, run by this machine's own bash."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sandbox_service.domain.errors import (
    DiskFullError,
    FileNotAccessibleError,
    NotAFileError,
    SandboxError,
    VerifyFailedError,
)
from sandbox_service.domain.files import (
    SyncData,
    SyncFile,
    SyncHeader,
    SyncMode,
    SyncPart,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.processes import ProcessSpec
from sandbox_service.operations.file_sync import FileSync
from tests.integration.bash_sandbox import BashProcess, BashSandbox, record
from tests.integration.sync_home import (
    Home,
    Tree,
    found,
    names,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


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

    with pytest.raises(VerifyFailedError) as caught:
        await home.send({"a": (0o644, b"content")}, deletes=["z"])

    assert found(home.root) == {"a": (0o644, b"old"), "z": (0o644, b"z")}
    # Where the archive itself is broken, no file is to blame.
    path = "a" if damage == "flip" else "project"
    assert caught.value.metadata == {"sandbox_id": "sandbox-1", "path": path}
    assert await home.clean()


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


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the homes of these tests."""
    here = tmp_path.stat().st_dev
    others = [it for it in ("/dev/shm", "/var/tmp") if Path(it).stat().st_dev != here]
    if not others:
        pytest.skip("there is one file system only")
    with tempfile.TemporaryDirectory(dir=others[0]) as folder:
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


@pytest.mark.parametrize("root", ["file", "file/below", "dangling", "dangling/below"])
async def test_a_root_that_cannot_be_a_folder_is_refused(home: Home, root: str) -> None:
    """A file in its place is not replaced."""
    (home.path / "file").write_bytes(b"kept")
    (home.path / "dangling").symlink_to("nowhere")

    with pytest.raises(NotAFileError) as caught:
        await home.send({"a": (0o644, b"a")}, root=root)

    kind = "file" if root.startswith("file") else "link"
    assert caught.value.metadata["actual"] == kind
    assert (home.path / "file").read_bytes() == b"kept"
    assert not (home.path / "nowhere").exists()
    assert await home.clean()


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
    assert found(home.root) == tree


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
        with pytest.raises(FileNotAccessibleError):
            await nobody.send({"a": (0o644, b"a")}, root=str(root))
    receipt = await nobody.send({"a": (0o644, b"a")})

    assert found(theirs) == {"sub": 0o755}
    assert receipt.user == pwd.getpwuid(65534).pw_name
    assert (nobody.root / "a").stat().st_uid == 65534
    assert await nobody.clean()
