"""Sandboxes whose root is a filesystem of their template, under a layer of their own.

The template's files, the image, are never written to: an overlay puts each sandbox's
writes into a folder of the sandbox, and they go with it. Inside there is one user, called
root, who owns every file, and may install packages. For the host it is an ordinary user
with no privilege: the server's own, or one that the image belongs to when the server is
root, for an overlay shows files as their owners' and gives only those the right to write.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.etc import SYNTHETIC_ETC
from sandbox_service.e2b_local.machine.model import HOME, ROOT_HOME, WRITABLE
from sandbox_service.e2b_local.machine.roots import ownership, runtime
from sandbox_service.e2b_local.machine.roots.shims import SHIMS
from sandbox_service.e2b_local.machine.roots.staging import remove_tree
from sandbox_service.e2b_local.machine.roots.tree import Tree
from sandbox_service.e2b_local.machine.tiers.bubblewrap import (
    DROP_AND_START_AGENT,
    OWN_PATH,
    START_AGENT,
    boot_id,
    kernel_views,
    limit_views,
    namespaces,
    own_folders,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox_service.e2b_local.machine.limits import AgentLimits
    from sandbox_service.e2b_local.machine.model import BootSpec, Image, MachineConfig
    from sandbox_service.e2b_local.machine.roots.runtime import Runtime
    from sandbox_service.e2b_local.machine.tiers.bubblewrap import Layout

LAYER: Final = "layer"
"""Folder of a sandbox: what it has written, in the form that the kernel's overlay has."""

_WORK: Final = "work"
_PRELOAD: Final = "/etc/ld.so.preload"
_ACCOUNTS_LIMIT_BYTES: Final = 1024 * 1024

# Where something of ours is mounted. Programs inside may move what leads there, and it
# must lead there again at the next boot.
_MOUNT_POINTS: Final = ("/proc", "/sys", "/dev", "/tmp", OWN_PATH, _PRELOAD)  # noqa: S108

_APT: Final = "etc/apt/apt.conf.d/99-sandbox"
_DPKG: Final = "etc/dpkg/dpkg.cfg.d/99-sandbox"
_SETTINGS: Final = {
    # Downloads as another user than root, who does not exist here.
    _APT: 'APT::Sandbox::User "root";\n',
    # dpkg opens each file again to see it on the disk: for read-only files only a root
    # with privileges can, and a sandbox outlives no power cut anyway.
    _DPKG: "force-unsafe-io\n",
}


@dataclass(frozen=True, slots=True)
class Outfit:
    """What every sandbox of any image has of ours.

    Attributes:
        own: What it sees at `OWN_PATH`.
        runtime: The agent's interpreter.
        seccomp_program: The filter.
        preload: An empty file.
    """

    own: Path
    runtime: Runtime
    seccomp_program: Path
    preload: Path


def stage_outfit(guest_dir: Path, python: Path) -> Outfit:
    """Prepare, once, what sandboxes of images see of ours.

    Args:
        guest_dir: As `InstanceFolder.write_guest_files` left it. Any uid must be able to
            reach it.
        python: An interpreter that runs on the host, with a library that any uid can read.

    Raises:
        IsolationUnavailableError: The interpreter does not run.
        OSError: The disk says no.
    """
    folder = guest_dir / "rootfs"
    own = folder / "own"
    (own / "bin").mkdir(parents=True)
    shutil.copytree(guest_dir / "agent", own / "agent")
    # Not the links to `python` that are there, too: an image has its own or none.
    for name in SHIMS:
        shutil.copy(guest_dir / "bin" / name, own / "bin" / name)
    staged = runtime.stage(own, python)
    (folder / "seccomp.bpf").write_bytes(ownership.build_program())
    (folder / "preload").touch()
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    return Outfit(own, staged, folder / "seccomp.bpf", folder / "preload")


def can_overlay(bwrap: Path) -> bool:
    """Whether a bubblewrap knows overlays, as it does since 0.11."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [str(bwrap), "--help"], check=False, capture_output=True, env={}, timeout=10
        )
        return b"--overlay-src" in done.stdout + done.stderr
    return False


def build_arguments(
    layout: Layout,
    outfit: Outfit,
    image: Image,
    config: MachineConfig,
    spec: BootSpec,
    folder: Path,
    control_fd: int,
    seccomp_fd: int,
    limits: AgentLimits,
) -> list[str]:
    """Write the command line of one sandbox of an image.

    Args:
        layout: What is the same for all; its `bwrap` must know overlays.
        outfit: What is the same for all of images.
        image: The root.
        config: Sizes.
        spec: What is special about this one.
        folder: This one's own folder, as `make_folders` made it.
        control_fd: The agent's end of the socket pair.
        seccomp_fd: Open on `outfit.seccomp_program`, at its beginning.
        limits: What it is told of its limits.
    """
    staged = outfit.runtime
    start = DROP_AND_START_AGENT if layout.tier.userns == "given" else START_AGENT
    return [
        str(layout.bwrap),
        *namespaces(layout.tier, spec, 0),
        *("--overlay-src", str(image.root)),
        *("--overlay", str(folder / LAYER), str(folder / _WORK), "/"),
        *kernel_views(layout, config),
        *_homes(config, folder),
        *boot_id(layout, folder),
        *limit_views(limits),
        *("--ro-bind", str(outfit.own), OWN_PATH),
        *("--ro-bind", str(staged.standard_library), staged.standard_library_inside),
        # What the image names there would be loaded into the agent, too.
        *("--ro-bind", str(outfit.preload), _PRELOAD),
        # Or the agent would read the image's locales.
        *("--setenv", "LC_ALL", "C"),
        *(("--setenv", "SANDBOX_TAR", " ".join(staged.tar)) if staged.tar else ()),
        *("--chdir", "/"),
        *("--seccomp", str(seccomp_fd)),
        *("--", *staged.command, "-I", "-S", "-c", start, str(control_fd), limits.own),
    ]


def _homes(config: MachineConfig, folder: Path) -> Iterator[str]:
    # Without a size, the homes are part of the layer as everything else is.
    return iter(()) if config.home_size_bytes is None else own_folders(config, folder)


def make_folders(folder: Path, image: Image) -> None:
    """Make a sandbox's own folders, open to its user alone.

    Raises:
        OSError: The disk says no.
    """
    folder.mkdir(mode=0o700)
    for path, mode in ((folder / LAYER, 0o755), (folder / _WORK, 0o700)):
        path.mkdir()
        path.chmod(mode)
    if image.owner is not None:
        for path in (folder / LAYER, folder / _WORK, folder):
            os.chown(path, image.owner, image.owner)


def clear_way(folder: Path) -> None:
    """Make a layer fit for another boot, whatever was written to it.

    To be called while nothing of the sandbox runs.

    Raises:
        OSError: The disk says no.
    """
    layer_mode = stat.S_IMODE((folder / LAYER).stat().st_mode)
    (folder / LAYER).chmod(layer_mode | 0o711)
    with Tree(folder / LAYER, None) as layer:
        for path in _MOUNT_POINTS:
            layer.clear_way(path[1:])


def remove(folder: Path) -> None:
    """Remove a sandbox's own folder; nothing there is fine."""
    with contextlib.suppress(OSError):
        # The kernel leaves a folder there that not even its owner may enter.
        (folder / _WORK / "work").chmod(0o700)
    remove_tree(folder)


def fit_out(root: Path, owner: int | None) -> None:
    """Make a freshly unpacked root fit for sandboxes: what any of them must find in it.

    Args:
        root: The root. Whatever it holds, nothing outside it is written.
        owner: Uid and gid of what is written. None: this process' own.

    Raises:
        OSError: The disk says no.
        PathRefusedError: Something stands where a folder or a file has to be.
    """
    now = time.time_ns()
    homes = [path for _, path in WRITABLE]
    with Tree(root, owner) as tree:
        for path in (*_MOUNT_POINTS, *homes, "/etc/hosts"):
            tree.clear_way(path[1:])
        for path in ("/dev", OWN_PATH, *homes):
            tree.make_folder(path[1:])
        tree.add_folder("proc", 0o555, now)
        tree.add_folder("tmp", 0o1777, now)
        files = {
            "etc/hosts": SYNTHETIC_ETC["hosts"],
            "etc/resolv.conf": SYNTHETIC_ETC["resolv.conf"],
            "etc/hostname": "sandbox\n",
            **{path: text for path, text in _SETTINGS.items() if _has_parent(tree, path)},
            **_accounts(tree),
        }
        for path, text in files.items():
            tree.add_file(path, io.BytesIO(text.encode("utf-8", "surrogateescape")), 0o644, now)
        tree.finish()


def _has_parent(tree: Tree, path: str) -> bool:
    return stat.S_ISDIR(tree.mode_of(path.rpartition("/")[0]) or 0)


def _accounts(tree: Tree) -> dict[str, str]:
    """The image's accounts, with `user` as a second name of the one user there is."""
    bash = any(stat.S_ISREG(tree.mode_of(path) or 0) for path in ("bin/bash", "usr/bin/bash"))
    shell = "/bin/bash" if bash else "/bin/sh"
    own = {
        "etc/passwd": (
            f"root:x:0:0:root:{ROOT_HOME}:{shell}\n",
            f"user:x:0:0:user:{HOME}:{shell}\n",
        ),
        "etc/group": ("root:x:0:\n", "user:x:0:\n"),
    }
    files = {}
    for path, (root, user) in own.items():
        found = tree.read_file(path, _ACCOUNTS_LIMIT_BYTES)
        text = root if found is None else found.decode("utf-8", "surrogateescape")
        if not any(line.startswith("user:") for line in text.splitlines()):
            text = text.rstrip("\n") + "\n" + user
        files[path] = text
    return files
