"""Watched folders of a real sandbox, through the unmodified SDK and beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import e2b
import pytest
from e2b import AsyncSandbox, Sandbox

from sandbox_service.e2b_local.envd import connect
from sandbox_service.e2b_local.envd.messages import filesystem_pb
from tests.integration.e2b_wire import PROTO, connected, new_box


@pytest.fixture
async def sandbox(backend):
    sandbox = await AsyncSandbox.create("base", timeout=60, **backend.sdk)
    yield sandbox
    await sandbox.kill()


async def until(condition):
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - the condition has no event of its own
            await asyncio.sleep(0.01)


def notify_queues(backend):
    """How many inotify queues the server holds."""
    targets = []
    for link in Path(f"/proc/{backend.status['pid']}/fd").iterdir():
        try:
            targets.append(str(link.readlink()))
        except OSError:
            continue
    return sum("inotify" in target for target in targets)


class Seen:
    """What a watch told, and how it ended."""

    def __init__(self):
        self.events = []
        self.exits = []

    @property
    def lines(self):
        return [f"{event.type.value} {event.name}" for event in self.events]


async def watched(sandbox, path, **options):
    seen = Seen()
    options = {"timeout": 0, **options}
    handle = await sandbox.files.watch_dir(path, seen.events.append, seen.exits.append, **options)
    return seen, handle


async def test_a_tree_is_watched_and_what_is_done_in_it_is_told(sandbox, backend):
    """Folders that appear are watched too, and entries say what is there now."""
    await sandbox.files.make_dir("w")
    seen, handle = await watched(sandbox, "w", recursive=True, include_entry=True)
    for script, last in (
        ("mkdir -p a/b; echo one > a/b/f", "create a/b/f"),
        ("mv a/b c; chmod 600 c/f; rm c/f; mkdir last", "create last"),
    ):
        await sandbox.commands.run(script, cwd="w")
        await until(lambda last=last: last in seen.lines)
    await handle.stop()
    entries = {line: event.entry for line, event in zip(seen.lines, seen.events, strict=True)}

    assert seen.lines[:2] == ["create a", "create a/b"]
    assert seen.lines[-5:] == [
        "rename a/b",
        "create c",
        "chmod c/f",
        "remove c/f",
        "create last",
    ]
    assert entries["create last"].type == e2b.FileType.DIR
    assert entries["create last"].path == "/home/user/w/last"
    assert entries["remove c/f"] is None
    assert seen.exits == [None]
    await until(lambda: notify_queues(backend) == 0)


async def test_memory_and_disk_are_watched_alike(sandbox):
    """`/tmp` is another file system than the home."""
    seen, handle = await watched(sandbox, "/tmp")
    await sandbox.commands.run("echo x > /tmp/f")
    await until(lambda: "write f" in seen.lines)
    await handle.stop()


async def test_a_watch_that_cannot_be_is_refused_as_in_the_cloud(sandbox):
    """Programs tell these apart by the exception."""
    await sandbox.files.write("file", "x")
    with pytest.raises(e2b.FileNotFoundException):
        await watched(sandbox, "missing")
    with pytest.raises(e2b.InvalidArgumentException):
        await watched(sandbox, "file")


async def test_a_watch_ends_with_its_time(sandbox):
    """As `timeout` promises, and the SDK says which of its two timeouts it was."""
    seen, _ = await watched(sandbox, "/home/user", timeout=0.3)
    await until(lambda: seen.exits)

    assert isinstance(seen.exits[0], e2b.TimeoutException)


async def test_the_end_of_a_sandbox_ends_its_watches(backend):
    """The one who watches hears it, and the server keeps nothing."""
    sandbox = await AsyncSandbox.create("base", timeout=60, **backend.sdk)
    seen, _ = await watched(sandbox, "/home/user", recursive=True)
    assert notify_queues(backend) == 1
    await sandbox.kill()
    await until(lambda: seen.exits)

    assert isinstance(seen.exits[0], e2b.SandboxException)
    await until(lambda: notify_queues(backend) == 0)


def test_the_synchronous_sdk_polls(backend):
    """It asks when it likes, and gets what has happened until then."""
    with Sandbox.create("base", timeout=60, **backend.sdk) as sandbox:
        sandbox.files.make_dir("w")
        handle = sandbox.files.watch_dir("w", recursive=True)
        sandbox.commands.run("mkdir -p a/b && echo x > a/b/f", cwd="w")
        first = [(event.type.value, event.name) for event in handle.get_new_events()]
        sandbox.files.remove("w/a/b/f")
        second = [(event.type.value, event.name) for event in handle.get_new_events()]
        handle.stop()

    assert first[:3] == [("create", "a"), ("create", "a/b"), ("create", "a/b/f")]
    assert second == [("remove", "a/b/f")]


def resident_bytes(pid):
    return 4096 * int(Path(f"/proc/{pid}/statm").read_text().split()[1])


async def test_a_flood_of_changes_that_nobody_reads_costs_a_bounded_amount(backend):
    """Then the watch fails, and says that it has missed something."""
    async with connected(backend) as client:
        box = await new_box(client, timeout=60)
        request = filesystem_pb.WatchDirRequest(path="/tmp")
        kind = {"content-type": "application/connect+proto"}
        async with client.stream(
            "POST",
            "/filesystem.Filesystem/WatchDir",
            content=connect.envelope(PROTO.encode(request)),
            headers=box.headers(**kind),
        ) as watching:
            before = resident_bytes(backend.status["pid"])
            one, other = "1" * 250, "2" * 250
            flood = f"cd /tmp; for i in $(seq 40000); do echo > {one}; echo > {other}; done"
            async with box.start(flood) as stream:
                ended = [event async for event in stream][-1]
            grown_bytes = resident_bytes(backend.status["pid"]) - before
            async with asyncio.timeout(30):
                told = b"".join([part async for part in watching.aiter_raw()])
        await client.delete(f"/sandboxes/{box.id}")

    assert ended.value.exit_code == 0
    assert grown_bytes < 64 * 1024**2
    assert b'"code": "resource_exhausted"' in told


def test_a_polled_watch_outlives_a_pause(backend):
    """As everything else in the memory of a paused sandbox does."""
    with Sandbox.create("base", timeout=60, **backend.sdk) as sandbox:
        sandbox.files.make_dir("w")
        handle = sandbox.files.watch_dir("w", recursive=True)
        sandbox.files.make_dir("w/before")
        sandbox.pause()
        sandbox.connect(timeout=60)
        sandbox.files.make_dir("w/after/deep")
        told = [(event.type.value, event.name) for event in handle.get_new_events()]
        handle.stop()

    assert told == [("create", "before"), ("create", "after"), ("create", "after/deep")]
