"""Runs inside a sandbox: tries to have more rights, to write what is not its own, to harm."""

# System calls are what is tried, and not what pathlib makes of them.
# ruff: noqa: PTH102, PTH208

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path

from escape_attempts import LIBC, checked, in_child

HOME = Path("/home/user")
KERNEL_FILES = (
    *("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname"),
    *("/proc/sys/vm/overcommit_memory", "/proc/sys/fs/file-max", "/proc/sys/net/ipv4/ip_forward"),
    *("/proc/sys/kernel/yama/ptrace_scope", "/proc/sys/fs/binfmt_misc/register"),
    *("/proc/sys/kernel/random/boot_id", "/proc/sysrq-trigger", "/proc/irq/0/smp_affinity"),
    *("/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups"),
)
FOLDERS = ("/", "/usr", "/usr/bin", "/etc", "/dev", "/sys", "/proc", "/opt/sandbox", "/var", "/lib")
LIMITS = {"NPROC": 6, "NOFILE": 7, "CORE": 4, "FSIZE": 1, "MEMLOCK": 8, "NICE": 13, "RTPRIO": 14}
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, CAP_SYS_ADMIN = 38, 47, 21


def attempts():
    """Yield each attempt and its name; the last ones are loud."""
    for path in KERNEL_FILES:
        yield f"write {path}", lambda path=path: _write(path)
    for path in FOLDERS:
        yield f"make a file in {path}", lambda path=path: _write(f"{path}/made", os.O_CREAT)
    yield "write our program", lambda: _write("/proc/self/exe")
    yield "write the agent", lambda: _write("/opt/sandbox/agent/main.py")
    yield "write control groups", _write_control_groups
    yield "mounts", _see_mounts
    yield from _users()
    yield from _limits()
    yield "dump core", _dump_core
    yield "kill 1", lambda: os.kill(1, signal.SIGKILL) or os.kill(1, signal.SIGSTOP) or "survived"
    yield "kill -1", _kill_all


def _write(path, flags=0):
    descriptor = os.open(path, os.O_WRONLY | flags)
    try:
        return os.write(descriptor, b"0\n")
    finally:
        os.close(descriptor)


def _write_control_groups():
    """Open all there is to see of them, and make a group."""
    reached = []
    for folder, folders, names in os.walk("/sys/fs/cgroup"):
        for path in (f"{folder}/{name}" for name in names):
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_WRONLY))
                reached.append(path)
        for path in (folder, *(f"{folder}/{name}" for name in folders)):
            with contextlib.suppress(OSError):
                os.mkdir(f"{path}/made")
                reached.append(path)
    return reached or "read-only"


def _see_mounts():
    """No mount may give users or devices, and few may be written to."""
    writable = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, path, kind, options, *_ = line.split()
        given = set(options.split(","))
        # The kernel lets an overlay of a user's have no devices, and knows no users but theirs.
        if kind != "overlay" and "nosuid" not in given:
            return {"setuid": path}
        if kind != "overlay" and "nodev" not in given and not path.startswith("/dev"):
            return {"devices": path}
        if "rw" in given and not path.startswith("/dev/"):
            writable.append(path)
    return " ".join(sorted(set(writable)))


def _users():
    for name, become in (
        ("setuid", lambda: os.setuid(0 if os.getuid() else 1)),
        ("setgid", lambda: os.setgid(0 if os.getgid() else 1)),
        ("setresuid", lambda: os.setresuid(65534, 65534, 65534)),
        ("setgroups", lambda: os.setgroups([0, 4, 999])),
    ):
        yield name, lambda become=become: _changes(become, _identity)
    file = HOME / "owned"
    file.touch()
    for uid, gid in ((0, 0), (1, 1), (-1, 4)):
        yield (
            f"chown {uid}:{gid}",
            lambda u=uid, g=gid: _changes(
                lambda: os.chown(file, u, g), lambda: (file.stat().st_uid, file.stat().st_gid)
            ),
        )
    for name, kind, device in (
        *(("null", stat.S_IFCHR, (1, 3)), ("memory", stat.S_IFCHR, (1, 1))),
        *(("disk", stat.S_IFBLK, (254, 0)),),
    ):
        yield (
            f"mknod {name}",
            lambda kind=kind, device=device: os.mknod(
                HOME / "node", kind | 0o666, os.makedev(*device)
            ),
        )
    yield "setuid copy", _run_setuid_copy
    # `su` on the PATH is ours, and changes a name.
    for command in (("/usr/bin/su", "-c", "true"), ("/usr/bin/mount", "-t", "tmpfs", "t", "/tmp")):
        yield f"run {Path(command[0]).name}", lambda command=command: _run(command)
    yield "no_new_privs off", lambda: checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0))
    yield "ambient capability", lambda: checked(LIBC.prctl(PR_CAP_AMBIENT, 2, CAP_SYS_ADMIN, 0, 0))
    yield "capset", _raise_capabilities
    yield "sethostname", lambda: socket.sethostname("other")


def _identity():
    return os.getresuid(), os.getresgid(), os.getgroups()


def _changes(act, look):
    before = look()
    act()
    return "unchanged" if look() == before else look()


def _run_setuid_copy():
    copy = HOME / "setuid-shell"
    shutil.copy("/bin/bash", copy)
    copy.chmod(0o6755)
    done = subprocess.run([copy, "-p", "-c", "echo $UID $EUID"], capture_output=True, check=True)
    uid = os.getuid()
    return "own uid" if done.stdout.decode() == f"{uid} {uid}\n" else done.stdout


def _run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return "refused" if done.returncode else "reached"


def _raise_capabilities():
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    everything = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    return checked(LIBC.capset(header, everything))


def _limits():
    for name, number in LIMITS.items():
        yield f"raise {name}", lambda number=number: _raise_limit(number)
    yield "lower nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, os.nice(0) - 1)
    yield "real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    yield "oom_score_adj", lambda: Path("/proc/self/oom_score_adj").write_text("-1000")


def _raise_limit(number):
    _, hard = resource.getrlimit(number)
    if hard == resource.RLIM_INFINITY:
        return "unlimited"
    room = (ctypes.c_ulong * 2)(hard + 1, hard + 1)
    return checked(LIBC.setrlimit(number, room))


def _dump_core():
    before = set(os.listdir(HOME))
    os.chdir(HOME)
    status = in_child(os.abort)
    left = [name for name in os.listdir(HOME) if name not in before]
    return "no core" if not os.WCOREDUMP(status) and not left else left


def _kill_all():
    """All programs of the sandbox end but this one, and pid 1 lives on."""
    victim = subprocess.Popen(["/bin/sleep", "600"])
    os.kill(-1, signal.SIGKILL)
    assert victim.wait(30) == -signal.SIGKILL
    return "survived" if Path("/proc/1/stat").exists() else "gone"
