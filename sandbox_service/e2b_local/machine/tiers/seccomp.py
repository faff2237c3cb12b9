"""The system calls that no program in a sandbox may make, as a classic BPF program.

Namespaces already take away what these calls would reach. The filter is there for the
next kernel bug: it keeps the calls that such bugs mostly live in out of reach, and a few
things that namespaces do not cover (vsock sockets, typing into another's terminal).

Written out here because libseccomp is not on every machine and its Python binding is not
maintained. The program is built for one architecture at a time; numbers come from the
kernel's own headers, which never change one that was given out.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# struct sock_filter: the operation, where to go if true, if false, and a constant.
_INSTRUCTION: Final = struct.Struct("=HBBI")

_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_GREATER: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_JUMP_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

KILL: Final = 0x80000000
ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000

# Offsets in struct seccomp_data; arguments are 64 bits wide, the low half comes first.
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_ARGUMENTS_AT: Final = 16

HIGHEST_KNOWN_CALL: Final = 470
"""Calls newer than this file answer ENOSYS, as they would on an older kernel."""

_FORBIDDEN: Final[Sequence[str]] = (
    # Namespaces and mounts: a sandbox is complete when it starts.
    *("unshare", "setns", "mount", "umount2", "pivot_root", "chroot"),
    # Kernel interfaces with a long record of local root holes.
    *("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "kcmp"),
    *("fanotify_init", "open_by_handle_at", "move_pages", "migrate_pages", "modify_ldt"),
    # What only the machine's owner has use for.
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("reboot", "swapon", "swapoff", "acct", "syslog", "quotactl", "quotactl_fd", "vhangup"),
    *("clock_settime", "clock_adjtime", "settimeofday", "iopl", "ioperm", "nfsservctl"),
    *("lookup_dcookie", "uselib", "_sysctl", "sysfs", "ustat"),
)

_UNKNOWN: Final[Sequence[str]] = (
    # ENOSYS makes the C library fall back to `clone`, whose flags can be looked at.
    "clone3",
    # The newer mount interface, and io_uring: programs fall back to what they had before.
    *("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
    *("open_tree_attr", "io_uring_setup", "io_uring_enter", "io_uring_register"),
)

# Where there are no namespaces: what others could reach, or would stay.
_MADE_ON_THE_HOST: Final = ("socket", "shmget", "semget", "msgget")

_SOCKET_FAMILIES: Final = (1, 2, 10, 16)  # UNIX, INET, INET6, NETLINK.
_NEW_NAMESPACE_FLAGS: Final = 0x7E020000  # Every CLONE_NEW* that `clone` knows.
_TERMINAL_INJECTIONS: Final = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX.
# Query, Linux, 32-bit Linux, version 2.6 of either, and no address randomisation (gdb).
_PERSONALITIES: Final = (0xFFFFFFFF, 0, 0x8, 0x20000, 0x20008, 0x40000)

# The same on every architecture since the tables were unified.
_SHARED: Final[Mapping[str, int]] = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "clone3": 435,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "open_tree_attr": 467,
}

# fmt: off
_X86_64: Final[Mapping[str, int]] = {
    "ioctl": 16, "shmget": 29, "socket": 41, "socketpair": 53, "clone": 56, "semget": 64,
    "msgget": 68, "syslog": 103, "uselib": 134,
    "personality": 135, "ustat": 136, "sysfs": 139, "vhangup": 153, "modify_ldt": 154,
    "pivot_root": 155, "_sysctl": 156, "chroot": 161, "acct": 163, "settimeofday": 164,
    "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169,
    "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179,
    "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227, "kexec_load": 246,
    "add_key": 248, "request_key": 249, "keyctl": 250, "migrate_pages": 256, "unshare": 272,
    "move_pages": 279, "perf_event_open": 298, "fanotify_init": 300,
    "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "kcmp": 312,
    "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323, **_SHARED,
}
_AARCH64: Final[Mapping[str, int]] = {
    "lookup_dcookie": 18, "ioctl": 29, "umount2": 39, "mount": 40, "pivot_root": 41,
    "nfsservctl": 42, "chroot": 51, "vhangup": 58, "quotactl": 60, "acct": 89,
    "personality": 92, "unshare": 97, "kexec_load": 104, "init_module": 105,
    "delete_module": 106, "clock_settime": 112, "syslog": 116, "reboot": 142,
    "settimeofday": 170, "msgget": 186, "semget": 190, "shmget": 194,
    "socket": 198, "socketpair": 199, "add_key": 217,
    "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224, "swapoff": 225,
    "migrate_pages": 238, "move_pages": 239,
    "perf_event_open": 241, "fanotify_init": 262, "open_by_handle_at": 265,
    "clock_adjtime": 266, "setns": 268, "kcmp": 272, "finit_module": 273, "bpf": 280,
    "userfaultfd": 282, "kexec_file_load": 294, **_SHARED,
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one processor numbers its calls.

    Attributes:
        audit: The kernel's AUDIT_ARCH constant.
        calls: Number of each call that is named in this file and exists there.
    """

    audit: int
    calls: Mapping[str, int]


ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    "x86_64": Architecture(0xC000003E, _X86_64),
    "aarch64": Architecture(0xC00000B7, _AARCH64),
}
"""By the name that `uname -m` gives."""


def fail_with(number: int) -> int:
    """The verdict that makes a call fail with an errno."""
    return _FAIL | number


def build_program(machine: str | None = None, *, shares_host: bool = False) -> bytes:
    """Assemble the filter for a processor.

    Args:
        machine: A key of `ARCHITECTURES`. None: the one this runs on.
        shares_host: Whether the sandbox has no network and no memory apart from the host's.
            Then it gets no socket but pairs of them, and nothing of System V, which would
            outlive it.

    Returns:
        An array of struct sock_filter, at most 4096 of them, as `bwrap --seccomp` wants.

    Raises:
        KeyError: There is no table for that processor.
    """
    architecture = ARCHITECTURES[machine or platform.machine()]
    whole = _instructions(architecture, shares_host=shares_host)
    return b"".join(_INSTRUCTION.pack(*one) for one in whole)


def _instructions(
    architecture: Architecture, *, shares_host: bool
) -> Iterator[tuple[int, int, int, int]]:
    calls = architecture.calls
    # A 32-bit program would bring another table of numbers with it.
    yield (_LOAD_WORD, 0, 0, _ARCHITECTURE_AT)
    yield (_JUMP_EQUAL, 1, 0, architecture.audit)
    yield (_RETURN, 0, 0, KILL)
    yield (_LOAD_WORD, 0, 0, _NUMBER_AT)
    # Also refuses x32, whose numbers begin at 2**30.
    yield (_JUMP_GREATER, 0, 1, HIGHEST_KNOWN_CALL)
    yield (_RETURN, 0, 0, fail_with(errno.ENOSYS))
    for names, verdict in ((_FORBIDDEN, errno.EPERM), (_UNKNOWN, errno.ENOSYS)):
        for name in names:
            if name in calls:
                yield (_JUMP_EQUAL, 0, 1, calls[name])
                yield (_RETURN, 0, 0, fail_with(verdict))
    for name in _MADE_ON_THE_HOST if shares_host else ():
        yield (_JUMP_EQUAL, 0, 1, calls[name])
        yield (_RETURN, 0, 0, fail_with(errno.EACCES))
    denied = fail_with(errno.EPERM)
    yield from _judge(calls["clone"], 0, _JUMP_ANY_BIT, (_NEW_NAMESPACE_FLAGS,), denied, ALLOW)
    yield from _judge(calls["ioctl"], 1, _JUMP_EQUAL, _TERMINAL_INJECTIONS, denied, ALLOW)
    yield from _judge(calls["personality"], 0, _JUMP_EQUAL, _PERSONALITIES, ALLOW, denied)
    no_family = fail_with(errno.EAFNOSUPPORT)
    # The kernel makes both sockets of a pair before it asks whether the family knows pairs.
    for name in ("socket", "socketpair"):
        yield from _judge(calls[name], 0, _JUMP_EQUAL, _SOCKET_FAMILIES, ALLOW, no_family)
    yield (_RETURN, 0, 0, ALLOW)


def _judge(
    call: int, argument: int, test: int, constants: Sequence[int], matched: int, otherwise: int
) -> Iterator[tuple[int, int, int, int]]:
    """One call whose verdict hangs on whether an argument matches any of some constants."""
    yield (_JUMP_EQUAL, 0, len(constants) + 3, call)
    yield (_LOAD_WORD, 0, 0, _ARGUMENTS_AT + 8 * argument)
    for place, constant in enumerate(constants):
        yield (test, len(constants) - place, 0, constant)
    yield (_RETURN, 0, 0, otherwise)
    yield (_RETURN, 0, 0, matched)
