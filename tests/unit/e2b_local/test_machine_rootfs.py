"""Sandboxes of root filesystems: the command line, the image, the layer."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import BootSpec, Image, MachineConfig
from sandbox_service.e2b_local.machine.limits import AgentLimits
from sandbox_service.e2b_local.machine.model import WRITABLE
from sandbox_service.e2b_local.machine.roots.rootfs import (
    LAYER,
    Outfit,
    build_arguments,
    can_overlay,
    clear_way,
    fit_out,
    make_folders,
    remove,
)
from sandbox_service.e2b_local.machine.roots.runtime import Runtime
from sandbox_service.e2b_local.machine.roots.tree import PathRefusedError
from sandbox_service.e2b_local.machine.tiers.bubblewrap import BOOT_ID, Interpreter, look_at_host
from sandbox_service.e2b_local.machine.tiers.bubblewrap import (
    build_arguments as build_arguments_of_host,
)
from sandbox_service.e2b_local.machine.tiers.tier import OWN_USER

IMAGE = Image(Path("/state/images/1/root"), None)
OUTFIT = Outfit(
    Path("/state/guest/rootfs/own"),
    Runtime(Path("/usr/lib/python3.11"), "/opt/sandbox/python/lib/python3.11", ("/ld", "/py")),
    Path("/state/guest/rootfs/seccomp.bpf"),
    Path("/state/guest/rootfs/preload"),
)

LIMITS = AgentLimits("{}", {"/sys/fs/cgroup/memory": Path("/groups/one")})


@pytest.fixture
def host(tmp_path):
    root = tmp_path / "host"
    for folder in ("usr/bin", "etc/ssl/certs", "proc/sys"):
        (root / folder).mkdir(parents=True)
    (root / "proc/kallsyms").touch()
    return root


def layout_of(host: Path):
    python = Interpreter("/usr/bin/python3")
    return look_at_host(OWN_USER, Path("/bwrap"), Path("/guest"), python, root=host)


def command(host: Path, **settings) -> list[str]:
    config = MachineConfig(state_dir=Path("/state"), **settings)
    spec = BootSpec(hostname="box")
    folder = Path("/state/one")
    return build_arguments(layout_of(host), OUTFIT, IMAGE, config, spec, folder, 7, 9, LIMITS)


def pairs(arguments: list[str], option: str, count: int = 2) -> list[tuple[str, ...]]:
    return [
        tuple(arguments[at + 1 : at + 1 + count])
        for at, argument in enumerate(arguments)
        if argument == option
    ]


def test_the_image_lies_under_the_sandboxes_own_layer(host):
    """Written to directly, it would carry one sandbox's files into the next."""
    arguments = command(host)

    assert pairs(arguments, "--overlay-src", 1) == [(str(IMAGE.root),)]
    assert pairs(arguments, "--overlay", 3) == [("/state/one/layer", "/state/one/work", "/")]
    assert pairs(arguments, "--bind") == []


def test_nothing_is_less_isolated_than_on_the_hosts_files(host):
    """Every option that closes something there is here as well."""
    config = MachineConfig(state_dir=Path("/state"))
    folder = Path("/state/one")
    usual = build_arguments_of_host(layout_of(host), config, BootSpec(), folder, 7, 9, LIMITS)
    arguments = command(host)

    closing = {one for one in usual if one.startswith(("--unshare", "--disable", "--die", "--new"))}
    assert len(closing) >= 8
    assert closing | {"--clearenv", "--as-pid-1"} <= set(arguments)
    assert ("/groups/one", "/sys/fs/cgroup/memory") in pairs(arguments, "--ro-bind")
    masks = [pair for pair in pairs(usual, "--ro-bind") if pair[1].startswith("/proc/")]
    assert ("/dev/null", "/proc/kallsyms") in masks
    assert ("/state/one/" + BOOT_ID, "/proc/sys/kernel/random/boot_id") in masks
    assert set(masks) <= set(pairs(arguments, "--ro-bind"))
    assert pairs(arguments, "--size", 5) == pairs(usual, "--size", 5)


def test_the_one_user_is_root(host):
    """Package managers refuse to work for anybody else."""
    arguments = command(host)

    assert pairs(arguments, "--uid", 1)[-1] == ("0",)
    assert pairs(arguments, "--gid", 1)[-1] == ("0",)
    assert "--cap-add" not in arguments


def test_the_agent_trusts_nothing_of_the_image(host):
    """Neither its Python, nor its libraries, nor its locales: it may be hostile or empty."""
    arguments = command(host)
    shown = dict(pair[::-1] for pair in pairs(arguments, "--ro-bind"))

    assert shown["/opt/sandbox"] == str(OUTFIT.own)
    assert shown["/opt/sandbox/python/lib/python3.11"] == "/usr/lib/python3.11"
    assert shown["/etc/ld.so.preload"] == str(OUTFIT.preload)
    assert pairs(arguments, "--setenv") == [("LC_ALL", "C")]
    assert pairs(arguments, "--seccomp", 1) == [("9",)]
    program = arguments[arguments.index("--") + 1 :]
    assert program[:5] == ["/ld", "/py", "-I", "-S", "-c"]
    assert program[-2:] == ["7", "{}"]
    assert not {"/usr", "/etc/passwd", "/etc/hosts"} & shown.keys()


def test_homes_are_memory_where_that_is_asked_for(host):
    """The one hard limit that an ordinary user can set holds here too."""
    assert set(pairs(command(host), "--tmpfs", 1)) == {("/sys",), ("/dev/shm",), ("/tmp",)}
    sized = pairs(command(host, home_size_bytes=13), "--tmpfs", 1)

    assert {(path,) for _, path in WRITABLE} < set(sized)


@pytest.mark.parametrize(("help_text", "able"), [("--overlay-src SRC", True), ("--bind", False)])
def test_an_old_bubblewrap_is_told_by_its_help(tmp_path, help_text, able):
    """Before 0.11 there were no overlays, and Debian 12 has 0.8."""
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\necho '{help_text}'\n")
    program.chmod(0o755)

    assert can_overlay(program) is able
    assert not can_overlay(tmp_path / "missing")


@pytest.fixture
def root(tmp_path):
    """A root as a tar leaves it."""
    folder = tmp_path / "root"
    for path in ("etc/apt/apt.conf.d", "usr/bin", "tmp"):
        (folder / path).mkdir(parents=True)
    (folder / "bin").symlink_to("usr/bin")
    (folder / "usr/bin/bash").touch()
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n_apt:x:100:65534::/:\n")
    return folder


def test_an_image_gets_what_every_sandbox_needs(root):
    """Homes, mount points, accounts, and no name server of the host that built it."""
    (root / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")

    fit_out(root, None)

    for path in ("proc", "dev", "tmp", "opt/sandbox", "home/user", "workspace", "root"):
        assert (root / path).is_dir()
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert (root / "etc/passwd").read_text().splitlines() == [
        "root:x:0:0:root:/root:/bin/bash",
        "_apt:x:100:65534::/:",
        "user:x:0:0:user:/home/user:/bin/bash",
    ]
    assert "localhost" in (root / "etc/hosts").read_text()
    assert "192.0.2.1" not in (root / "etc/resolv.conf").read_text()


def test_apt_is_told_that_there_is_one_user(root):
    """It would drop to `_apt`, and dpkg would open again what only a real root can."""
    (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)

    fit_out(root, None)

    assert "Sandbox::User" in (root / "etc/apt/apt.conf.d/99-sandbox").read_text()
    assert (root / "etc/dpkg/dpkg.cfg.d/99-sandbox").read_text() == "force-unsafe-io\n"


def test_an_image_of_one_program_is_enough(tmp_path):
    """As small as a busybox: no accounts, no apt, no bash."""
    (tmp_path / "bin").mkdir()

    fit_out(tmp_path, None)

    assert (tmp_path / "etc/passwd").read_text() == (
        "root:x:0:0:root:/root:/bin/sh\nuser:x:0:0:user:/home/user:/bin/sh\n"
    )
    assert not (tmp_path / "etc/apt").exists()


def test_an_account_that_the_image_has_is_left_alone(root):
    """Whoever built it knows better where its home is."""
    (root / "etc/passwd").write_text("user:x:1000:1000::/home/user:/bin/zsh")

    fit_out(root, None)

    assert (root / "etc/passwd").read_text() == "user:x:1000:1000::/home/user:/bin/zsh"


@pytest.mark.parametrize("place", ["etc", "etc/passwd", "etc/hosts", "tmp", "home", "opt", "proc"])
def test_fitting_out_a_hostile_image_changes_nothing_outside(root, tmp_path, place):
    """Its `/etc` may be a link to the host's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "passwd").write_text("the host's")
    if (root / place).is_dir():
        (root / place).rename(tmp_path / "away")
    (root / place).unlink(missing_ok=True)
    (root / place).symlink_to(outside / "passwd" if "/" in place else outside)

    with contextlib.suppress(PathRefusedError):
        fit_out(root, None)

    assert [path.name for path in outside.iterdir()] == ["passwd"]
    assert (outside / "passwd").read_text() == "the host's"


def test_a_layer_is_ready_for_another_boot(tmp_path):
    """What a program left in the way of the mounts would keep its own sandbox from it."""
    folder = tmp_path / "one"
    make_folders(folder, IMAGE)
    layer = folder / LAYER
    (layer / "opt").symlink_to("/oldroot")
    (layer / "proc").touch()
    (layer / "etc").mkdir()
    (layer / "etc/ld.so.preload").write_text("/root/mine.so")
    (layer / "kept").touch()
    layer.chmod(0)

    clear_way(folder)

    assert sorted(path.name for path in layer.iterdir()) == ["etc", "kept"]
    assert not list((layer / "etc").iterdir())
    assert stat.S_IMODE(layer.stat().st_mode) & 0o711 == 0o711


def test_a_sandboxes_folder_is_its_own_alone(tmp_path):
    """What it holds may be setuid for all that is known."""
    make_folders(tmp_path / "one", IMAGE)

    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "one" / LAYER).stat().st_mode) == 0o755


def test_what_the_kernel_closed_is_removed_too(tmp_path):
    """It leaves a folder of mode 0 in the work folder, and device nodes in the layer."""
    folder = tmp_path / "one"
    make_folders(folder, IMAGE)
    (folder / "work/work").mkdir(mode=0)
    subprocess.run(["mknod", folder / LAYER / "gone", "c", "0", "0"], check=True)

    remove(folder)

    assert not folder.exists()
    remove(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes sandboxes of other users")
def test_the_folders_belong_to_the_images_owner(tmp_path):
    """The overlay gives nobody else the right to write."""
    make_folders(tmp_path / "one", Image(IMAGE.root, 65534))

    for path in (tmp_path / "one", tmp_path / "one" / LAYER, tmp_path / "one/work"):
        assert path.stat().st_uid == 65534
