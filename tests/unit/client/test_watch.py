"""Noticing that a folder has changed."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager

import pytest

from sandbox_service.client import watch
from sandbox_service.client.ignores import Ignores
from sandbox_service.client.tree import walk
from sandbox_service.client.watch import Watcher


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").write_text("1")
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n")
    return tmp_path


@pytest.fixture
def watcher(folder):
    with Watcher(folder) as watching:
        assert watching.follow(walk(folder, Ignores()))
        yield watching


@asynccontextmanager
async def noticed(watcher):
    """Fail unless a change is noticed that happens within."""
    waiting = asyncio.create_task(watcher.changed())
    yield
    await asyncio.wait_for(waiting, 60)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "src/a").write_text("2"),
        lambda folder: (folder / "src/a").chmod(0o600),
        lambda folder: (folder / "src/a").unlink(),
        lambda folder: (folder / "src/a").rename(folder / "b"),
        lambda folder: (folder / "src/new").mkdir(),
        lambda folder: (folder / "link").symlink_to("src"),
        lambda folder: shutil.rmtree(folder / "src"),
        lambda folder: (folder / ".gitignore").write_text(""),
    ],
)
async def test_every_change_is_noticed(folder, watcher, change):
    """Content, modes, names and links, at any depth."""
    async with noticed(watcher):
        change(folder)


async def test_what_is_left_out_is_not_noticed(folder, watcher):
    """A log that grows must not start a sync each time."""
    (folder / "src/x.log").write_text("1")
    (folder / "build").mkdir()
    (folder / ".git").mkdir()

    assert not watcher._noticed()
    async with noticed(watcher):
        (folder / "src/x").write_text("1")


async def test_folders_that_are_new_or_moved_are_followed(folder, watcher):
    """By where they are now."""
    (folder / "src").rename(folder / "moved")
    (folder / "new").mkdir()
    await watcher.changed()

    assert watcher.follow(walk(folder, Ignores()))
    assert not watcher.follow(walk(folder, Ignores()))
    async with noticed(watcher):
        (folder / "new/x").touch()
    async with noticed(watcher):
        (folder / "moved/a").write_text("2")


async def test_a_folder_that_goes_and_comes_again_is_noticed(folder, watcher):
    """Build tools make theirs anew each time; what was moved away is nobody's business."""
    async with noticed(watcher):
        folder.rename(folder.with_name("old"))
    async with noticed(watcher):
        folder.mkdir()

    assert watcher.follow(walk(folder, Ignores()))
    watcher._noticed()
    (folder.with_name("old") / "src/a").write_text("2")
    assert not watcher._noticed()
    async with noticed(watcher):
        (folder / "new").touch()


async def test_a_link_that_names_another_folder_is_noticed(folder, tmp_path_factory):
    """As a release is switched."""
    above = tmp_path_factory.mktemp("above")
    (above / "current").symlink_to(folder)
    (above / "next").symlink_to(above)
    with Watcher(above / "current") as watcher:
        watcher.follow(walk(above / "current", Ignores()))
        async with noticed(watcher):
            (above / "next").rename(above / "current")


@pytest.mark.parametrize("steps", range(8))
async def test_a_cancel_ends_it_whenever_it_comes(folder, watcher, monkeypatch, steps):
    """Also in the very moment in which another change is noticed."""
    monkeypatch.setattr(watch, "_QUIET_S", 3600.0)
    monkeypatch.setattr(watch, "_UNREST_S_MAX", 3600.0)
    changes = [asyncio.Event() for _ in range(3)]
    asked = iter(changes)
    monkeypatch.setattr(watcher, "_readable", lambda: next(asked).wait())
    (folder / "src/a").write_text("2")
    waiting = asyncio.create_task(watcher.changed())
    for _ in range(8):
        await asyncio.sleep(0)
    changes[0].set()
    for _ in range(steps):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting], timeout=5)

    assert waiting.cancelled()
