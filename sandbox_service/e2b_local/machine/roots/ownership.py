"""System calls that change owners and users, answered as if they had worked.

A sandbox of a root filesystem has one uid, which is called root. Packages come with files
of other groups and with services that run as other users; with one uid, the kernel
refuses all of that, and `apt-get install git` would fail over the group of one program of
`openssh-client`. So a filter answers these calls with success and does nothing: every
file stays its one owner's, and every program that one user's.

Nothing is given away: there is nobody else in the sandbox whom a program could have been
kept from. Programs that look whether they really became somebody else still refuse to
run, as PostgreSQL does when it finds itself to be root.
"""

from __future__ import annotations

import platform
import struct
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.tiers import seccomp

if TYPE_CHECKING:
    from collections.abc import Mapping

# struct sock_filter, and the operations that are needed of it; see `seccomp`.
_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD_WORD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4

# fmt: off
PRETENDED: Final[Mapping[str, Mapping[str, int]]] = {
    "x86_64": {
        "chown": 92, "fchown": 93, "lchown": 94, "setuid": 105, "setgid": 106,
        "setreuid": 113, "setregid": 114, "setgroups": 116, "setresuid": 117,
        "setresgid": 119, "fchownat": 260,
    },
    "aarch64": {
        "fchownat": 54, "fchown": 55, "setregid": 143, "setgid": 144, "setreuid": 145,
        "setuid": 146, "setresuid": 147, "setresgid": 149, "setgroups": 159,
    },
}
# fmt: on
"""Number of each call that does nothing, by the name that `uname -m` gives."""


def build_program(machine: str | None = None) -> bytes:
    """Assemble the filter of a sandbox that has one user, who is called root.

    Args:
        machine: A key of `seccomp.ARCHITECTURES`. None: the processor this runs on.

    Returns:
        All of `seccomp.build_program`, with these calls decided before it.

    Raises:
        KeyError: There is no table for that processor.
    """
    machine = machine or platform.machine()
    calls = list(PRETENDED[machine].values())
    last = len(calls) - 1
    instructions = [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE_AT),
        # Other tables of numbers are the business of the program that follows.
        (_JUMP_EQUAL, 0, len(calls) + 2, seccomp.ARCHITECTURES[machine].audit),
        (_LOAD_WORD, 0, 0, _NUMBER_AT),
        *((_JUMP_EQUAL, last - at, int(at == last), call) for at, call in enumerate(calls)),
        (_RETURN, 0, 0, seccomp.fail_with(0)),
    ]
    own = b"".join(_INSTRUCTION.pack(*one) for one in instructions)
    return own + seccomp.build_program(machine)
