"""A sandbox's files, opened, listed and changed from outside."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat

import pytest

from sandbox_service.e2b_local.machine import GuestOSError
from tests.integration.machine_bench import sh


async def test_files_are_opened_as_the_sandbox_sees_them(guest):
    """A link to the host's secrets leads to the sandbox's own folders."""
    await sh(guest, "ln -s /etc/shadow secret; ln -s /etc/passwd names")
    with pytest.raises(GuestOSError) as caught:
        await guest.open("/home/user/secret", os.O_RDONLY)
    descriptor = await guest.open("/home/user/names", os.O_RDONLY)
    text = os.read(descriptor, 10_000).decode()
    os.close(descriptor)

    assert caught.value.errno == errno.ENOENT
    assert text.startswith("root:x:0:0:root:/root:")
    assert "user:x:1000:" in text


@pytest.mark.parametrize("path", ["/tmp/fifo", "/dev/zero", "/dev/tty"])
async def test_what_could_make_the_server_wait_is_not_opened(guest, path):
    """A pipe that nobody writes to would hold a thread of the server for ever."""
    await sh(guest, "mkfifo /tmp/fifo")
    for flags in (os.O_RDONLY, os.O_WRONLY):
        with pytest.raises(GuestOSError) as caught:
            await asyncio.wait_for(guest.open(path, flags), 5)
        assert caught.value.errno in (errno.ENODEV, errno.ENXIO)


async def test_the_agents_memory_cannot_be_written_through_it(guest):
    """It would open its own `/proc/self/mem` with its own rights."""
    with pytest.raises(GuestOSError):
        await guest.open("/proc/self/mem", os.O_RDWR)


async def test_files_written_from_outside_belong_to_the_sandbox(guest):
    """Its programs must be able to change and remove them."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    descriptor = await guest.open("/workspace/new", flags, 0o666)
    data = bytes(range(256)) * 1000
    os.write(descriptor, data)
    os.close(descriptor)

    digest = hashlib.sha256(data).hexdigest()
    assert (await sh(guest, "sha256sum /workspace/new")).split()[0] == digest
    assert await sh(guest, "stat -c %U:%a /workspace/new; rm /workspace/new") == "user:644\n"


async def test_entries_tell_links_owners_and_modes(guest):
    """All that envd's EntryInfo is made of."""
    await sh(guest, "mkdir -p d/e; echo abc > d/f; chmod 640 d/f; ln -s f d/l; ln -s no d/x")
    entries = {entry.path: entry for entry in await guest.list_dir("/home/user/d", depth=2)}

    assert list(entries) == [f"/home/user/d/{name}" for name in "eflx"]
    file, link, dangling = (entries[f"/home/user/d/{name}"] for name in "flx")
    assert (file.name, file.size, file.owner, file.group) == ("f", 4, "user", "user")
    assert stat.S_IMODE(file.mode) == 0o640
    assert file.target_mode == file.mode
    assert link.symlink_target == file.path
    assert stat.S_ISLNK(link.mode)
    assert link.target_mode == file.mode
    assert (dangling.symlink_target, dangling.target_mode) == (dangling.path, None)
    assert (await guest.stat("/usr")).owner == "nobody"


async def test_a_listing_goes_as_deep_as_asked_and_through_no_link(guest):
    """A loop of links would never end."""
    await sh(guest, "mkdir -p a/b/c; ln -s . a/loop; ln -s a top")

    assert [entry.path for entry in await guest.list_dir("/home/user/top", depth=2)] == [
        "/home/user/top/b",
        "/home/user/top/b/c",
        "/home/user/top/loop",
    ]


async def test_a_listing_of_many_files_arrives_whole(guest):
    """It is far longer than a message."""
    await sh(guest, "mkdir many; cd many; for i in $(seq 5000); do : > file-$i; done")

    entries = await guest.list_dir("/home/user/many")

    assert {entry.name for entry in entries} == {f"file-{number}" for number in range(1, 5001)}


async def test_folders_are_made_with_their_parents(guest):
    """And it is told whether there was one."""
    assert await guest.make_dir("/workspace/a/b")
    assert not await guest.make_dir("/workspace/a/b")
    await sh(guest, "touch /workspace/file")
    for path in ("/workspace/file", "/workspace/file/below"):
        with pytest.raises(GuestOSError) as caught:
            await guest.make_dir(path)
        assert caught.value.errno == errno.ENOTDIR


async def test_a_move_crosses_file_systems(guest):
    """Home and `/tmp` are two of them here, and one in E2B."""
    await sh(guest, "mkdir -p from/sub; echo x > from/sub/f; chmod 750 from/sub")
    await guest.move("/home/user/from", "/tmp/new/to")

    assert await sh(guest, "cat /tmp/new/to/sub/f; stat -c %a /tmp/new/to/sub; ls ~") == "x\n750\n"
    with pytest.raises(GuestOSError) as caught:
        await guest.move("/home/user/from", "/tmp/again")
    assert caught.value.errno == errno.ENOENT


async def test_removal_is_whole_and_idempotent(guest):
    """A link is removed, not what it leads to."""
    await sh(guest, "mkdir -p d/e keep; touch d/e/f keep/f; ln -s ~/keep d/link")
    await guest.remove("/home/user/d")
    await guest.remove("/home/user/d")

    assert await sh(guest, "find ~ -type f; ls ~") == "/home/user/keep/f\nkeep\n"


async def test_modes_can_be_set(guest):
    """SyncFiles keeps them."""
    await sh(guest, "touch f")
    await guest.chmod("/home/user/f", 0o751)

    assert await sh(guest, "stat -c %a f") == "751\n"
