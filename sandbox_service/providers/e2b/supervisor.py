"""The shell that runs every program inside the sandbox, and its trailer.

Why it is there: envd starts a program in its own process group, kills only the
leader, and reports the end only when nobody holds the pipes any more. Under
this supervisor a program has its own session and group, and the end of its
output is marked. It needs bash and util-linux, nothing else. It is in the
program's hands: nothing here is a security boundary.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Final

from sandbox_service.domain.execs import Argv, ShellCommand, SourceCode
from sandbox_service.domain.ports import ProcessSpec

MARKER: Final = "SANDBOX_EXEC_MARKER"
"""The environment variable that every process of an exec carries."""

_OBEYED_BY_BASH: Final = frozenset(
    {"BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "BASH_XTRACEFD", "POSIXLY_CORRECT"}
)

_RECORD_SEPARATOR: Final = 0x1E
_CODE_DIGITS_MAX: Final = 3


def _script(name: str) -> str:
    """Return a script of this package without what only people read."""
    text = resources.files(__package__).joinpath(name).read_text()
    return re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)


_SUPERVISOR: Final = _script("supervisor.sh")
_KILL_TREE: Final = _script("kill_tree.sh")


def new_nonce() -> bytes:
    """Return what makes one exec's trailer its own."""
    return secrets.token_hex(12).encode()


def command_line(spec: ProcessSpec, nonce: bytes) -> tuple[str, list[str], Mapping[str, str]]:
    """Return the program that envd is to start, its arguments and its environment.

    `setsid` replaces itself with bash: envd's child leads no process group, so
    nothing is forked and the pid that envd reports is the group's too. Only a
    shell command gets a login shell: a profile in the sandbox, or a variable
    that bash itself obeys, must not act on other programs.
    """
    if isinstance(spec.program, ShellCommand):
        shell = ["/bin/bash", "-l", "-c", _SUPERVISOR, "/bin/bash", nonce.decode()]
        return "/usr/bin/setsid", [*shell, "line", "", spec.cwd, spec.program.line], spec.env
    folder = ""
    how: Sequence[str]
    match spec.program:
        case Argv(args):
            how = args
        case SourceCode(args=args):
            if spec.language is None:
                raise ValueError("source code needs its language")
            folder = spec.source_path.rpartition("/")[0]
            how = [*spec.language.command, spec.source_path, *args]
    obeyed = {name: value for name, value in spec.env.items() if name in _OBEYED_BY_BASH}
    if obeyed:
        how = ["/usr/bin/env", *(f"{name}={value}" for name, value in obeyed.items()), *how]
    plain = ["/bin/bash", "--noprofile", "--norc", "-c", _SUPERVISOR, "/bin/bash", nonce.decode()]
    env = {name: value for name, value in spec.env.items() if name not in obeyed}
    return "/usr/bin/setsid", [*plain, "argv", folder, "", *how], env


def kill_tree_arguments(pid: int, marker: str, grace_ms: int) -> list[str]:
    """Return bash's arguments for ending an exec's processes."""
    return ["-c", _KILL_TREE, "/bin/bash", str(pid), marker, str(grace_ms)]


class TrailerScanner:
    """Finds the trailer in one stream, and takes it out.

    The bytes of a trailer may come in two frames, so what can still become one
    is held back: at most the trailer's own length, and only at the end.

    Attributes:
        code: The exit code that the trailer told. None until it came.
    """

    def __init__(self, nonce: bytes) -> None:
        self.code: int | None = None
        self._prefix = bytes([_RECORD_SEPARATOR]) + nonce + b":"
        self._longest = len(self._prefix) + _CODE_DIGITS_MAX + 1
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return the program's own bytes among `data` and what was held back before."""
        if self._held:
            data = self._held + data
            self._held = b""
        if self.code is not None:
            return data
        at = data.find(self._prefix)
        while at != -1:
            end = data.find(_RECORD_SEPARATOR, at + len(self._prefix))
            digits = data[at + len(self._prefix) : end]
            if end != -1 and digits.isdigit() and len(digits) <= _CODE_DIGITS_MAX:
                self.code = int(digits)
                return data[:at] + data[end + 1 :]
            # The program may have written the beginning of its own mark.
            at = data.find(self._prefix, at + 1)
        start = data.find(_RECORD_SEPARATOR, max(0, len(data) - self._longest))
        while start != -1:
            if self._may_become_trailer(data[start:]):
                self._held = data[start:]
                return data[:start]
            start = data.find(_RECORD_SEPARATOR, start + 1)
        return data

    def rest(self) -> bytes:
        """Return what was held back, when nothing more comes."""
        held, self._held = self._held, b""
        return held

    def _may_become_trailer(self, tail: bytes) -> bool:
        if len(tail) <= len(self._prefix):
            return self._prefix.startswith(tail)
        digits = tail[len(self._prefix) :]
        return (
            tail.startswith(self._prefix) and digits.isdigit() and len(digits) <= _CODE_DIGITS_MAX
        )
