"""The agent's own Python, for root filesystems that have none or another.

An image may hold no Python, or one too old, or another C library. So the agent brings
the host's interpreter along: its program, the libraries that it maps, and its loader are
copied into one folder, which a sandbox sees read-only; only the standard library is shown
from where it is. The loader is started by name and told where to look, so that nothing of
the image is taken for the host's.

The host's `tar` comes along in the same way: what is kept of a sandbox is packed inside,
and the `tar` of a small image knows neither attributes nor holes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

from sandbox_service.e2b_local.machine.model import IsolationUnavailableError
from sandbox_service.e2b_local.machine.tiers.bubblewrap import OWN_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GLIBC_LOADERS: Final = ("ld-linux", "ld64")
_LOADERS: Final = (*_GLIBC_LOADERS, "ld-musl")
_STAGE_TIMEOUT_SECONDS: Final = 30

# Imports all that the agent may ever import, and says what that mapped.
_LOOK: Final = """\
import glob, importlib, json, os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
names = ["agent." + name[:-3] for name in os.listdir(sys.argv[1]) if name.endswith(".py")]
for name in names + ["ctypes", "json", "shutil", "traceback"]:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
    code = [line.rstrip("\\n") for line in maps if " r-x" in line and "/" in line]
print(json.dumps({
    "program": os.readlink("/proc/self/exe"),
    "library": os.path.dirname(os.path.realpath(os.__file__)),
    "name": "python%d.%d" % sys.version_info[:2],
    "mapped": sorted({line[line.index("/"):] for line in code}),
}))
"""


@dataclass(frozen=True, slots=True)
class Runtime:
    """An interpreter that runs in any root filesystem.

    Attributes:
        standard_library: On the host.
        standard_library_inside: Where a sandbox must see it.
        command: How the interpreter is started inside; its arguments follow.
        tar: How the host's `tar` is started inside. Empty: it cannot be carried along.
    """

    standard_library: Path
    standard_library_inside: str
    command: tuple[str, ...]
    tar: tuple[str, ...] = ()


class _Found(TypedDict):
    """What an interpreter tells of itself: paths, and `python3.11` or so."""

    program: str
    library: str
    name: str
    mapped: list[str]


def stage(own: Path, program: Path) -> Runtime:
    """Copy the host's interpreter into what a sandbox sees of ours.

    Args:
        own: What a sandbox will see at `OWN_PATH`, with `agent/` in it.
        program: An interpreter that runs on the host.

    Raises:
        IsolationUnavailableError: It does not run.
    """
    found = _look(program, own / "agent")
    folder, name = own / "python", found["name"]
    library = Path(found["library"])
    # Python looks for its library from its program: `../lib/python3.11/os.py`.
    (folder / "bin").mkdir(parents=True)
    (folder / "lib" / name).mkdir(parents=True)
    executable = Path(found["program"])
    shutil.copy(executable, folder / "bin" / name)
    loader = ""
    for path in map(Path, found["mapped"]):
        if path == executable or path.is_relative_to(library):
            continue
        for alias in _names(path):
            shutil.copy(path, folder / "lib" / alias)
            if alias.startswith(_LOADERS):
                loader = alias
    inside = f"{OWN_PATH}/python"
    command = _command(inside, f"{inside}/bin/{name}", loader)
    return Runtime(library, f"{inside}/lib/{name}", command, _stage_tar(own))


def _stage_tar(own: Path) -> tuple[str, ...]:
    """Copy the host's `tar` as well, if it is one of GNU's C library."""
    program = shutil.which("tar", path="/usr/local/bin:/usr/bin:/bin")
    if program is None:
        return ()
    # The loader then says what it would load, and runs nothing.
    said = _output_of([program, "--version"], {"LD_TRACE_LOADED_OBJECTS": "1"})
    libraries = [Path(word) for word in said.split() if word.startswith("/")]
    loader = next((one for one in libraries if one.name.startswith(_GLIBC_LOADERS)), None)
    if loader is None:
        return ()
    folder = own / "tar"
    (folder / "lib").mkdir(parents=True)
    shutil.copy(program, folder / "tar")
    for library in libraries:
        shutil.copy(library, folder / "lib" / library.name)
    here = _command(str(folder), f"{folder}/tar", loader.name)
    if "GNU tar" not in _output_of([*here, "--version"], {}):
        return ()
    inside = f"{OWN_PATH}/tar"
    return _command(inside, f"{inside}/tar", loader.name)


def _output_of(command: Sequence[str], env: Mapping[str, str]) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            env={"LC_ALL": "C", **env},
            timeout=_STAGE_TIMEOUT_SECONDS,
        )
        return done.stdout
    return ""


def _command(folder: str, program: str, loader: str) -> tuple[str, ...]:
    if not loader:
        return (program,)  # It is linked statically.
    options = ["--library-path", f"{folder}/lib"]
    if loader.startswith(_GLIBC_LOADERS):
        options.insert(0, "--inhibit-cache")
    return (f"{folder}/lib/{loader}", *options, program)


def _look(program: Path, agent: Path) -> _Found:
    try:
        done = subprocess.run(
            [str(program), "-I", "-S", "-B", "-c", _LOOK, str(agent)],
            check=True,
            capture_output=True,
            env={"LC_ALL": "C"},
            timeout=_STAGE_TIMEOUT_SECONDS,
        )
        found: _Found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise IsolationUnavailableError(
            f"The interpreter {program} cannot be prepared for root filesystems: {error}.",
            "Install the system's full Python package (on Debian `python3`).",
        ) from error
    return found


def _names(library: Path) -> list[str]:
    """A library's name, and the links beside it by which programs ask for it."""
    names = [library.name]
    with os.scandir(library.parent) as entries:
        links = [entry for entry in entries if entry.is_symlink()]
    return names + [link.name for link in links if str(Path(link).readlink()) == library.name]
