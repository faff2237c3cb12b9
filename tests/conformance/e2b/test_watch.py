"""Watching folders: by polling, as the synchronous SDK does, and by a stream."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import e2b
import pytest
from e2b import FilesystemEventType as Kind
from e2b.envd.filesystem import filesystem_pb

from tests.support.connect_wire import JSON, PROTO, StreamError, read_out, until

WATCH = "/filesystem.Filesystem/WatchDir"


@asynccontextmanager
async def watching(sdk, sandbox, path, **options):
    """Watch a folder in the way of the SDK's form.

    Yields:
        A coroutine function that waits for an event of a kind and a name, and returns it.
    """
    events = []
    if sdk.form == "async":
        handle = await sandbox.files.watch_dir(path, on_event=events.append, **options)

        async def poll():
            await asyncio.sleep(0)
    else:
        handle = await sandbox.files.watch_dir(path, **options)

        async def poll():
            events.extend(await handle.get_new_events())

    async def seen(kind, name):
        found = []

        async def came():
            await poll()
            found.extend(it for it in events if (it.type, it.name) == (kind, name))
            return found

        try:
            await until(came)
        except TimeoutError:
            raise AssertionError(f"no {kind} of {name}, but {events}") from None
        return found[0]

    seen.events = events
    yield seen
    await handle.stop()


async def test_what_happens_in_a_folder_is_told(sdk, sandbox, name):
    """Made, written, changed, moved away, removed; by name, in order."""
    await sandbox.files.make_dir(name)
    async with watching(sdk, sandbox, name) as seen:
        await sandbox.files.write(f"{name}/file", "x")
        await seen(Kind.CREATE, "file")
        await seen(Kind.WRITE, "file")
        await sandbox.commands.run(f"chmod 600 {name}/file")
        await seen(Kind.CHMOD, "file")
        await sandbox.files.rename(f"{name}/file", f"{name}/other")
        await seen(Kind.RENAME, "file")
        await seen(Kind.CREATE, "other")
        await sandbox.files.remove(f"{name}/other")
        await seen(Kind.REMOVE, "other")
        kinds = [it.type for it in seen.events]

    assert kinds.index(Kind.CREATE) < kinds.index(Kind.WRITE) < kinds.index(Kind.CHMOD)
    assert kinds.index(Kind.CHMOD) < kinds.index(Kind.RENAME) < kinds.index(Kind.REMOVE)
    assert all(it.entry is None for it in seen.events)


async def test_what_happens_below_is_told_when_asked(sdk, sandbox, name):
    """By its path from the folder."""
    await sandbox.files.make_dir(f"{name}/sub")
    async with watching(sdk, sandbox, name, recursive=True) as seen:
        await sandbox.files.write(f"{name}/sub/file", "x")
        await seen(Kind.WRITE, "sub/file")


async def test_what_happens_below_is_not_told_unless_asked(sdk, sandbox, name):
    """Only the folder itself."""
    await sandbox.files.make_dir(f"{name}/sub")
    async with watching(sdk, sandbox, name) as seen:
        await sandbox.files.write(f"{name}/sub/file", "x")
        await sandbox.files.write(f"{name}/last", "x")
        await seen(Kind.WRITE, "last")

    assert not any(it.name.startswith("sub/") for it in seen.events)


async def test_a_folder_made_later_is_watched_too(sdk, sandbox, name):
    """And what is in it, however fast it came."""
    await sandbox.files.make_dir(name)
    async with watching(sdk, sandbox, name, recursive=True) as seen:
        await sandbox.files.make_dir(f"{name}/new")
        await seen(Kind.CREATE, "new")
        await sandbox.files.write(f"{name}/new/file", "x")
        await seen(Kind.WRITE, "new/file")


async def test_a_folder_that_was_moved_is_watched_by_its_new_name(sdk, sandbox, name):
    """Not by the old one."""
    await sandbox.files.make_dir(f"{name}/old")
    async with watching(sdk, sandbox, name, recursive=True) as seen:
        await sandbox.files.rename(f"{name}/old", f"{name}/new")
        await seen(Kind.CREATE, "new")
        await sandbox.files.write(f"{name}/new/file", "x")
        await seen(Kind.WRITE, "new/file")


async def test_entries_come_with_the_events_when_asked(sdk, sandbox, name):
    """Of what is there; what is gone has none."""
    await sandbox.files.make_dir(name)
    async with watching(sdk, sandbox, name, include_entry=True) as seen:
        await sandbox.files.write(f"{name}/file", "12345")
        written = await seen(Kind.WRITE, "file")
        await sandbox.files.remove(f"{name}/file")
        removed = await seen(Kind.REMOVE, "file")

    assert written.entry.path == f"/home/user/{name}/file"
    assert written.entry.type == e2b.FileType.FILE
    assert removed.entry is None


async def test_two_watchers_of_a_folder_both_see_all(sdk, sandbox, name):
    """Neither takes from the other."""
    await sandbox.files.make_dir(name)
    async with (
        watching(sdk, sandbox, name) as one,
        watching(sdk, sandbox, name) as other,
    ):
        await sandbox.files.write(f"{name}/file", "x")
        await one(Kind.CREATE, "file")
        await other(Kind.CREATE, "file")


async def test_many_events_are_all_told(sdk, sandbox, name):
    """A build makes hundreds of files at once."""
    await sandbox.files.make_dir(name)
    async with watching(sdk, sandbox, name) as seen:
        await sandbox.commands.run(f"cd {name}; for i in $(seq 500); do echo > f$i; done")
        await seen(Kind.WRITE, "f500")
        made = {it.name for it in seen.events if it.type == Kind.CREATE}

    assert made == {f"f{number}" for number in range(1, 501)}


async def test_what_cannot_be_watched_is_refused(sdk, sandbox, name):
    """Nothing there, and no folder."""
    await sandbox.files.write(name, "x")
    options = {} if sdk.form == "sync" else {"on_event": print}

    with pytest.raises(e2b.FileNotFoundException):
        await sandbox.files.watch_dir(f"{name}-not", **options)
    with pytest.raises(e2b.InvalidArgumentException):
        await sandbox.files.watch_dir(name, **options)


async def test_a_watcher_that_was_stopped_is_gone(sync_sdk, shared, name):
    """Its events are nobody's."""
    sandbox = await sync_sdk.connect(shared["sandboxID"])
    await sandbox.files.make_dir(name)
    handle = await sandbox.files.watch_dir(name)
    await handle.stop()
    with pytest.raises(e2b.SandboxException, match="already stopped"):
        await handle.get_new_events()


async def test_a_stream_says_how_it_ended(async_sdk, name):
    """When the sandbox is gone, its reader is told."""
    sandbox = await async_sdk.create()
    await sandbox.files.make_dir(name)
    ended = asyncio.get_running_loop().create_future()
    await sandbox.files.watch_dir(name, on_event=print, on_exit=ended.set_result)
    await sandbox.kill()
    async with asyncio.timeout(10):
        error = await ended

    assert isinstance(error, e2b.SandboxNotRunningException)


# The calls themselves


@pytest.mark.parametrize("codec", [JSON, PROTO], ids=["json", "proto"])
async def test_polling_gives_each_event_once(box, name, codec):
    """Made, asked, asked again, removed; in both codecs."""
    kinds, service = filesystem_pb, "/filesystem.Filesystem"
    await box.run(f"mkdir {name}")
    made = await box.call(
        f"{service}/CreateWatcher",
        kinds.CreateWatcherRequest(path=name),
        kinds.CreateWatcherResponse,
        codec,
    )
    asking = kinds.GetWatcherEventsRequest(watcher_id=made.watcher_id)

    async def events():
        path = f"{service}/GetWatcherEvents"
        return (await box.call(path, asking, kinds.GetWatcherEventsResponse, codec)).events

    assert await events() == []
    await box.run(f"mkdir {name}/sub")
    found = []

    async def came():
        found.extend(await events())
        return found

    await until(came)
    again = await events()
    await box.call(
        f"{service}/RemoveWatcher",
        kinds.RemoveWatcherRequest(watcher_id=made.watcher_id),
        kinds.RemoveWatcherResponse,
        codec,
    )
    gone = await box.call(f"{service}/GetWatcherEvents", asking, None, codec)

    assert [(it.name, it.type) for it in found] == [("sub", kinds.EventType.CREATE)]
    assert again == []
    assert (gone["status"], gone["code"]) == (404, "not_found")
    assert f"watcher with id {made.watcher_id} not found" in gone["message"]


@pytest.mark.parametrize("codec", [JSON, PROTO], ids=["json", "proto"])
async def test_a_stream_starts_at_once_and_is_kept_alive(box, name, codec):
    """Also when nothing happens."""
    kinds = filesystem_pb
    await box.run(f"mkdir {name}")
    request = kinds.WatchDirRequest(path=name)
    async with (
        asyncio.timeout(10),
        box.stream(
            WATCH, request, kinds.WatchDirResponse, codec, keepalive_ping_interval="1"
        ) as stream,
    ):
        assert (await anext(stream)).event.field == "start"
        assert (await anext(stream)).event.field == "keepalive"
        await box.run(f"touch {name}/file")
        event = (await anext(stream)).event

    assert event.field == "filesystem"
    assert (event.value.name, event.value.type) == ("file", kinds.EventType.CREATE)


async def test_a_watch_ends_at_its_deadline(box, name):
    """As every stream."""
    await box.run(f"mkdir {name}")
    request = filesystem_pb.WatchDirRequest(path=name)
    async with box.stream(
        WATCH, request, filesystem_pb.WatchDirResponse, connect_timeout_ms="300"
    ) as stream:
        _, error = await read_out(stream)

    assert isinstance(error, StreamError)
    assert error.code == "deadline_exceeded"
