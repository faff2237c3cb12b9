"""The links of `/proc` that lead to what a process has, whatever its name.

The server opens files by its agent, and what the agent and its `tar` have open is not all
the sandbox's: while an archive is unpacked, one descriptor is a file of the host.
"""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from sandbox_service.e2b_local.config import Template
from sandbox_service.e2b_local.images import take_images
from sandbox_service.e2b_local.machine import BootSpec, Guest, GuestOSError, SpawnSpec
from tests.integration.machine_bench import until
from tests.support.processes import command, family

_OUTSIDE = ("fd/0", "cwd", "root/etc/passwd", "exe")
_END_OF_ARCHIVE = bytes(10240)


@pytest.fixture(params=["the host's files", "a root filesystem"])
async def guest(request, machine, images_dir, small_root):
    """A sandbox of each kind, for each has a filter of its own."""
    if request.param == "the host's files":
        yield await machine.boot("one")
        return
    template = Template(template_id="tested", rootfs=small_root)
    images = await take_images([template], images_dir, machine, tell=lambda _: None)
    yield await machine.boot("one", BootSpec(image=images.image_of(template)))
    images.close()


def pid_inside(pid: int) -> int:
    """The pid of a process as its own sandbox sees it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])


def find_tar(guest: Guest) -> int | None:
    for pid in family(guest._launched.init_pid):
        if any(Path(word).name == "tar" for word in command(pid)[:6]):
            return pid
    return None


async def refused(guest: Guest, path: str) -> None:
    """Assert that a path leads nowhere, whatever is asked for there."""
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        with pytest.raises(GuestOSError) as caught:
            os.close(await guest.open(path, flags))
        assert caught.value.errno == errno.ELOOP
    with pytest.raises(GuestOSError) as caught:
        await guest.chmod(path, 0o777)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("way", _OUTSIDE)
async def test_what_a_process_has_is_not_opened_by_its_links(guest, way):
    """Neither the agent's nor a program's."""
    process = await guest.spawn(
        SpawnSpec(argv=("/bin/bash", "-c", "exec sleep 600 </etc/passwd"), cwd="/etc")
    )

    for pid in ("self", "1", str(process.pid)):
        await refused(guest, f"/proc/{pid}/{way}")
    process.close()


async def test_links_by_name_lead_where_they_say(guest):
    """Also in `/proc`, and to files that do not exist yet."""
    descriptor = await guest.open("/home/user/real", os.O_WRONLY | os.O_CREAT, 0o640)
    os.write(descriptor, b"text")
    os.close(descriptor)
    process = await guest.spawn(
        SpawnSpec(argv=("/bin/bash", "-c", "ln -s real link; ln -s new dangling"))
    )
    await process.exit
    process.close()

    descriptor = await guest.open("/home/user/link", os.O_RDONLY)
    assert os.read(descriptor, 10) == b"text"
    os.close(descriptor)
    os.close(await guest.open("/home/user/dangling", os.O_WRONLY | os.O_CREAT, 0o600))
    os.close(await guest.open("/proc/self/status", os.O_RDONLY))
    await guest.chmod("/home/user/link", 0o604)
    assert (await guest.stat("/home/user/real")).mode & 0o777 == 0o604
    assert (await guest.stat("/home/user/new")).mode & 0o777 == 0o600


async def test_an_archives_descriptor_cannot_be_had(guest):
    """Whoever had it could change what others are made of."""
    reader, writer = os.pipe()
    unpacking = asyncio.create_task(guest.unpack(reader))
    await until(lambda: find_tar(guest) or unpacking.done())
    tar = find_tar(guest)
    assert tar is not None

    await refused(guest, f"/proc/{pid_inside(tar)}/fd/0")
    os.write(writer, _END_OF_ARCHIVE)
    os.close(writer)
    await unpacking
    os.close(reader)


@pytest.mark.parametrize("path", ["/home/user/nul\0", "/\0"])
async def test_a_path_with_a_nul_is_no_path(guest, path):
    """It must not be taken for what stands before the NUL."""
    with pytest.raises(GuestOSError) as caught:
        await guest.open(path, os.O_RDONLY)

    assert caught.value.errno == errno.EINVAL
