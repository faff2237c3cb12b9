"""The hashes of files, and what is kept of them."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from sandbox_service.client import hashes
from sandbox_service.client.hashes import SETTLED_NS, HashCache, hash_files
from sandbox_service.client.ignores import Ignores
from sandbox_service.client.tree import StoppedError, Tree, TreeError, walk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of more files than one thread takes."""
    root = tmp_path / "folder"
    for number in range(200):
        path = root / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * number)
    return root


@pytest.fixture
def settled(monkeypatch):
    """A clock that is well past the time at which the files were written."""
    now = time.time_ns() + 10 * SETTLED_NS
    monkeypatch.setattr(hashes.time, "time_ns", lambda: now)


@pytest.fixture
def cache_file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "one"


def looked(folder: Path, cache: HashCache, **how) -> Tree:
    tree = walk(folder, Ignores())
    hash_files(tree, cache, **how)
    return tree


def true_hashes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def found(tree: Tree) -> dict[str, bytes]:
    return {path: file.sha256 for path, file in tree.files.items()}


def opened(monkeypatch) -> list[str]:
    """Return the files that are read from now on."""
    paths: list[str] = []
    real = os.open

    def spy(path, flags, *rest, **named):
        if flags == hashes.FLAGS:
            paths.append(Path(path).name)
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(hashes.os, "open", spy)
    return paths


def test_every_file_is_hashed_and_counted(folder):
    """By several threads; none is lost between them."""
    told: list[tuple[int, int]] = []
    tree = looked(folder, HashCache(None), on_hashed=lambda *done: told.append(done))

    assert found(tree) == true_hashes(folder)
    assert sum(files for files, _ in told) == 200
    assert sum(size for _, size in told) == sum(it.stamp.size for it in tree.files.values())


@pytest.mark.usefixtures("settled")
def test_what_did_not_change_is_not_read_again(folder, cache_file, monkeypatch):
    """Also by another run: the hashes are kept."""
    looked(folder, HashCache(cache_file))
    (folder / "d1/f1").write_bytes(b"edited")
    read = opened(monkeypatch)
    tree = looked(folder, HashCache(cache_file))

    assert read == ["f1"]
    assert found(tree) == true_hashes(folder)


@pytest.mark.usefixtures("settled")
def test_an_edit_that_keeps_size_and_time_is_seen(folder, cache_file):
    """A program can set a file's time back, but not when it was last changed."""
    path = folder / "d1/f1"
    looked(folder, HashCache(cache_file))
    before = path.stat()
    path.write_bytes(b"9" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert found(looked(folder, HashCache(cache_file))) == true_hashes(folder)


def test_a_file_that_was_just_written_is_read_again(folder, cache_file, monkeypatch):
    """A second write within one tick of the clock would show in none of its times."""
    monkeypatch.setattr(hashes, "SETTLED_NS", 10**15)  # However slow this machine is just now.
    looked(folder, HashCache(cache_file))
    read = opened(monkeypatch)
    looked(folder, HashCache(cache_file))

    assert len(read) == 200


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:40] + bytes((content[40] ^ 1,)) + content[41:],
        lambda content: b"another version\n" + content,
        lambda content: os.urandom(500),
    ],
)
def test_a_damaged_cache_is_none(folder, cache_file, damage):
    """A wrong hash would leave the sandbox with an old file."""
    looked(folder, HashCache(cache_file))
    cache_file.write_bytes(damage(cache_file.read_bytes()))

    assert found(looked(folder, HashCache(cache_file))) == true_hashes(folder)
    assert len(HashCache(cache_file).load()) == 200


@pytest.mark.usefixtures("settled")
def test_a_cache_that_cannot_be_written_is_no_error(folder, cache_file):
    """A full disk or a strange home must not keep anybody from syncing."""
    cache_file.parent.write_text("in the way")

    assert found(looked(folder, HashCache(cache_file))) == true_hashes(folder)


@pytest.mark.usefixtures("settled")
def test_a_cache_keeps_no_file_that_is_gone_and_few_folders(folder, cache_file):
    """It is bounded by what there is."""
    looked(folder, HashCache(cache_file))
    (folder / "d1/f1").unlink()
    looked(folder, HashCache(cache_file))
    kept = len(HashCache(cache_file).load())
    for number in range(70):
        looked(folder / "d1", HashCache(cache_file.with_name(f"other-{number}")))

    assert kept == 199
    assert len(list(cache_file.parent.iterdir())) == 64


def test_the_cache_lies_where_the_users_caches_lie(tmp_path, monkeypatch):
    """And has a file for each folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    files = [HashCache.of_user(Path(name))._file for name in ("/a", "/b", "/a")]
    monkeypatch.setenv("XDG_CACHE_HOME", "relative, which does not count")
    monkeypatch.setenv("HOME", "/nobody")

    assert files[0] == files[2] != files[1]
    assert files[0].parent == tmp_path / "sandbox-service/hashes"
    assert HashCache.of_user(Path("/a"))._file.parent == Path(
        "/nobody/.cache/sandbox-service/hashes"
    )


def rewritten(monkeypatch, path: Path, times: int) -> None:
    """Have a file written again while it is read, this often."""
    real = os.readv
    left = [times]

    def readv(handle, buffers):
        count = real(handle, buffers)
        if count and left[0] and os.path.samestat(os.fstat(handle), path.stat()):
            left[0] -= 1
            path.write_bytes(b"again %d" % left[0])
            os.utime(path, ns=(left[0], left[0]))
        return count

    monkeypatch.setattr(hashes.os, "readv", readv)


def test_a_file_that_is_written_while_it_is_read_is_read_again(folder, monkeypatch):
    """A hash of two halves would be of a file that never was."""
    rewritten(monkeypatch, folder / "d1/f1", times=1)
    tree = looked(folder, HashCache(None))

    assert found(tree) == true_hashes(folder)
    assert tree.files["d1/f1"].stamp.size == len(b"again 0")


def test_a_file_that_is_written_all_the_time_is_refused(folder, monkeypatch):
    """And named, so that it can be excluded."""
    rewritten(monkeypatch, folder / "d1/f1", times=100)

    with pytest.raises(TreeError, match="d1/f1"):
        looked(folder, HashCache(None))


def test_what_vanished_is_gone_and_what_cannot_be_read_is_left_out(folder):
    """Between the look and the hash anything can happen."""
    tree = walk(folder, Ignores())
    (folder / "d1/f1").unlink()
    (folder / "d2/f2").unlink()
    (folder / "d2/f2").symlink_to("/etc/passwd")
    (folder / "d3/f3").unlink()
    os.mkfifo(folder / "d3/f3")
    hash_files(tree, HashCache(None))

    assert not {"d1/f1", "d2/f2", "d3/f3"} & tree.files.keys()
    assert set(tree.left_out) == {"d2/f2", "d3/f3"}


def test_hashing_ends_once_nobody_waits_for_it(folder):
    """In the middle of a file: one of many gigabytes would keep a program from ending."""
    stop = threading.Event()
    with (folder / "large").open("wb") as large:
        large.truncate(2**36)
    tree = walk(folder, Ignores(), stop=stop)
    threading.Timer(0.1, stop.set).start()

    with pytest.raises(StoppedError):
        hash_files(tree, HashCache(None), stop=stop)
    with pytest.raises(StoppedError):
        walk(folder, Ignores(), stop=stop)
