"""Root filesystems to make sandboxes of: a small one without Python, and a Debian."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_BUILD = Path(__file__).resolve().parents[1] / "integration/rootfs/build"

# All that the service's own scripts call, and what tests call. No Python.
_PROGRAMS = (
    *("bash", "sh", "cat", "ls", "mkdir", "rm", "rmdir", "mv", "cp", "ln", "touch", "chmod"),
    *("chown", "stat", "id", "env", "head", "tail", "seq", "sleep", "true", "false", "dd", "od"),
    *("echo", "printf", "test", "tr", "cut", "sort", "wc", "date", "uname", "basename", "dirname"),
    *("mktemp", "mkfifo", "readlink", "realpath", "sha256sum", "base64", "tee", "timeout", "nohup"),
    *("setsid", "flock", "find", "xargs", "grep", "sed", "tar", "gzip", "sync", "df", "du", "kill"),
    *("hostname", "cmp", "comm", "join", "uniq", "split", "paste", "expr", "tac", "install"),
    *("truncate", "nproc", "stdbuf", "getconf", "awk", "perl", "ps", "pgrep"),
)


def make_small_root(folder: Path) -> Path:
    """Make a root of this machine's own programs, and of the libraries they are linked to."""
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "etc").mkdir()
    (folder / "bin").symlink_to("usr/bin")
    for name in _PROGRAMS:
        program = shutil.which(name)
        if program is None:
            continue
        shutil.copy(program, folder / "usr/bin" / name)
        for library in _libraries_of(program):
            copy = folder / library.relative_to("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, copy)
    return folder


def _libraries_of(program: str) -> list[Path]:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return [Path(word) for word in listed.stdout.split() if word.startswith("/")]


def build_debian() -> Path:
    """Return the tar of a Debian with apt, building it if it has not been built."""
    done = subprocess.run([_BUILD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return Path(done.stdout.strip())
