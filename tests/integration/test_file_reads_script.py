"""The scripts that read, on this machine: other users, odd places, and no room on the disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox_service.domain.errors import (
    FileNotAccessibleError,
    FileNotFoundInSandboxError,
    InvalidPathError,
    NotAFileError,
)
from sandbox_service.domain.exec_errors import PositionOutOfRangeError
from sandbox_service.domain.file_errors import FileChangedError
from sandbox_service.domain.file_reads import FileRange, FolderQuery, TreeQuery, TreeSummary
from sandbox_service.domain.files import SyncData, SyncDirectory, SyncFile, SyncLink
from sandbox_service.operations.file_reads import FileReads
from tests.integration.bash_sandbox import BashSandbox, record
from tests.integration.sync_home import Tree, digest, found
from tests.support.calls import until

NOBODY = 65534

names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..", ".sandbox-sync"))
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=4).map("/".join),
    st.one_of(
        st.tuples(st.sampled_from([0o644, 0o600, 0o755, 0o4711]), st.binary(max_size=3000)),
        st.sampled_from([0o755, 0o700, 0o1777, 0o2755]),
        names,
    ),
    max_size=12,
)


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir()
    return path


async def read(sandbox, path, **which):
    what = FileRange(path=str(path), **which)
    parts = [it async for it in FileReads(sandbox).read(record(), what)]
    return parts[0], b"".join(parts[1:-1])


async def listed(sandbox, path, depth=256, page_size=1000):
    files, token = [], ""
    while True:
        query = FolderQuery(path=str(path), depth=depth, page_size=page_size, page_token=token)
        page = await FileReads(sandbox).list(record(), query)
        files += page.files
        token = page.next_page_token
        if not token:
            return files


async def download(sandbox, root, **query) -> tuple[Tree, TreeSummary]:
    tree: Tree = {}
    last = ""
    async for part in FileReads(sandbox).download(record(), TreeQuery(root=str(root), **query)):
        match part:
            case SyncFile(path=last, mode=mode):
                tree[last] = (mode, b"")
            case SyncData(data):
                mode, content = tree[last]
                tree[last] = (mode, content + data)
            case SyncLink(path, target):
                tree[path] = target
            case SyncDirectory(path, mode):
                tree[path] = mode
            case TreeSummary():
                return tree, part
    raise AssertionError("no summary")


def make(root: Path, tree: Tree) -> None:
    """Make what can be made of a tree: a file in another one's way is left out."""
    root.mkdir()
    for path, entry in tree.items():
        here = root / path
        try:
            here.parent.mkdir(parents=True, exist_ok=True)
            match entry:
                case str():
                    here.symlink_to(entry)
                case int():
                    here.mkdir()
                    here.chmod(entry)
                case mode, content:
                    with here.open("xb") as file:
                        file.write(content)
                    here.chmod(mode)
        except (FileExistsError, NotADirectoryError, FileNotFoundError):
            continue


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=trees, page_size=st.integers(1, 20))
async def test_any_tree_comes_out_as_it_is(tmp_path_factory, tree, page_size):
    """Content, modes up to the sticky bit, links, names; and the list names the same."""
    home = tmp_path_factory.mktemp("home")
    make(home / "root", tree)
    there = found(home / "root")
    sandbox = BashSandbox(home)
    got, summary = await download(sandbox, "root")
    files = await listed(sandbox, "root", page_size=page_size)

    assert got == there
    assert summary.root_digest == digest(there)
    paths = [it.path.removeprefix(f"{home}/root/") for it in files]
    assert paths == sorted(there, key=str.encode)
    assert {path: it.link_target or it.mode for path, it in zip(paths, files, strict=True)} == {
        path: it[0] if isinstance(it, tuple) else it for path, it in there.items()
    }


async def test_names_that_tar_reads_as_something_else_come_out(home):
    """Backslashes, above all; a folder that is missing would not be missed by its hash."""
    tree: Tree = {
        name: entry
        for at, entry in enumerate([(0o644, b"x"), 0o755, "target"])
        for name in (f"{at}\\n", f"{at}\\", f"{at}[a]*?", f"-{at}", f"{at}\n", f"{at}\\101")
    }
    make(home / "root", tree)
    assert (await download(BashSandbox(home), "root"))[0] == tree


async def test_paths_that_are_too_long_are_counted_and_nothing_else_is_missing(home):
    """A program that goes from folder to folder makes paths that the kernel takes from nobody."""
    (home / "root").mkdir()
    here = os.open(home / "root", os.O_RDONLY)
    for _ in range(18):
        os.mkdir("n" * 250, dir_fd=here)
        below = os.open("n" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    got, summary = await download(BashSandbox(home), "root")
    names = await listed(BashSandbox(home), "root", page_size=3)
    shutil.rmtree(home / "root")

    assert (len(got), summary.skipped) == (16, 2)
    assert [it.path.removeprefix(f"{home}/root/") for it in names] == list(got)


async def test_a_tree_with_a_log_that_grows_all_the_time_comes_out(home):
    """As it does while an app runs; the log as it was when it was opened."""
    make(home / "root", {"a": (0o644, b"x"), "logs/app.log": (0o640, b""), "z": "a"})
    log = home / "root/logs/app.log"
    with log.open("wb") as out:
        writer = await asyncio.create_subprocess_exec(
            "bash", "-c", "for ((i = 0; ; i++)); do echo $i; sleep 0.004; done", stdout=out
        )
    try:
        await until(lambda: log.stat().st_size > 100)
        # A writer that sleeps may wake just between: then it is told, and begun again.
        trees = []
        while len(trees) < 3:
            with suppress(FileChangedError):
                trees.append(await download(BashSandbox(home), "root"))
    finally:
        writer.kill()
        await writer.wait()
    for tree, summary in trees:
        mode, content = tree["logs/app.log"]
        lines = content.split(b"\n")

        assert set(tree) == {"a", "logs", "logs/app.log", "z"}
        assert mode == 0o640
        assert lines[:-1] == [b"%d" % n for n in range(len(lines) - 1)]
        assert summary.root_digest == digest(tree)


async def test_a_root_may_have_any_name(home):
    """Line breaks at its end, what looks like an option, what a shell would expand."""
    for name in ("a\n", "-rf", "$(x)", "*", " ", "'\"", "\\"):
        (home / name).mkdir()
        (home / name / "f\n").write_bytes(b"x")
        sandbox = BashSandbox(home)

        assert (await download(sandbox, name))[0] == {"f\n": (0o644, b"x")}
        assert [it.path for it in await listed(sandbox, name)] == [f"{home}/{name}/f\n"]
        info, data = await read(sandbox, f"{name}/f\n")
        assert (info.path, data) == (f"{home}/{name}/f\n", b"x")


async def test_links_lead_to_where_things_are(home):
    """Answers name the real place, whatever way led there."""
    (home / "real" / "in").mkdir(parents=True)
    (home / "real/in/f").write_bytes(b"x")
    (home / "door").symlink_to("real/in")
    sandbox = BashSandbox(home)

    assert (await read(sandbox, "door/f"))[0].path == f"{home}/real/in/f"
    assert [it.path for it in await listed(sandbox, "door")] == [f"{home}/real/in/f"]
    assert (await download(sandbox, "door"))[0] == {"f": (0o644, b"x")}


async def test_reading_works_where_nothing_can_be_written(home):
    """A full disk is when people want their files out."""
    make(home / "root", {"a/b": (0o644, b"x" * 5000), "c": (0o600, b"")})
    sandbox = BashSandbox(home, wrap=("prlimit", "--fsize=0"))

    assert (await download(sandbox, "root", excludes=("*.pyc",)))[1].entries == 3
    assert (await read(sandbox, "root/a/b"))[1] == b"x" * 5000
    assert len(await listed(sandbox, "root", page_size=1)) == 3


async def test_what_programs_obey_in_the_environment_changes_nothing(home):
    """Options for tar, above all."""
    make(home / "root", {"a/b": (0o644, b"x"), "c": (0o600, b"")})
    odd = ("env", "TAR_OPTIONS=--exclude=c", "LC_ALL=tr_TR.UTF-8", "POSIXLY_CORRECT=1")
    got, _ = await download(BashSandbox(home, wrap=odd), "root")

    assert set(got) == {"a", "a/b", "c"}


async def test_a_range_of_a_file_that_comes_in_small_pieces_is_whole(home):
    """The kernel's own files give some kilobytes at a time, however much is asked for."""
    _, data = await read(BashSandbox(home), "/proc/kallsyms", length=200_000)

    assert len(data) == 200_000


@pytest.mark.parametrize("path", ["/proc/version", "/proc/sys/kernel/ostype"])
async def test_a_file_that_tells_no_size_is_read_from_an_offset_too(home, path):
    """As far as it really goes; what lies behind that is out of range, and told how far."""
    sandbox, content = BashSandbox(home), await asyncio.to_thread(Path(path).read_bytes)
    _, rest = await read(sandbox, path, offset=4)
    _, some = await read(sandbox, path, offset=2, length=3)
    _, none = await read(sandbox, path, offset=len(content))
    with pytest.raises(PositionOutOfRangeError) as refused:
        await read(sandbox, path, offset=len(content) + 1)

    assert (rest, some, none) == (content[4:], content[2:5], b"")
    assert refused.value.metadata["actual"] == str(len(content))


async def test_an_empty_file_has_nothing_behind_its_beginning(home):
    """It tells no size either, and is not taken for one of the kernel's."""
    (home / "empty").touch()
    with pytest.raises(PositionOutOfRangeError):
        await read(BashSandbox(home), "empty", offset=1)

    assert (await read(BashSandbox(home), "empty"))[1] == b""


async def test_pipes_sockets_and_devices_are_never_opened(home):
    """By a link neither."""
    os.mkfifo(home / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home / "socket"))
    (home / "link").symlink_to("pipe")
    sandbox = BashSandbox(home)
    for path in ("pipe", "socket", "link", "/dev/zero", "/dev/tty"):
        with pytest.raises(NotAFileError):
            await read(sandbox, path)

    assert {it.kind.name for it in await listed(sandbox, ".", depth=1)} == {"OTHER", "LINK"}
    assert (await download(sandbox, "."))[1].skipped == 2


@pytest.mark.needs("root")
async def test_another_user_gets_what_that_user_may_read(state_dir):
    """Who reads is who was asked for: what is closed to that user stays closed."""
    home = state_dir / "home"
    make(home, {"mine": (0o600, b"x"), "all": (0o644, b"y"), "shut/in": (0o644, b"z")})
    (home / "shut").chmod(0o700)
    sandbox = BashSandbox(home, uid=NOBODY)

    assert (await read(sandbox, "all"))[1] == b"y"
    for path in ("mine", "shut/in"):
        with pytest.raises(FileNotAccessibleError) as caught:
            await read(sandbox, path)
        assert caught.value.metadata["path"] == f"{home}/{path}"
    with pytest.raises(FileNotAccessibleError):
        await listed(sandbox, "shut")
    names = [it.path.removeprefix(f"{home}/") for it in await listed(sandbox, ".")]
    assert names == ["all", "mine", "shut"]
    for excluded, culprit in (("shut", "mine"), ("mine", "shut")):
        with pytest.raises(FileNotAccessibleError) as caught:
            await download(sandbox, ".", excludes=(excluded,))
        assert caught.value.metadata["path"] == f"{home}/{culprit}"
    assert set((await download(sandbox, ".", excludes=("shut", "mine")))[0]) == {"all"}


async def test_what_is_no_tree_is_refused(home):
    """Each with its reason."""
    (home / "file").touch()
    sandbox = BashSandbox(home)
    with pytest.raises(NotAFileError):
        await download(sandbox, "file")
    with pytest.raises(FileNotFoundInSandboxError):
        await download(sandbox, "none")
    with pytest.raises(InvalidPathError):
        await download(sandbox, "/")
    (home / ".sandbox-sync/x").mkdir(parents=True)
    with pytest.raises(InvalidPathError):
        await download(sandbox, ".sandbox-sync/x")
