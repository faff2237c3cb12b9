"""What a sync sees of a folder."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from sandbox_service.client import tree as tree_module
from sandbox_service.client.digest import root_digest
from sandbox_service.client.hashes import HashCache, hash_files
from sandbox_service.client.ignores import Ignores
from sandbox_service.client.tree import Tree, TreeError, walk
from tests.support import trees


def seen(folder: Path, *excludes: str, gitignore: bool = True) -> Tree:
    return walk(folder, Ignores(excludes), gitignore=gitignore)


def test_files_folders_and_links_are_seen_with_their_modes(tmp_path):
    """Names that nobody likes are names as others."""
    for name in ("-rf", "a b", "l\ni", "é", "deep/er/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o640)
    (tmp_path / "empty").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to("deep//er/./x")
    tree = seen(tmp_path)

    assert set(tree.files) == {"-rf", "a b", "l\ni", "é", "deep/er/x"}
    assert {it.mode for it in tree.files.values()} == {0o640}
    assert set(tree.folders) == {"deep", "deep/er", "empty"}
    assert tree.folders["empty"] == 0o750
    assert tree.links == {"link": "deep//er/./x"}
    assert tree.left_out == {}


def test_the_owner_can_always_read_what_is_synced(tmp_path):
    """The sandbox has to verify it; bits beyond permissions go nowhere."""
    (tmp_path / "f").touch()
    (tmp_path / "f").chmod(0o4031)
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(0o1700)
    tree = seen(tmp_path)

    assert tree.files["f"].mode == 0o431
    assert tree.folders["d"] == 0o700


@pytest.mark.parametrize(
    ("at", "target", "fits"),
    [
        ("l", "a", True),
        ("d/l", "../a", True),
        ("d/l", "..", True),
        ("l", ".", True),
        ("l", "/etc/passwd", False),
        ("l", "../x", False),
        ("d/l", "../../x", False),
        ("d/l", "a/../b", False),
    ],
)
def test_a_link_that_might_leave_the_folder_is_left_out(tmp_path, at, target, fits):
    """The service refuses it, and with it all the rest."""
    (tmp_path / "d").mkdir()
    (tmp_path / at).symlink_to(target)
    tree = seen(tmp_path)

    assert (tree.links == {at: target}) is fits
    assert (at in tree.left_out) is not fits


def test_what_cannot_be_synced_is_told_and_not_touched_there(tmp_path):
    """It may mean something in the sandbox too."""
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "run/app.sock"))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / ".sandbox-sync").mkdir()
    (tmp_path / os.fsdecode(b"not-\xff-utf8")).touch()
    tree = seen(tmp_path)

    assert set(tree.left_out) == {"run/app.sock", "pipe", ".sandbox-sync", "not-\udcff-utf8"}
    assert not tree.files
    assert tree.keeps("run/app.sock", folder=False)
    assert tree.keeps("pipe/below", folder=False)
    assert not tree.keeps("run", folder=True)


def test_every_gitignore_is_heeded_the_repositorys_above_too(tmp_path):
    """As git would: whoever syncs a part of a repository has rules above it."""
    project = tmp_path / "repository" / "project"
    (project / "sub").mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("*.txt\n")
    (project.parent / ".git").mkdir()
    (project.parent / ".gitignore").write_text("*.log\n/project/dist\n")
    (project / ".gitignore").write_text("secret\n")
    (project / "sub/.gitignore").write_text("!secret\n")
    for name in ("a.log", "dist", "secret", "sub/secret", "a.txt"):
        (project / name).touch()
    tree = seen(project)

    assert set(tree.files) == {".gitignore", "sub/.gitignore", "sub/secret", "a.txt"}
    assert set(seen(project, gitignore=False).files) > {"a.log", "dist", "secret"}


def test_the_callers_patterns_win(tmp_path):
    """And need no file."""
    (tmp_path / ".gitignore").write_text("!*.bin\n")
    for name in ("a.bin", "b"):
        (tmp_path / name).touch()

    assert set(seen(tmp_path, "*.bin").files) == {".gitignore", "b"}


def test_a_folder_that_is_left_out_is_not_entered(tmp_path):
    """A `.gitignore` in it would be somebody else's."""
    (tmp_path / "node_modules/x").mkdir(parents=True)
    (tmp_path / "node_modules/.gitignore").write_text("!*\n")
    (tmp_path / ".gitignore").write_text("node_modules/\n")

    assert set(seen(tmp_path).folders) == set()


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder_is_refused(tmp_path, name):
    """Before anything is asked of the service."""
    (tmp_path / "file").touch()

    with pytest.raises(TreeError):
        seen(tmp_path / name)


def test_a_folder_that_cannot_be_listed_is_left_out_with_all_that_may_be_in_it(
    tmp_path, monkeypatch
):
    """Else what the sandbox has of it would be deleted."""
    (tmp_path / "locked/deep").mkdir(parents=True)
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/locked"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    tree = seen(tmp_path)

    assert tree.left_out == {"locked": "cannot be listed: Permission denied"}
    assert tree.folders == {}
    assert tree.keeps("locked/deep/x", folder=False)


def test_the_digest_is_the_one_of_the_contract(tmp_path):
    """Computed by two programs that share nothing."""
    tree = {
        "a": trees.File(b"1", 0o755),
        "d/é\n": trees.File(b"2", 0o644),
        "d/empty": trees.Folder(0o700),
        "l": trees.Link("d/é\n"),
    }
    for path, entry in tree.items():
        (tmp_path / path).parent.mkdir(exist_ok=True, mode=0o755)
        match entry:
            case trees.File(content, mode):
                (tmp_path / path).write_bytes(content)
                (tmp_path / path).chmod(mode)
            case trees.Folder(mode):
                (tmp_path / path).mkdir(mode=mode)
            case trees.Link(target):
                (tmp_path / path).symlink_to(target)
    found = seen(tmp_path)
    hash_files(found, HashCache(None))

    assert root_digest(found) == trees.digest(tree)


def test_a_root_that_goes_meanwhile_is_no_empty_one(tmp_path, monkeypatch):
    """A mirror of it would delete everything."""
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setattr(tree_module, "_read_above", lambda folder, ignores: folder.rmdir())
    with pytest.raises(TreeError, match="root"):
        seen(root)


def test_a_folder_that_becomes_a_file_meanwhile_is_not_left_out(tmp_path, monkeypatch):
    """It has changed like others: the next look finds what it is."""
    (tmp_path / "it").mkdir()
    scandir = os.scandir

    def replaced(path):
        if str(path).endswith("/it"):
            (tmp_path / "it").rmdir()
            (tmp_path / "it").touch()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", replaced)

    assert seen(tmp_path).left_out == {}
