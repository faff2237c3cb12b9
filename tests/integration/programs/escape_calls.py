"""Runs inside a sandbox: makes the system calls that no sandbox has a use for.

Their arguments are such that the kernel would do nothing even if it let them.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import pty
import signal
import socket
import struct

from escape_attempts import in_child, syscall, told_by_child

# Of x86_64: no sandbox can be asked for them, and the kernel never changes one.
NUMBERS = {
    "syslog": 103,
    "uselib": 134,
    "ustat": 136,
    "sysfs": 139,
    "vhangup": 153,
    "modify_ldt": 154,
    "pivot_root": 155,
    "_sysctl": 156,
    "chroot": 161,
    "acct": 163,
    "settimeofday": 164,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "iopl": 172,
    "ioperm": 173,
    "init_module": 175,
    "delete_module": 176,
    "quotactl": 179,
    "nfsservctl": 180,
    "lookup_dcookie": 212,
    "clock_settime": 227,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "migrate_pages": 256,
    "unshare": 272,
    "move_pages": 279,
    "perf_event_open": 298,
    "fanotify_init": 300,
    "open_by_handle_at": 304,
    "clock_adjtime": 305,
    "setns": 308,
    "kcmp": 312,
    "finit_module": 313,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
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
    "a call of the future": 471,
    "x32 getpid": 0x40000000 | 39,
}
CLONE = 56
NAMESPACES = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
FAMILIES = {
    "key": 15,
    "packet": 17,
    "rds": 21,
    "can": 29,
    "tipc": 30,
    "bluetooth": 31,
    "alg": 38,
    "vsock": 40,
    "smc": 43,
    "xdp": 44,
}
TIOCSTI, TIOCLINUX, TIOCSCTTY = 0x5412, 0x541C, 0x540E
HIGH = 1 << 32  # The kernel ignores it; a filter that looked at it would be led astray.


def attempts():
    """Yield each attempt and its name; the numbers are x86_64's."""
    assert platform.machine() == "x86_64"
    for name, number in NUMBERS.items():
        yield f"call {name}", lambda number=number: syscall(number, 0, 0, 0, 0, 0, 0)
    yield "call 32-bit getpid", _make_32_bit_call
    for name, flag in NAMESPACES.items():
        yield f"clone {name}", lambda flag=flag: _clone(flag)
    yield "clone user, high half", lambda: _clone(NAMESPACES["user"] | HIGH)
    yield "personality", lambda: syscall(135, 0x0400000)
    for name, family in FAMILIES.items():
        yield f"socket {name}", lambda family=family: syscall(41, family, 2, 0)
        yield f"socketpair {name}", lambda family=family: _make_pair(family)
    yield "socket vsock, high half", lambda: syscall(41, 40 | HIGH, 2, 0)
    for name, family in (("IPv4", socket.AF_INET), ("IPv6", socket.AF_INET6)):
        yield f"raw socket {name}", lambda family=family: socket.socket(family, socket.SOCK_RAW, 1)
    yield "TIOCSTI", lambda: told_by_child(lambda: _type_into_terminal(TIOCSTI))
    yield "TIOCSTI, high half", lambda: told_by_child(lambda: _type_into_terminal(TIOCSTI | HIGH))
    yield "TIOCLINUX", lambda: told_by_child(lambda: _type_into_terminal(TIOCLINUX))


def _clone(flags):
    pid = syscall(CLONE, flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return os.waitpid(pid, 0)


def _make_pair(family):
    room = ctypes.create_string_buffer(8)
    return syscall(53, family, socket.SOCK_STREAM, 0, ctypes.addressof(room))


def _type_into_terminal(request):
    _, terminal = pty.openpty()
    fcntl.ioctl(terminal, TIOCSCTTY, 0)
    character = ctypes.create_string_buffer(b"x")
    return syscall(16, terminal, request, ctypes.addressof(character))


def _make_32_bit_call():
    """Call the kernel by the gate of 32-bit programs, which has numbers of its own."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    # mov eax, 20 (getpid); int 0x80; ret
    code.write(b"\xb8" + struct.pack("<I", 20) + b"\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    status = in_child(ctypes.CFUNCTYPE(ctypes.c_int)(address))
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return status
