"""Watchers as clients see them: streamed, polled, refused, ended."""

from __future__ import annotations

import asyncio
import json

import pytest
from protobuf import Oneof

from sandbox_service.e2b_local.envd import watch, watch_service
from sandbox_service.e2b_local.envd.connect import END_OF_STREAM, Codec, ConnectError
from sandbox_service.e2b_local.envd.messages import filesystem_pb as pb
from sandbox_service.e2b_local.envd.watch_service import WatchService
from tests.unit.e2b_local.guest_double import GuestDouble
from tests.unit.e2b_local.wire_double import exchange_of

JSON = Codec("json")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "home/user/w"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
async def watchers(tmp_path):
    watchers = WatchService(GuestDouble(tmp_path))
    yield watchers
    watchers.close()
    await asyncio.sleep(0)


async def polled(watchers, **fields):
    exchange, _ = exchange_of("POST", "/")
    created = await watchers.create(exchange, pb.CreateWatcherRequest(path="w", **fields))
    return created.watcher_id


async def poll(watchers, watcher_id):
    exchange, _ = exchange_of("POST", "/")
    request = pb.GetWatcherEventsRequest(watcher_id=watcher_id)
    return (await watchers.events(exchange, request)).events


def names(events):
    return [f"{event.type.name} {event.name}" for event in events]


async def test_a_poll_hands_over_what_happened_until_then_once(watchers, folder):
    """Also what happened the moment before it."""
    watcher_id = await polled(watchers)
    (folder / "a").mkdir()
    first = await poll(watchers, watcher_id)
    (folder / "b").mkdir()

    assert names(first) == ["CREATE a"]
    assert names(await poll(watchers, watcher_id)) == ["CREATE b"]
    assert await poll(watchers, watcher_id) == []


async def test_a_removed_watcher_is_unknown(watchers, folder):
    """And so is one that never was."""
    watcher_id = await polled(watchers)
    exchange, _ = exchange_of("POST", "/")
    await watchers.remove(exchange, pb.RemoveWatcherRequest(watcher_id=watcher_id))
    for call in (
        poll(watchers, watcher_id),
        watchers.remove(exchange, pb.RemoveWatcherRequest(watcher_id="w0")),
    ):
        with pytest.raises(ConnectError) as refused:
            await call
        assert refused.value.code == "not_found"
        assert refused.value.message.startswith("watcher with id w")


async def test_an_entry_is_told_of_what_still_is_there(watchers, folder):
    """Removed and renamed paths are described by no entry, whatever stands there now."""
    (folder / "old").touch()
    watcher_id = await polled(watchers, include_entry=True)
    (folder / "f").write_bytes(b"123")
    (folder / "old").rename(folder / "new")
    (folder / "gone").touch()
    (folder / "gone").unlink()
    (folder / "gone").mkdir()
    events = await poll(watchers, watcher_id)
    described = {name: event.entry for name, event in zip(names(events), events, strict=True)}

    assert described["WRITE f"].size == 3
    assert described["WRITE f"].path == "/home/user/w/f"
    assert described["CREATE new"].type == pb.FileType.FILE
    assert described["RENAME old"] is None
    assert described["REMOVE gone"] is None


async def test_a_name_that_is_no_text_is_told_as_well_as_it_can_be(watchers, folder):
    """A message with it would not be UTF-8, and would end the stream."""
    watcher_id = await polled(watchers, include_entry=True)
    (folder / "\udcff").mkdir()
    events = await poll(watchers, watcher_id)

    assert names(events) == ["CREATE \ufffd"]
    assert events[0].to_json()


async def test_what_nobody_asks_for_is_not_kept_for_ever(watchers, folder, monkeypatch):
    """A forgotten watcher must not cost memory without end."""
    monkeypatch.setattr(watch_service, "_KEPT_LIMIT_BYTES", 1000)
    watcher_id = await polled(watchers)
    for number in range(10):
        (folder / str(number)).mkdir()
    for _ in range(2):
        with pytest.raises(ConnectError) as refused:
            await poll(watchers, watcher_id)
        assert refused.value.code == "resource_exhausted"


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("gone", "not_found", "path /home/user/gone not found"),
        ("w/file", "invalid_argument", "path /home/user/w/file not a directory"),
        ("~bob", "invalid_argument", "cannot expand"),
    ],
)
async def test_only_a_folder_can_be_watched(watchers, folder, path, code, message):
    """The SDK turns each code into another exception."""
    (folder / "file").touch()
    exchange, _ = exchange_of("POST", "/")
    with pytest.raises(ConnectError) as refused:
        await watchers.create(exchange, pb.CreateWatcherRequest(path=path))

    assert refused.value.code == code
    assert message in refused.value.message


async def test_watchers_are_limited(watchers, folder, monkeypatch):
    """Those that were refused, or have ended, do not count."""
    monkeypatch.setattr(watch_service, "WATCHERS_LIMIT", 1)
    exchange, _ = exchange_of("POST", "/")
    for path in ("gone", "gone"):
        with pytest.raises(ConnectError):
            await watchers.create(exchange, pb.CreateWatcherRequest(path=path))
    watcher_id = await polled(watchers)
    with pytest.raises(ConnectError) as refused:
        await polled(watchers)
    await watchers.remove(exchange, pb.RemoveWatcherRequest(watcher_id=watcher_id))

    assert refused.value.code == "resource_exhausted"
    assert await polled(watchers)


# Streams


def stream_of(watchers, **headers):
    exchange, wire = exchange_of("POST", "/", **headers)
    request = pb.WatchDirRequest(path="w")
    return exchange, wire, asyncio.create_task(watchers.watch_dir(exchange, JSON, request))


def messages(wire):
    """What a stream has sent, its end left out."""
    body, found = wire.body, []
    while body:
        size, _, rest = body.partition(b"\r\n")
        chunk, body = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        while chunk:
            end = 5 + int.from_bytes(chunk[1:5], "big")
            if chunk[0] != END_OF_STREAM:
                found.append(pb.WatchDirResponse.from_json(chunk[5:end]).event)
            chunk = chunk[end:]
    return found


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the condition has no event of its own
            await asyncio.sleep(0.001)


async def test_a_stream_begins_at_once_and_tells_what_happens(watchers, folder):
    """The client waits for the start event before it changes anything."""
    _, wire, serving = stream_of(watchers)
    await until(lambda: wire.sent)
    assert "content-type: application/connect+json\r\n" in wire.head
    (folder / "a").mkdir()
    await until(lambda: len(messages(wire)) == 2)
    serving.cancel()
    await asyncio.wait([serving])

    start, event = messages(wire)
    assert start.field == "start"
    assert event == Oneof("filesystem", pb.FilesystemEvent(name="a", type=pb.EventType.CREATE))


async def test_a_stream_ends_with_its_time(watchers, folder):
    """`watch_dir(timeout=...)` is how long it is watched."""
    _, wire, serving = stream_of(watchers, connect_timeout_ms="20")
    with pytest.raises(ConnectError) as ended:
        await asyncio.wait_for(serving, 10)

    assert ended.value.code == "deadline_exceeded"
    assert messages(wire)[0].field == "start"


async def test_a_silent_stream_is_kept_alive_but_not_a_stalled_one(watchers, folder):
    """Nobody reads a stalled one, so what is sent would only pile up."""
    exchange, wire, serving = stream_of(watchers, keepalive_ping_interval="1")
    await until(lambda: len(messages(wire)) == 2)
    serving.cancel()
    await asyncio.wait([serving])

    assert messages(wire)[1].field == "keepalive"
    assert exchange.cancel_when_gone


async def test_a_reader_that_stalls_costs_a_bounded_amount(watchers, folder, monkeypatch):
    """Then it is told that it has missed something, and what it had not read is still there."""
    monkeypatch.setattr(watch, "QUEUE_LIMIT", 50)
    exchange, wire, serving = stream_of(watchers)
    await until(lambda: wire.sent)
    wire.writable = False
    for number in range(200):
        (folder / str(number)).mkdir()
    await watchers._notifier.catch_up()
    await asyncio.sleep(0)
    stalled = len(messages(wire))
    wire.writable = True
    await until(lambda: exchange.on_writable)
    exchange.on_writable()
    with pytest.raises(ConnectError) as ended:
        await asyncio.wait_for(serving, 10)

    assert stalled <= 2
    assert ended.value.code == "resource_exhausted"
    assert 50 <= len(messages(wire)) - 1 <= 52


async def test_the_end_of_the_sandbox_ends_its_watchers(watchers, folder):
    """They hold descriptors of the server's."""
    watcher_id = await polled(watchers)
    watchers.close()

    with pytest.raises(ConnectError):
        await poll(watchers, watcher_id)
    assert watchers._notifier._inotify is None


def test_the_json_of_an_event_is_what_clients_of_envd_read():
    """Names of the enumeration, in full."""
    event = pb.FilesystemEvent(name="a/b", type=pb.EventType.WRITE)
    response = pb.WatchDirResponse(event=Oneof("filesystem", event))

    assert json.loads(JSON.encode(response)) == {
        "filesystem": {"name": "a/b", "type": "EVENT_TYPE_WRITE"}
    }
