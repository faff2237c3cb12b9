"""Runs inside a sandbox: looks for processes, files and sockets that are not its own."""

# System calls are what is tried, and not what pathlib makes of them.
# ruff: noqa: PTH115, PTH116, PTH208

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from pathlib import Path

from escape_attempts import LIBC, checked, syscall

DEVICES = (
    *("mem", "kmem", "port", "kmsg", "kvm", "fuse", "net/tun", "vda", "sda", "loop0"),
    *("loop-control", "vhost-net", "vhost-vsock", "vsock", "tty0", "mapper/control", "uinput"),
)
MASKED = (
    *("kcore", "kmsg", "kallsyms", "keys", "key-users", "config.gz", "timer_list", "interrupts"),
    *("cmdline", "modules", "sched_debug", "latency_stats", "sysrq-trigger"),
    *("vmallocinfo", "slabinfo", "kpageflags", "kpagecount", "pagetypeinfo"),
)
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
PIDFD_GETFD = 438
ANY_ADDRESS = 0x10000


def attempts(host):
    """Yield each attempt and its name.

    Args:
        host: What the host has: `pid` of a process, `marker` in its environment, and
            `paths`, `addresses`, `abstract` names and a `shm` key that are not ours.
    """
    yield "descriptors", _see_descriptors
    yield from _processes(host)
    for path in (
        *("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/run", "/run/docker.sock", "/var/run"),
        *("/var/run/docker.sock", "/var/lib", "/work", "/boot", "/mnt", "/media", "/srv"),
        *("/sys/kernel", "/sys/class", "/sys/block", "/sys/firmware", "/sys/fs/bpf"),
    ):
        yield f"see {path}", lambda path=path: _look(path)
    for number, path in enumerate(host["paths"]):
        yield f"see host path {number}", lambda path=path: _look(path)
        yield (
            f"see host path {number} of /proc/1/root",
            lambda path=path: _look(f"/proc/1/root{path}"),
        )
        yield (
            f"see host path {number} above the root",
            lambda path=path: _look(f"/proc/self/root/../../..{path}"),
        )
    yield "see /root", lambda: f"{len(os.listdir('/root'))} files"
    for name in DEVICES:
        yield f"see /dev/{name}", lambda name=name: os.open(f"/dev/{name}", os.O_RDONLY)
    for name in MASKED:
        yield f"read /proc/{name}", lambda name=name: _read(f"/proc/{name}")
    yield "above the root", _climb
    yield from _networks(host)


def _look(path):
    return (os.listdir(path) or "empty") if Path(path).is_dir() else _read(path)


def _read(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 100) or "empty"
    finally:
        os.close(descriptor)


def _processes(host):
    yield "host processes", lambda: _find_marker(host["marker"])
    # Pid 1 is our agent; it holds the way to the server.
    for pid, name in ((host["pid"], "host process"), (1, "pid 1")):
        for part in ("mem", "environ", "maps", "exe", "root", "cwd", "fd", "fdinfo", "ns/net"):
            yield f"{name} {part}", lambda pid=pid, part=part: _see_part(pid, part)
        for how, request in (("attach", PTRACE_ATTACH), ("seize", PTRACE_SEIZE)):
            yield (
                f"{name} {how}",
                lambda pid=pid, request=request: checked(LIBC.ptrace(request, pid, None, None)),
            )
        yield f"{name} process_vm_readv", lambda pid=pid: _read_memory(pid)
        yield f"{name} pidfd_getfd", lambda pid=pid: syscall(PIDFD_GETFD, os.pidfd_open(pid), 3, 0)
    yield "host process kill", lambda: os.kill(host["pid"], 9)
    yield "pid 1 oom_score_adj", lambda: Path("/proc/1/oom_score_adj").write_text("1000")


def _find_marker(marker):
    for name in os.listdir("/proc"):
        for part in ("environ", "cmdline") if name.isdigit() else ():
            with contextlib.suppress(OSError):
                seen = Path(f"/proc/{name}/{part}").read_bytes()
                # Our own arguments name it.
                if marker.encode() in seen and (part == "environ" or int(name) != os.getpid()):
                    return seen
    return "absent"


def _see_part(pid, part):
    path = f"/proc/{pid}/{part}"
    if part in ("exe", "cwd", "root", "ns/net"):
        return {"at": os.readlink(path)}
    if part != "fd":
        return os.listdir(path) if part == "fdinfo" else _read(path)
    for name in os.listdir(path):  # Their numbers are no secret, where root owns them.
        at = f"{path}/{name}"
        with contextlib.suppress(OSError):
            return {"open": os.open(at, os.O_RDONLY | os.O_NONBLOCK)}
    return {"at": os.readlink(at)}


class _Room(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def _read_memory(pid):
    room = ctypes.create_string_buffer(8)
    here, there = _Room(ctypes.addressof(room), 8), _Room(ANY_ADDRESS, 8)
    return checked(
        LIBC.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, ctypes.c_ulong(0))
    )


def _see_descriptors():
    """What else a program was started with than its three pipes."""
    odd = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # Of the listing itself.
            at = os.readlink(f"/proc/self/fd/{name}")
            if not at.startswith(("pipe:", "/dev/null")):
                odd.append(at)
    return odd or "pipes"


def _climb():
    here, above = os.stat("/"), os.stat("/../../..")
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    way = os.open("../../..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)
    same = {(it.st_dev, it.st_ino) for it in (here, above, os.fstat(way))}
    return "the root" if len(same) == 1 else same


def _networks(host):
    for number, (address, port) in enumerate(host["addresses"]):
        for kind, name in ((socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")):
            yield f"{name} address {number}", lambda a=address, p=port, kind=kind: _call(kind, a, p)
    for number, name in enumerate(host["abstract"]):
        yield (
            f"abstract socket {number}",
            lambda name=name: socket.socket(socket.AF_UNIX).connect("\0" + name),
        )
    yield "host shared memory", lambda: checked(LIBC.shmget(host["shm"], 1, 0))
    yield "interfaces", lambda: " ".join(name for _, name in socket.if_nameindex())


def _call(kind, address, port):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as it:
        it.settimeout(5)
        it.connect((address, port))
        if it.getsockname() == it.getpeername():
            # The port that it was given is the one it calls: it would hear itself.
            return _call(kind, address, port)
        it.send(b"x")
        return it.recv(1)
