"""What the keeper of a sandbox is told, and what that sandbox may reach."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.etc import HOST_ETC
from sandbox_service.e2b_local.machine.model import WRITABLE, IsolationUnavailableError
from sandbox_service.e2b_local.machine.tiers import seccomp
from sandbox_service.e2b_local.machine.tiers.bubblewrap import SHIMS_PATH
from sandbox_service.e2b_local.machine.tiers.unsafe import keeper
from sandbox_service.e2b_local.machine.tiers.unsafe.paths import PathMap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox_service.e2b_local.machine.limits import AgentLimits
    from sandbox_service.e2b_local.machine.tiers.bubblewrap import Layout

TMP: Final = "tmp"
"""Beside the folders of `WRITABLE`: what stands for `/tmp`."""

_READ: Final = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    *(f"/etc/{name}" for name in HOST_ETC),
    # What is there and may not be read, programs complain about, or refuse to go on.
    *("/etc/profile", "/etc/profile.d", "/etc/bash.bashrc", "/etc/inputrc", "/etc/gitconfig"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/environment", "/etc/pip.conf"),
    *("/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/gai.conf", "/etc/npmrc"),
    # Too many programs need `/proc/self`, and it cannot be had alone. Of other processes it
    # shows names and command lines; for the rest one must be allowed to trace them.
    "/proc",
)
_DEVICES: Final = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"),
    *("/dev/tty", "/dev/ptmx", "/dev/pts"),
)
# What keeps a sandbox from the server's processes: users of their own, or Landlock alone.
_VERSION_AS_ROOT: Final = 1
_VERSION_AS_USER: Final = 6


class Keeper:
    """Knows how sandboxes without a boundary are started.

    Args:
        layout: What all of them have in common.

    Raises:
        IsolationUnavailableError: The kernel has no Landlock, or too little of it.
        OSError: The disk says no.
    """

    def __init__(self, layout: Layout) -> None:
        check_landlock(keeper.landlock_version(), as_root=os.geteuid() == 0)
        self._layout = layout
        self.filter = layout.guest_dir / "seccomp-unsafe.bpf"
        self.filter.write_bytes(seccomp.build_program(shares_host=True))
        self.filter.chmod(0o644)

    def paths(self, folder: Path) -> PathMap:
        """Say where a sandbox's paths lead.

        Args:
            folder: Its own folder.
        """
        own = {path: str(folder / name) for name, path in WRITABLE}
        tmp, shims = str(folder / TMP), str(self._layout.guest_dir / "bin")
        return PathMap({**own, "/tmp": tmp, SHIMS_PATH: shims})  # noqa: S108

    def make_ready(self, folder: Path, uid: int | None) -> None:
        """Make what such a sandbox has beside what every one has.

        Raises:
            OSError: The disk says no.
        """
        tmp = folder / TMP
        if not tmp.is_dir():
            tmp.mkdir()
            tmp.chmod(0o700)
            if uid is not None:
                os.chown(tmp, uid, uid)

    def build_arguments(
        self, folder: Path, uid: int | None, control_fd: int, seccomp_fd: int, limits: AgentLimits
    ) -> list[str]:
        """Write the command line of one sandbox; see `bubblewrap.build_arguments`."""
        layout = self._layout
        start = (
            f"import sys; sys.path.insert(0, {str(layout.guest_dir)!r}); "
            "from agent import files; files.MEMORY_ROOTS = (); "
            f"files.DISK_ROOTS = ({str(folder)!r},); "
            "from agent.main import main; main(sys.argv[1:])"
        )
        return [
            str(layout.bwrap),
            *self._options(folder, uid),
            *("--control", str(control_fd), "--seccomp", str(seccomp_fd)),
            *("--", str(layout.python.host_program), "-I", "-S", "-c", start),
            *(str(control_fd), limits.own),
        ]

    def _options(self, folder: Path, uid: int | None) -> Iterator[str]:
        layout = self._layout
        yield from ("--server", str(os.getpid()))
        if uid is not None:
            yield from ("--uid", str(uid))
        for path in (
            *_READ,
            layout.guest_dir,
            *([layout.python.source] if layout.python.source else []),
        ):
            yield from ("--read", str(path))
        for name in (*(name for name, _ in WRITABLE), TMP):
            yield from ("--write", str(folder / name))
        for device in _DEVICES:
            yield from ("--device", device)


def stage(guest_dir: Path, interpreter: Path) -> Path:
    """Put the keeper where it can be run as a program.

    Raises:
        OSError: The disk says no.
    """
    program = guest_dir / "keeper"
    text = Path(keeper.__file__).read_text(encoding="utf-8")
    program.write_text(f"#!{shutil.which(interpreter) or interpreter} -IS\n{text}")
    program.chmod(0o755)
    return program


def check_landlock(version: int, *, as_root: bool) -> None:
    """See that there is enough of Landlock.

    Raises:
        IsolationUnavailableError: There is not.
    """
    wanted = _VERSION_AS_ROOT if as_root else _VERSION_AS_USER
    if version >= wanted:
        return
    found = f"version {version} of it" if version else "none"
    raise IsolationUnavailableError(
        f"Without namespaces sandboxes are held by Landlock, and this kernel has {found}.",
        "Use Linux 6.12 or newer with `landlock` among its `lsm=`, or as root 5.13 or newer; or "
        "let this process have namespaces.",
    )
