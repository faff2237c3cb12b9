"""What a machine keeps on disk: one folder, a lock on it, and files that guests see."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.model import IsolationUnavailableError
from sandbox_service.e2b_local.machine.roots.shims import SHIMS
from sandbox_service.e2b_local.machine.tiers import seccomp
from sandbox_service.e2b_local.machine.tiers.bubblewrap import Candidate, Interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX: Final = "machine-"
_AGENT_SOURCES: Final = Path(__file__).parents[1] / "agent"
_COMPILE: Final = """\
import py_compile, sys
for path in sys.argv[1:]:
    py_compile.compile(path, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""
_SYSTEM_PROGRAMS: Final = tuple(
    Path(folder) for folder in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")
)
# Of an interpreter's folder, what no program needs, and what is large.
_NOT_STAGED: Final = shutil.ignore_patterns(
    *("test", "tests", "idlelib", "turtledemo", "tkinter", "__pycache__", "site-packages"),
    *("*.a", "config-*", "include", "share"),
)


class InstanceFolder:
    """A folder that belongs to one living machine.

    Sandboxes run under another uid when the server is root; then the folder lets others
    pass, and each sandbox's own folder does not.
    """

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    @classmethod
    def create(cls, base: Path) -> InstanceFolder:
        """Make the folder, after removing those of machines that died.

        Raises:
            IsolationUnavailableError: The disk says no, or other uids could not get in.
        """
        shared = os.geteuid() == 0
        try:
            closest = next(path for path in (base, *base.absolute().parents) if path.exists())
            if shared and not is_passable(closest):
                raise IsolationUnavailableError(
                    f"The state folder {base} lies where other users cannot reach it, and a "
                    "server that runs as root gives each sandbox a user of its own.",
                    "Choose one whose every parent is open to others, such as "
                    "/var/lib/sandbox-service (SANDBOX_STATE_DIR).",
                )
            base.mkdir(mode=0o711 if shared else 0o700, parents=True, exist_ok=True)
            with _exclusive(base / ".lock"):
                for stale in _find_stale(base):
                    remove_tree(stale)
                path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
                lock_fd = _lock(path / "lock")
            path.chmod(0o711 if shared else 0o700)
            for name in ("sandboxes", "guest", "tools"):
                (path / name).mkdir()
                (path / name).chmod(0o711)
            (path / "snapshots").mkdir(mode=0o700)
        except OSError as error:
            raise IsolationUnavailableError(
                f"The state folder {base} cannot be used: {error}.",
                "Choose another one (SANDBOX_STATE_DIR), on a disk with free space.",
            ) from error
        assert lock_fd is not None  # noqa: S101 - Nobody else knows the new folder.
        return cls(path, lock_fd)

    def remove(self) -> None:
        """Remove the folder and let go of its lock."""
        if self._lock_fd < 0:
            return
        remove_tree(self.path)
        os.close(self._lock_fd)
        self._lock_fd = -1

    def write_guest_files(self) -> Path:
        """Write what every sandbox sees of ours.

        Returns:
            The folder with `agent/`, `bin/` and, for the server, `seccomp.bpf`.
        """
        guest = self.path / "guest"
        (guest / "agent").mkdir()
        for source in _AGENT_SOURCES.glob("*.py"):
            shutil.copyfile(source, guest / "agent" / source.name)
        (guest / "seccomp.bpf").write_bytes(seccomp.build_program())
        programs = guest / "bin"
        programs.mkdir()
        for name, text in SHIMS.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        _open_to_all(guest)
        return guest

    def compile_agent(self, python: Interpreter) -> None:
        """Spare each boot the compilation, if the interpreter can be run out here.

        The cache is for its version, and never compared with the source again.
        """
        sources = self.path / "guest" / "agent"
        command = [
            str(python.host_program),
            "-I",
            "-S",
            "-c",
            _COMPILE,
            *map(str, sources.glob("*.py")),
        ]
        try:
            subprocess.run(command, check=False, capture_output=True, env={}, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return
        _open_to_all(sources)

    def stage_bubblewrap(self, candidate: Candidate) -> Path:
        """Put a bubblewrap, with the libraries it brings, where any uid can run it.

        Returns:
            What to run: the candidate itself where every uid can run that.
        """
        if os.geteuid() != 0 or is_passable(candidate.program):
            return candidate.program
        folder = Path(tempfile.mkdtemp(prefix="bubblewrap-", dir=self.path / "tools"))
        program = folder / "package" / "_bin" / "bwrap"
        program.parent.mkdir(parents=True)
        shutil.copyfile(candidate.program, program)
        if candidate.libraries is not None:
            shutil.copytree(candidate.libraries, folder / candidate.libraries.name)
        _open_to_all(folder)
        program.chmod(0o755)
        return program

    def stage_python(self, python: Interpreter) -> Interpreter:
        """Put an interpreter where any uid can run it, if it is not there already."""
        if python.source is None or os.geteuid() != 0 or is_passable(python.source):
            return python
        folder = self.path / "tools" / "python"
        shutil.copytree(python.source, folder, symlinks=True, ignore=_NOT_STAGED)
        _open_to_all(folder)
        return replace(python, source=folder)


def choose_interpreter(explicit: Path | None) -> Interpreter:
    """Find an interpreter that a sandbox can see: the system's, else the one in use.

    Args:
        explicit: The only one to consider.
    """
    for candidate in [explicit] if explicit else [Path("/usr/bin/python3"), *_on_system("python3")]:
        if candidate.exists() and candidate.resolve().is_relative_to("/usr"):
            return Interpreter(str(candidate))
    if explicit is None:
        prefix = Path(sys.base_prefix).resolve()
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return Interpreter(str(prefix / "bin" / name), prefix, prefix)
    real = explicit.resolve()
    return Interpreter(str(real), real.parent.parent, real.parent.parent)


def link_python(programs: Path, python: Interpreter) -> None:
    """Make `python` and `python3` work inside, where the system has only one or none."""
    existing = next((str(path) for path in _on_system("python3")), None)
    if existing is None:
        (programs / "python3").symlink_to(python.program)
    if not any(True for _ in _on_system("python")):
        (programs / "python").symlink_to(existing or python.program)


def _on_system(name: str) -> Iterator[Path]:
    return (folder / name for folder in _SYSTEM_PROGRAMS if (folder / name).exists())


def is_passable(path: Path) -> bool:
    """Whether any uid can reach a path and read or enter what is there."""
    real = path.resolve()
    needed = stat.S_IXOTH if real.is_dir() else stat.S_IROTH | stat.S_IXOTH
    if real.stat().st_mode & needed != needed:
        return False
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in real.parents)


def remove_tree(path: Path) -> None:
    """Remove a folder that strangers filled; nothing there is fine.

    They may have closed folders to their owner or nested them deeper than Python can
    follow; `rm` can, once they are opened again.
    """
    try:
        shutil.rmtree(path)
        return
    except FileNotFoundError:
        if not path.exists():
            return
    except (OSError, RecursionError):
        pass
    target = ["--", str(path)]
    for command in (["chmod", "-R", "u+rwX", *target], ["rm", "-rf", *target]):
        subprocess.run(command, check=False, capture_output=True)


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if path.is_dir() or mode & stat.S_IXUSR else 0))


def _find_stale(base: Path) -> list[Path]:
    stale = []
    for path in base.glob(_PREFIX + "*"):
        try:
            lock_fd = _lock(path / "lock")
        except OSError:
            lock_fd = None
            if (path / "lock").exists():
                continue
            stale.append(path)
        if lock_fd is not None:
            # Nobody else can look for it before the caller is done: it holds the base.
            os.close(lock_fd)
            stale.append(path)
    return stale


def _lock(path: Path) -> int | None:
    """Lock a file for as long as this process lives. None: somebody holds it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


class _exclusive:  # noqa: N801 - Used like a function.
    """Hold a lock for the length of a block, waiting for it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
