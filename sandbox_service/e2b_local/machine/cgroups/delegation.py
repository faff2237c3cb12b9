"""Getting a part of version 2's tree: systemd lends one to whoever asks.

A group can only be divided by a server that owns it and is alone in it. A shell's group is
neither, so the server starts itself anew within a scope of its own. The tests use folders
that look like the kernel's, and a `systemd-run` that only pretends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.cgroups.discovery import own_folders
from sandbox_service.e2b_local.machine.cgroups.model import read_pids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SCOPED_VARIABLE: Final = "SANDBOX_LOCAL_SCOPED"
"""Set for a process that is in its scope, whether that has helped or not."""

_ANSWER_SECONDS: Final = 5.0


def enter_scope() -> None:
    """Start this program anew in a scope of its own, where that gives it a group to divide.

    Then this does not return: pid, parent, descriptors and arguments stay as they are. So it
    is to be called before anything else.
    """
    command = find_scope(os.environ, os.geteuid())
    if os.environ.pop(SCOPED_VARIABLE, None) is None and command is not None:
        arguments = [*command, sys.executable, *sys.orig_argv[1:]]
        os.execve(command[0], arguments, {**os.environ, SCOPED_VARIABLE: "1"})  # noqa: S606


def _answers(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def find_scope(
    environment: Mapping[str, str],
    uid: int,
    process: Path = Path("/proc/self"),
    *,
    find_program: Callable[[str], str | None] = shutil.which,
    answers: Callable[[Sequence[str]], bool] = _answers,
) -> list[str] | None:
    """Say what to put before a command to run it in a scope of its own.

    Args:
        environment: Of this process.
        uid: Its user. Root asks the system's systemd, and others their own.
        process: The folder in `/proc` that says where it is.
        find_program: Looks a program up.
        answers: Runs a command, and says whether it succeeded.

    Returns:
        None: that would not help. It is there already, or in a group of its own; this host
        has version 1; or no systemd answers.
    """
    if SCOPED_VARIABLE in environment:
        return None
    try:
        member = (process / "cgroup").read_text()
        own = own_folders((process / "mountinfo").read_text(), member)
    except OSError:
        return None
    if list(own) != [""] or _is_alone(own[""], process):
        return None
    program = find_program("systemd-run")
    if program is None:
        return None
    manager = ["--user"] if uid else []
    command = [program, *manager, "--scope", "-q", "-p", "Delegate=yes", "--"]
    return command if answers([*command, "true"]) else None


def _is_alone(group: Path, process: Path) -> bool:
    """Whether a group is this process' to divide."""
    pid = int((process / "stat").read_text().split(" ", 1)[0])
    return os.access(group / "cgroup.procs", os.W_OK) and read_pids(group) == [pid]
