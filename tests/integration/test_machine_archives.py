"""All that a sandbox holds, packed into a file of the host and unpacked in another sandbox."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import (
    Guest,
    GuestLostError,
    GuestOSError,
    Machine,
    MachineConfig,
    SpawnSpec,
)
from tests.integration.machine_bench import count_descriptors, run, sh, until

AWKWARD = r"""
import os, socket
os.umask(0)
def put(path, data=b"x", mode=0o644):
    with open(path, "wb") as file: file.write(data)
    os.chmod(path, mode)
for base in ("/home/user", "/workspace", "/root", "/tmp"):
    os.chdir(base)
    os.makedirs("empty/nested/er"); os.chmod("empty", 0o700); os.chmod("empty/nested", 0o2775)
    os.makedirs("sticky"); os.chmod("sticky", 0o1777)
    put("plain"); put("none", b""); put("run me.sh", b"#!/bin/sh\n", 0o755); put("ro", b"r", 0o400)
    put("setuid", b"s", 0o4755)
    put("new\nline and \ttab"); put("ünïcödé 漢字 🎉")
    put(b"not \xff\xfe text".decode("utf-8", "surrogateescape"))
    put("-rf"); put("--checkpoint-action=exec=sh"); put("back\\slash"); put("n" * 255); put(" lead")
    deep = "/".join(["long-name-" + "d" * 80] * 20); os.makedirs(deep); put(deep + "/leaf")
    os.symlink("plain", "link"); os.symlink("/nowhere/at all", "dangling")
    os.symlink("empty", "dirlink"); os.symlink("l" * 3000, "longlink")
    os.link("plain", "hard"); os.link("plain", "empty/hard")
    os.mkfifo("fifo", 0o640)
    with open("sparse", "wb") as file:
        file.write(b"begin"); file.seek(300_000_000); file.write(b"middle")
        file.truncate(900_000_000)
    put("large", os.urandom(3_000_000))
    server = socket.socket(socket.AF_UNIX); server.bind("socket"); server.close()
    os.setxattr("plain", "user.e2b.key", b"v"); os.setxattr("plain", "user.empty", b"")
    os.setxattr("plain", "user.bytes", bytes(range(256)))
    os.setxattr("sticky", "user.folder", b"f")
    os.makedirs("shut"); put("shut/inner"); os.chmod("shut", 0o500)
    for at, name in enumerate(("plain", "none", "link", "fifo", "shut", "empty/nested", "sparse")):
        os.utime(name, ns=(1, 1_600_000_000_123_456_789 + at), follow_symlinks=False)
    os.utime("ro", ns=(1, 4_000_000_000_000_000_001)); os.utime("large", ns=(1, 5))
"""

DESCRIBE = r"""
import hashlib, json, os, stat
found = {}
for base in ("/home/user", "/workspace", "/root", "/tmp"):
    for folder, names, files in os.walk(base):
        for name in ["."] * (folder == base) + names + files:
            path = folder + "/" + name
            s = os.lstat(path)
            entry = [oct(s.st_mode), s.st_uid, s.st_gid]
            if stat.S_ISREG(s.st_mode):
                small = s.st_size < 10_000_000
                entry += [s.st_size, s.st_nlink, s.st_blocks * 512 < 10_000_000]
                with open(path, "rb") as file:
                    entry.append(hashlib.sha256(file.read(10_000_000)).hexdigest())
                    file.seek(0 if small else 300_000_000); entry.append(repr(file.read(20)))
            if stat.S_ISLNK(s.st_mode): entry.append(os.readlink(path))
            if path != "/tmp/.": entry.append(s.st_mtime_ns)
            entry.append([(n, repr(os.getxattr(path, n, follow_symlinks=False)))
                          for n in sorted(os.listxattr(path, follow_symlinks=False))
                          if n.startswith("user.")] if not stat.S_ISLNK(s.st_mode) else [])
            if not stat.S_ISSOCK(s.st_mode): found[path] = entry
print(json.dumps(found))
"""


@pytest.fixture
def archive(state_dir: Path) -> Iterator[int]:
    """An empty file of the host, open for reading and writing."""
    descriptor = os.open(state_dir / "archive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    yield descriptor
    os.close(descriptor)
    (state_dir / "archive").unlink()


async def python(guest: Guest, code: str) -> str:
    outcome = await run(guest, "python3", "-c", code)
    assert (outcome.code, outcome.err) == (0, b"")
    return outcome.out.decode()


async def carry(archive: int, source: Guest, target: Guest) -> None:
    await source.pack(archive)
    await target.unpack(archive)


async def test_an_awkward_tree_arrives_as_it_was(machine, guest, archive):
    """Names, links, modes, times, attributes and holes; and nothing else is there."""
    other = await machine.boot("other")
    await python(guest, AWKWARD)
    await sh(other, "mkdir -p /workspace/old/d; touch ~/.hidden /tmp/f; ln -s /etc /root/etc")
    await carry(archive, guest, other)

    before, after = [json.loads(await python(one, DESCRIBE)) for one in (guest, other)]
    paths = before.keys() | after.keys()
    assert {p: (before.get(p), after.get(p)) for p in paths if before.get(p) != after.get(p)} == {}
    assert len(paths) > 150
    # Two holes and a few megabytes, four times.
    assert os.fstat(archive).st_size < 40_000_000


async def test_the_archive_is_one_that_everybody_can_read(guest, archive):
    """It holds ids as numbers and names as they are."""
    await sh(guest, "echo hello > 'a b'; ln -s 'a b' l; echo t > /tmp/t")
    await guest.pack(archive)
    os.lseek(archive, 0, os.SEEK_SET)
    with os.fdopen(os.dup(archive), "rb") as file, tarfile.open(fileobj=file) as tar:
        members = {member.name: member for member in tar}

    assert set(members) == {
        *("home/user", "home/user/a b", "home/user/l", "workspace", "root", "tmp", "tmp/t"),
    }
    assert members["home/user/l"].linkname == "a b"
    assert {(one.uid, one.gid, one.uname, one.gname) for one in members.values()} == {
        (1000, 1000, "", "")
    }


async def test_many_sandboxes_can_be_filled_from_one_archive_at_once(machine, guest, archive):
    """Forks are made so; each reads all of it."""
    await sh(guest, "head -c 3000000 /dev/urandom > f")
    await guest.pack(archive)
    others = await asyncio.gather(*(machine.boot(f"other-{number}") for number in range(4)))
    await asyncio.gather(*(other.unpack(archive) for other in others))

    sums = {await sh(one, "sha256sum f") for one in (guest, *others)}
    assert len(sums) == 1


async def test_only_the_roots_asked_for_are_packed(machine, guest, archive):
    """And only those are emptied."""
    other = await machine.boot("other")
    await sh(guest, "touch ~/home /tmp/new")
    await sh(other, "touch ~/mine /tmp/old")
    await guest.pack(archive, roots=("/tmp",))
    await other.unpack(archive, roots=("/tmp",))

    assert await sh(other, "ls ~ /tmp") == "/home/user:\nmine\n\n/tmp:\nnew\n"


@pytest.mark.parametrize("command", ["touch f; chmod 0 f", "mkdir -p d/e; chmod 0 d"])
async def test_what_cannot_be_read_is_not_lost_in_silence(guest, archive, command):
    """A snapshot without it would look whole. What can be done about it is told by name."""
    before = count_descriptors()
    await sh(guest, command)
    with pytest.raises(GuestOSError) as caught:
        await guest.pack(archive)

    assert caught.value.errno == errno.EACCES
    assert f"home/user/{command[-1]}: Cannot open: Permission denied" in str(caught.value)
    assert await sh(guest, "echo alive") == "alive\n"
    assert count_descriptors() <= before


async def test_what_tar_says_is_told_in_part(guest, archive):
    """A tree can make it say anything, and any amount."""
    command = "import os\nfor n in range(3000): os.close(os.open('%d' % n + 'x' * 200, 64, 0))"
    await python(guest, command)
    with pytest.raises(GuestOSError) as caught:
        await guest.pack(archive)

    assert len(str(caught.value)) < 3000


async def test_a_full_disk_inside_is_told_as_that(state_dir, archive):
    """The other sandbox may have less room."""
    config = MachineConfig(state_dir=state_dir, tmp_size_bytes=8 * 1024**2)
    roomy, machine = (
        await Machine.start(MachineConfig(state_dir=state_dir)),
        await Machine.start(config),
    )
    source, target = await roomy.boot("source"), await machine.boot("target")
    await sh(source, "head -c 20000000 /dev/urandom > /tmp/large")
    with pytest.raises(GuestOSError) as caught:
        await carry(archive, source, target)

    assert caught.value.errno == errno.ENOSPC
    await roomy.close()
    await machine.close()


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process' may grow over 100 kB; a full disk fails in the same place."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_host_that_cannot_write_is_told_as_that(guest, archive, small_files):
    """The archive is cut off, the sandbox goes on, nobody hangs."""
    await sh(guest, "head -c 5000000 /dev/urandom > f")
    before = count_descriptors()
    with pytest.raises(GuestOSError, match="the archive cannot be written") as caught:
        await asyncio.wait_for(guest.pack(archive), 20)

    assert caught.value.errno == errno.EFBIG
    assert await sh(guest, "while pgrep tar; do :; done; echo alive") == "alive\n"
    assert count_descriptors() <= before


async def test_a_file_larger_than_one_may_be_inside_can_be_packed(state_dir, archive):
    """The archive is no file of the sandbox's."""
    machine = await Machine.start(
        MachineConfig(state_dir=state_dir, file_size_limit_bytes=1_000_000)
    )
    guest, other = await machine.boot("one"), await machine.boot("other")
    await sh(guest, "for i in 1 2 3; do head -c 900000 /dev/urandom > $i; done")
    await carry(archive, guest, other)

    sums = "cat 1 2 3 | sha256sum"
    assert await sh(guest, sums) == await sh(other, sums)
    await machine.close()


async def test_time_runs_out(machine, guest, archive):
    """A tree can take any time to pack, and an archive to unpack."""
    other = await machine.boot("other")
    before = count_descriptors()
    await sh(guest, "for i in $(seq 300); do head -c 300000 /dev/urandom > $i; done")
    with pytest.raises(GuestOSError) as caught:
        await guest.pack(archive, timeout_seconds=0.001)
    assert caught.value.errno == errno.ETIMEDOUT
    os.ftruncate(archive, 0)
    os.lseek(archive, 0, os.SEEK_SET)
    await guest.pack(archive)
    with pytest.raises(GuestOSError) as caught:
        await other.unpack(archive, timeout_seconds=0.001)

    assert caught.value.errno == errno.ETIMEDOUT
    assert await sh(other, "echo alive; pgrep tar || true") == "alive\n"
    assert count_descriptors() <= before


async def test_nonsense_is_no_archive(guest, archive):
    """What is not one is refused in the words of the program that knows."""
    os.write(archive, b"nonsense" * 10_000)
    with pytest.raises(GuestOSError, match="does not look like a tar archive"):
        await guest.unpack(archive)


async def test_a_cancelled_pack_leaves_nothing_behind(guest, archive):
    """Neither a program inside nor a thread that writes to a file that others use."""
    before = count_descriptors()
    await sh(guest, "for i in $(seq 100); do head -c 1000000 /dev/urandom > $i; done")
    packing = asyncio.ensure_future(guest.pack(archive))
    await until(lambda: os.fstat(archive).st_size)
    packing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await packing

    assert count_descriptors() <= before
    await sh(guest, "while pgrep tar >/dev/null; do :; done")


async def test_programs_stand_still_while_files_are_packed(guest, archive):
    """Files that belong together are of one time."""
    code = (
        "import itertools, os\n"
        "a, b = os.open('a', 66), os.open('b', 66)\n"
        "for n in itertools.count():\n"
        " for fd in (a, b): os.pwrite(fd, b'%020d' % n, 0)"
    )
    process = await guest.spawn(SpawnSpec(argv=("python3", "-c", code)))
    await sh(guest, "until [ -s b ]; do :; done")
    for _ in range(10):
        os.ftruncate(archive, 0)
        os.lseek(archive, 0, os.SEEK_SET)
        await guest.pack(archive)
        os.lseek(archive, 0, os.SEEK_SET)
        with os.fdopen(os.dup(archive), "rb") as file, tarfile.open(fileobj=file) as tar:
            a, b = (int(tar.extractfile(f"home/user/{name}").read()) for name in "ab")
        assert a - b in (0, 1)
    process.close()


async def test_a_frozen_sandbox_can_be_packed(machine, guest, archive):
    """It stays frozen."""
    other = await machine.boot("other")
    await sh(guest, "echo kept > f")
    await guest.freeze()
    await carry(archive, guest, other)

    assert guest.frozen
    assert await sh(other, "cat f") == "kept\n"


async def test_a_sandbox_that_dies_while_it_is_packed(guest, archive):
    """Whoever waits learns it, and the archive is worthless."""
    await sh(guest, "for i in $(seq 100); do head -c 1000000 /dev/urandom > $i; done")
    packing = asyncio.ensure_future(guest.pack(archive))
    await until(lambda: os.fstat(archive).st_size)
    await guest.kill()

    with pytest.raises(GuestLostError):
        await asyncio.wait_for(packing, 10)
    with pytest.raises(GuestLostError):
        await guest.unpack(archive)
