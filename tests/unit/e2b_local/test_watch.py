"""What a watched folder tells, and what it must never do."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import aclosing
from pathlib import Path

import pytest

from sandbox_service.e2b_local.envd import inotify, watch
from sandbox_service.e2b_local.envd.connect import ConnectError
from sandbox_service.e2b_local.envd.inotify import Notifier
from sandbox_service.e2b_local.envd.watch import Watch
from tests.unit.e2b_local.guest_double import GuestDouble


class Watched:
    """A folder that is watched, and a list of what was told of it."""

    def __init__(self, tmp_path):
        self.guest = GuestDouble(tmp_path)
        self.notifier = Notifier()
        self.folder = tmp_path / "w"
        self.folder.mkdir()
        self.watch = None
        self.told = []
        self.failure = None
        self._task = None

    async def begin(self, *, recursive=False, path="/w"):
        self.watch = Watch(self.guest, self.notifier, path, recursive=recursive)
        await self.watch.open()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self):
        try:
            async with aclosing(self.watch.changes()) as changes:
                async for change in changes:
                    self.told.append(f"{change.kind.name} {change.name}")
        except ConnectError as error:
            self.failure = error
            self.watch.idle.set()

    async def news(self):
        """Everything that was told since the last time."""
        await self.notifier.catch_up()
        if not self._task.done():
            self.watch.rouse()
            async with asyncio.timeout(10):
                await self.watch.idle.wait()
        told, self.told = self.told, []
        return told

    async def end(self):
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self.watch.close()


@pytest.fixture
async def watched(tmp_path):
    watched = Watched(tmp_path)
    yield watched
    await watched.end()


def open_descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_each_thing_that_happens_is_told_in_envds_words(watched):
    """The SDK's users wait for these, in this order."""
    await watched.begin()
    file = watched.folder / "f"
    file.touch()
    file.write_bytes(b"x")
    file.chmod(0o600)
    file.rename(watched.folder / "g")
    (watched.folder / "g").unlink()
    (watched.folder / "sub").mkdir()

    assert await watched.news() == [
        "CREATE f",
        "WRITE f",
        "CHMOD f",
        "RENAME f",
        "CREATE g",
        "REMOVE g",
        "CREATE sub",
    ]


async def test_folders_below_are_not_told_of_unless_that_is_asked_for(watched):
    """A watch of a project's root must not drown in what its tools do."""
    (watched.folder / "sub").mkdir()
    await watched.begin()
    (watched.folder / "sub/f").touch()
    (watched.folder / "new").mkdir()
    await watched.news()
    (watched.folder / "new/f").touch()

    assert await watched.news() == []


async def test_the_end_of_the_folder_itself_is_told(watched):
    """Whoever waits for something in it waits for nothing from here on."""
    await watched.begin()
    watched.folder.rmdir()

    assert await watched.news() == ["REMOVE ."]


async def test_what_a_new_folder_held_before_it_was_watched_is_told(watched):
    """`mkdir -p a/b/c` is over before anybody can watch `a`."""
    await watched.begin(recursive=True)
    (watched.folder / "a/b").mkdir(parents=True)
    (watched.folder / "a/b/f").touch()
    told = await watched.news()
    (watched.folder / "a/b/f").write_bytes(b"x")

    assert told == ["CREATE a", "CREATE a/b", "CREATE a/b/f"]
    assert await watched.news() == ["WRITE a/b/f"]


async def test_a_folder_that_is_renamed_goes_on_under_its_new_name(watched):
    """With all that is below it, and nothing of it is told twice."""
    (watched.folder / "a/b").mkdir(parents=True)
    (watched.folder / "c").mkdir()
    await watched.begin(recursive=True)
    (watched.folder / "a").rename(watched.folder / "c/d")
    told = await watched.news()
    (watched.folder / "c/d/b/f").mkdir()

    assert told == ["RENAME a", "CREATE c/d"]
    assert await watched.news() == ["CREATE c/d/b/f"]


async def test_a_folder_that_was_moved_away_is_watched_no_more(watched, tmp_path, monkeypatch):
    """What happens in it is nobody's business any more, until it is moved back."""
    monkeypatch.setattr(watch, "_RENAME_SECONDS", 0.0)
    (watched.folder / "a/b").mkdir(parents=True)
    await watched.begin(recursive=True)
    (watched.folder / "a").rename(tmp_path / "out")
    told = await watched.news()
    await asyncio.sleep(0)
    (tmp_path / "out/b/f").touch()
    quiet = await watched.news()
    (tmp_path / "out").rename(watched.folder / "back")

    assert told == ["RENAME a"]
    assert quiet == []
    assert await watched.news() == ["CREATE back", "CREATE back/b", "CREATE back/b/f"]


async def test_a_folder_that_comes_back_at_once_is_told_of_anew(watched, tmp_path):
    """Before it was clear that it had left, it is back under another name."""
    (watched.folder / "a").mkdir()
    (watched.folder / "a/f").touch()
    await watched.begin(recursive=True)
    (watched.folder / "a").rename(tmp_path / "out")
    (tmp_path / "out").rename(watched.folder / "b")
    told = await watched.news()
    (watched.folder / "b/g").touch()

    assert told == ["RENAME a", "CREATE b", "CREATE b/f"]
    assert await watched.news() == ["CREATE b/g"]


async def test_links_lead_nowhere(watched, tmp_path):
    """A link in a hostile tree must not lead the server anywhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (watched.folder / "old").symlink_to(outside)
    await watched.begin(recursive=True)
    (watched.folder / "new").symlink_to(outside)
    told = await watched.news()
    (outside / "f").touch()

    assert told == ["CREATE new"]
    assert await watched.news() == []


async def test_a_link_to_the_watched_folder_itself_is_followed(watched, tmp_path):
    """It was asked for by name."""
    (tmp_path / "link").symlink_to("w")
    await watched.begin(path="/link")
    (watched.folder / "f").mkdir()

    assert await watched.news() == ["CREATE f"]


async def test_two_watches_of_one_folder_do_not_disturb_each_other(watched):
    """They share a queue, and for the kernel they are one."""
    other = Watch(watched.guest, watched.notifier, "/w", recursive=True)
    await other.open()
    await watched.begin()
    (watched.folder / "a").mkdir()
    both = await watched.news()
    other.close()
    (watched.folder / "b").mkdir()

    assert both == ["CREATE a"]
    assert await watched.news() == ["CREATE b"]


@pytest.mark.parametrize("lost_by", ["slow reader", "kernel"])
async def test_lost_events_are_told_and_not_passed_over(watched, monkeypatch, lost_by):
    """A list with holes looks like a whole one."""
    await watched.begin()
    if lost_by == "slow reader":
        monkeypatch.setattr(watch, "QUEUE_LIMIT", 2)
    for name in "abcd":
        (watched.folder / name).mkdir()
    if lost_by == "kernel":
        await watched.notifier.catch_up()
        monkeypatch.setattr(inotify.os, "read", overflown(os.read))
        (watched.folder / "e").mkdir()
    told = await watched.news()

    assert watched.failure.code == "resource_exhausted"
    assert told == [f"CREATE {name}" for name in "abcd"][: 2 if lost_by == "slow reader" else 4]


def overflown(read):
    def lose(fd, size):
        read(fd, size)
        return b"\xff\xff\xff\xff" + inotify.flags.Q_OVERFLOW.to_bytes(4, "little") + bytes(8)

    return lose


async def test_too_many_folders_are_refused_at_once_and_later(watched, monkeypatch):
    """Watches are memory of the kernel's that all sandboxes share."""
    monkeypatch.setattr(inotify, "FOLDERS_LIMIT", 3)
    for name in "ab":
        (watched.folder / name).mkdir()
    await watched.begin(recursive=True)
    other = Watch(watched.guest, Notifier(), "/w", recursive=True)
    (watched.folder / "c").mkdir()
    with pytest.raises(ConnectError) as refused:
        await other.open()
    told = await watched.news()

    assert refused.value.code == "resource_exhausted"
    assert watched.failure.code == "resource_exhausted"
    assert told == ["CREATE c"]


async def test_a_tree_that_is_too_deep_is_refused(watched):
    """Every level costs a descriptor while it is walked."""
    before = open_descriptors()
    deep = watched.folder
    for _ in range(120):
        deep /= "d"
    deep.mkdir(parents=True)
    with pytest.raises(ConnectError) as refused:
        await watched.begin(recursive=True)

    assert refused.value.code == "resource_exhausted"
    assert open_descriptors() == before


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC])
async def test_a_host_without_watches_is_told(watched, monkeypatch, number):
    """Nothing is wrong with the request, and later it may work."""

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(inotify, "INotify", refuse)
    with pytest.raises(ConnectError) as refused:
        await watched.begin()

    assert refused.value.code == "resource_exhausted"


async def test_a_watch_leaves_nothing_open(watched):
    """A client that watches and leaves, all day long."""
    (watched.folder / "a/b").mkdir(parents=True)
    before = open_descriptors()
    await watched.begin(recursive=True)
    (watched.folder / "a/c/d").mkdir(parents=True)
    await watched.news()
    assert open_descriptors() == before + 1
    watched.watch.close()

    assert open_descriptors() == before


async def test_a_new_folder_is_looked_into_when_the_sandbox_is_thawed(watched):
    """Its creation was the last thing before the sandbox was frozen."""
    await watched.begin(recursive=True)
    (watched.folder / "a").mkdir()
    (watched.folder / "a/f").touch()
    watched.guest.frozen = True
    await watched.notifier.catch_up()
    while not watched.told:  # noqa: ASYNC110 - the list has no event of its own
        await asyncio.sleep(0)
    watched.guest.frozen = False

    assert await watched.news() == ["CREATE a", "CREATE a/f"]


async def test_a_folder_of_the_hosts_root_alone_is_not_looked_into(watched, monkeypatch):
    """The server may read it, the sandbox may not."""
    for name in ("open", "closed"):
        (watched.folder / name).mkdir()
    (watched.folder / "closed").chmod(0o700)
    real = os.fstat

    def owned_by_root(fd):
        status = list(real(fd))
        status[4] = 0
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", owned_by_root)
    await watched.begin(recursive=True)
    for name in ("open", "closed"):
        (watched.folder / name / "d").mkdir()

    assert await watched.news() == ["CREATE open/d"]
