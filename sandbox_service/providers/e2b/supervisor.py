"""The shell that runs every program inside the sandbox, and its trailer.

Why it is there: envd starts a program in its own process group, kills only the
leader, and reports the end only when nobody holds the pipes any more. Under
this supervisor a program has its own session and group, and the end of its
output is marked. It needs bash and util-linux, nothing else. It is in the
program's hands: nothing here is a security boundary.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from sandbox_service.domain.execs import Argv, ShellCommand, SourceCode
from sandbox_service.domain.processes import Durable, ProcessSpec
from sandbox_service.domain.scripts import script

MARKER: Final = "SANDBOX_EXEC_MARKER"
"""The environment variable that every process of an exec carries."""

INSTANCE: Final = "SANDBOX_EXEC_INSTANCE"
"""The one that names who runs it, unless it outlives that."""

_OBEYED_BY_BASH: Final = frozenset(
    {"BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "BASH_XTRACEFD", "POSIXLY_CORRECT", "PS1", "PS2"}
)

_PLAIN: Final = ["--noprofile", "--norc"]

_TERMINAL: Final = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
"""What a program with a terminal is given, unless its caller says otherwise."""


_SUPERVISOR: Final = script(__package__, "supervisor.sh")
_KEEP: Final = script(__package__, "keep.sh")

_KIB: Final = 1024
_TRAILER_KIB: Final = 1
"""A spool has room for the trailer too, so that a stream that fits is known to be whole."""


def new_nonce() -> bytes:
    """Return what makes one exec's trailer its own."""
    return secrets.token_hex(12).encode()


def spool_kib(limit_bytes: int) -> int:
    """Return how large a spool may grow to hold so much output, in KiB. 0: there is none."""
    return 0 if limit_bytes <= 0 else -(-limit_bytes // _KIB) + _TRAILER_KIB


def environment(spec: ProcessSpec) -> dict[str, str]:
    """Return the variables that every process of an exec is given, the caller's among them."""
    env = {**spec.env, MARKER: spec.marker}
    if spec.pty is not None:
        env = {**_TERMINAL, **env}
    # What is spooled outlives the instance that started it.
    if spec.instance and (spec.durable is None or not spec.durable.spool_limit_bytes):
        env[INSTANCE] = spec.instance
    return env


def command_line(spec: ProcessSpec, nonce: bytes) -> tuple[str, list[str], dict[str, str]]:
    """Return the program that envd is to start, its arguments and its environment.

    `setsid` replaces itself with bash: envd's child leads no process group, so
    nothing is forked and the pid that envd reports is the group's too. With a
    terminal it does lead one, and `setsid` would fork. Only a shell command
    gets a login shell: a profile in the sandbox, or a variable that bash
    itself obeys, must not act on other programs.
    """
    env = environment(spec)
    how: Sequence[str]
    match spec.program:
        case ShellCommand(line):
            options, how = ["-l"], ["line", "", spec.cwd, line]
        case Argv(args):
            options, how = _PLAIN, ["argv", "", "", *_obeyed(env), *args]
        case SourceCode(args=args):
            if spec.language is None:
                raise ValueError("source code needs its language")
            folder = spec.source_path.rpartition("/")[0]
            program = [*spec.language.command, spec.source_path, *args]
            options, how = _PLAIN, ["argv", folder, "", *_obeyed(env), *program]
    if options is _PLAIN:
        env = {name: value for name, value in env.items() if name not in _OBEYED_BY_BASH}
    script, kept = _SUPERVISOR, list[str]()
    if spec.durable is not None:
        script, kept = _KEEP + _SUPERVISOR, _kept(spec, spec.durable, nonce)
    whole = ["/bin/bash", *options, "-c", script, "/bin/bash", *kept, nonce.decode(), *how]
    if spec.pty is None:
        whole = ["/usr/bin/setsid", *whole]
    return whole[0], whole[1:], env


def _obeyed(env: Mapping[str, str]) -> list[str]:
    """Return how to give a program the variables that bash would act on itself."""
    obeyed = [f"{name}={value}" for name, value in env.items() if name in _OBEYED_BY_BASH]
    return ["/usr/bin/env", *obeyed] if obeyed else []


def _kept(spec: ProcessSpec, durable: Durable, nonce: bytes) -> list[str]:
    record = json.dumps(
        {"instance": spec.instance, "limit": durable.spool_limit_bytes, "record": durable.record},
        separators=(",", ":"),
    )
    kib = spool_kib(durable.spool_limit_bytes)
    return [nonce.decode(), durable.exec_id, str(kib), spec.marker, record]
