"""The sync client with trees as they are found: installed packages, and a project's history."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from miosa.sandbox import v1 as pb

from sandbox_service.client.sync import FolderSync
from tests.support import folders
from tests.support.folders import described, sandboxed
from tests.support.service import REPOSITORY

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMMITS = int(os.environ.get("TREES_COMMITS", "5"))
"""How many commits are replayed: the last ones; more for a long run."""

COMMITS_MIN = 5
"""A clone with less of a history is replaced by one that is made up."""

PACKAGE_FILES = int(os.environ.get("TREES_PACKAGE_FILES", "1200"))
"""At how many files no further package is taken; more for a long run."""


@pytest.fixture
def syncing(client):
    """As a client that heeds no rules and keeps no hashes."""
    return FolderSync(client.stub, client.metadata, gitignore=False, cached=False)


@pytest_asyncio.fixture(loop_scope="session")
async def mirror(client):
    """A root in a sandbox of the test's own, for these trees are large."""
    box = await client.sandbox()
    return box, pb.SyncFilesHeader(
        sandbox_id=box.sandbox_id,
        root=f"/home/user/real-{secrets.token_hex(4)}",
        mode=pb.SYNC_MODE_MIRROR,
    )


async def test_this_projects_installed_packages_arrive_and_are_kept_up(syncing, mirror, tmp_path):
    """Thousands of files, and after edits all over them only those are sent."""
    box, header = mirror
    packages = tmp_path / "packages"
    install(packages)
    first = await syncing.sync(packages, header)
    found = await sandboxed(box, header.root)

    assert len(first.tree.files) > 1000
    assert found == described(packages)
    assert first.identical is True

    files = sorted(first.tree.files)
    edited = files[:: len(files) // 50]
    for path in edited:
        (packages / path).write_bytes(b"edited\n")
    moved = packages / "moved"
    (packages / files[len(files) // 2]).parent.rename(moved)
    second = await syncing.sync(packages, header)

    assert await sandboxed(box, header.root) == described(packages)
    assert second.identical is True
    assert second.receipt.received_bytes <= sum(
        path.stat().st_size for path in moved.rglob("*") if path.is_file()
    ) + len(edited) * len(b"edited\n")
    assert (await syncing.sync(packages, header)).receipt is None


def install(packages: Path) -> None:
    """Copy packages of this environment, but for libraries that are most of their bytes."""
    packages.mkdir()
    count = 0
    for source in sorted(Path(sysconfig.get_paths()["purelib"]).iterdir()):
        if source.is_dir() and source.name != "__pycache__" and count < PACKAGE_FILES:
            target = packages / source.name
            unwanted = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(source, target, symlinks=True, ignore=unwanted)
            count += sum(len(files) for _, _, files in os.walk(target))


async def test_a_history_replayed_commit_by_commit_is_the_same_after_each(
    syncing, mirror, tmp_path, record_property
):
    """What people do to a project, not what a generator thinks of."""
    box, header = mirror
    work = tmp_path / "work"
    whose, history = commits(work)
    record_property("history", whose)
    count = 0
    for _ in history:
        synced = await syncing.sync(work, header)
        count += 1

        assert await sandboxed(box, header.root) == described(work, but=(".git",))
        assert synced.identical is True
    print(f"{count} commits of {whose}")
    assert count >= COMMITS_MIN


def commits(work: Path) -> tuple[str, Iterator[None]]:
    """Return whose history it is, and what makes the folder its commits, one after another."""
    try:
        git("clone", "-q", "--no-checkout", REPOSITORY, work)
        found = git("-C", work, "rev-list", "--reverse", "HEAD").split()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"nobody: made up, for {error}", made_up(work)
    if len(found) < COMMITS_MIN:
        shutil.rmtree(work)
        return f"nobody: made up, for this clone has {len(found)} commits", made_up(work)
    return "this repository", checked_out(work, found[-COMMITS:])


def git(*arguments: str | Path) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def checked_out(work: Path, revisions: list[str]) -> Iterator[None]:
    for revision in revisions:
        git("-C", work, "checkout", "-q", "--force", "--detach", revision)
        yield


def made_up(work: Path) -> Iterator[None]:
    """Edit a folder as a project is edited: some files a time, now and then a folder moved."""
    work.mkdir(exist_ok=True)
    chance = random.Random(7)
    for commit in range(COMMITS):
        there = sorted(path for path in work.rglob("*") if path.is_file())
        for number in range(20 if commit == 0 else 6):
            path = work / f"src/part{chance.randrange(4)}/module{chance.randrange(30)}.py"
            folders.write(path, b"line %d\n" % number * chance.randrange(1, 400), 0o644)
        for path in chance.sample(there, min(2, len(there))):
            folders.delete(path)
        if commit % 4 == 3:
            folders.rename(work / "src/part1", work / f"old/part{commit}")
            folders.link(work / "latest", f"old/part{commit}")
            folders.chmod(work / "src/part2/module1.py", 0o755, 0o755)
        yield


async def test_a_made_up_history_is_the_same_after_each_step_too(syncing, mirror, tmp_path):
    """What the test above falls back to where there is no repository is tried everywhere."""
    box, header = mirror
    for _ in made_up(tmp_path / "work"):
        synced = await syncing.sync(tmp_path / "work", header)

        assert await sandboxed(box, header.root) == described(tmp_path / "work")
        assert synced.identical is True
