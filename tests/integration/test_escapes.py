"""Every way out of a sandbox that is known, tried from inside; each has to be refused.

The programs tell what came of each attempt. One that they did not make, or could not make,
fails here as one that succeeded does: both are not among what is expected of it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import secrets
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox_service.e2b_local.config import Template
from sandbox_service.e2b_local.images import take_images
from sandbox_service.e2b_local.machine import BootSpec, Guest, GuestOSError, Machine, SpawnSpec
from sandbox_service.e2b_local.machine.tiers.seccomp import ARCHITECTURES
from sandbox_service.e2b_local.machine.tiers.tier import tiers_to_try
from tests.integration.machine_bench import read_line, run, sh

PROGRAMS = Path(__file__).parent / "programs"
PARTS = ("escapes", "escape_attempts", "escape_calls", "escape_places", "escape_rights")
CALLS = platform.machine() == "x86_64"
TIERS = tiers_to_try("auto")
IPC_CREAT, IPC_RMID = 0o1000, 0

# The agent's own Python, which a root filesystem without one has.
AGENTS_PYTHON = (
    "cd /opt/sandbox/python && exec lib/ld-linux*.so.* --inhibit-cache "
    '--library-path "$PWD/lib" "$PWD"/bin/python3* -S -B "$@"'
)
NEIGHBOUR = """
import socket, sys, time
tcp = socket.create_server(("127.0.0.1", 0))
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\\0" + sys.argv[1])
abstract.listen()
print(tcp.getsockname()[1], flush=True)
time.sleep(600)
"""

# --- What is expected of each attempt --------------------------------------------------------

ABSENT = {"ENOENT"}
CLOSED = {"EACCES", "EPERM"}
FIXED = {"EROFS", "EACCES", "EPERM", "ENOENT", "ENOTDIR"}
NO_PROCESS = {"ENOENT", "ESRCH"}
NO_ROUTE = {"ECONNREFUSED", "ENETUNREACH", "EACCES"}
NOBODY_ELSE = {"EPERM", "EINVAL", "unchanged"}

PARTS_OF_A_PROCESS = ("mem", "environ", "exe", "root", "cwd", "fd", "ns/net", "maps", "fdinfo")
WAYS_INTO_A_PROCESS = ("attach", "seize", "process_vm_readv", "pidfd_getfd")
NOT_OURS = (
    *("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/run/docker.sock"),
    *("/var/run/docker.sock", "/var/lib", "/work", "/boot", "/mnt", "/media", "/srv"),
    *("/sys/kernel", "/sys/class", "/sys/block", "/sys/firmware", "/sys/fs/bpf"),
)
DEVICES = (
    *("mem", "kmem", "port", "kmsg", "kvm", "fuse", "net/tun", "vda", "sda", "loop0"),
    *("loop-control", "vhost-net", "vhost-vsock", "vsock", "tty0", "mapper/control", "uinput"),
)
MASKED = (
    *("kcore", "kmsg", "kallsyms", "keys", "key-users", "config.gz", "timer_list", "interrupts"),
    *("cmdline", "modules", "sched_debug", "latency_stats", "sysrq-trigger"),
    *("vmallocinfo", "slabinfo", "kpageflags", "kpagecount", "pagetypeinfo"),
)
KERNEL_FILES = (
    *("sys/kernel/core_pattern", "sys/kernel/modprobe", "sys/kernel/hostname"),
    *("sys/vm/overcommit_memory", "sys/fs/file-max", "sys/net/ipv4/ip_forward"),
    *("sys/kernel/yama/ptrace_scope", "sys/fs/binfmt_misc/register"),
    *("sys/kernel/random/boot_id", "sysrq-trigger", "irq/0/smp_affinity"),
    *("self/uid_map", "self/gid_map", "self/setgroups"),
)
FOLDERS = ("/", "/usr", "/usr/bin", "/etc", "/dev", "/sys", "/proc", "/opt/sandbox", "/var", "/lib")
OF_ITS_ROOT = ("/", "/usr", "/usr/bin", "/etc", "/var", "/lib")
LIMITS = ("NPROC", "NOFILE", "CORE", "FSIZE", "MEMLOCK", "NICE", "RTPRIO")
NOT_PERMITTED = (
    *("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "bpf", "perf_event_open"),
    *("userfaultfd", "keyctl", "add_key", "request_key", "kcmp", "fanotify_init"),
    *("open_by_handle_at", "move_pages", "migrate_pages", "modify_ldt", "kexec_load"),
    *("kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon"),
    *("swapoff", "acct", "syslog", "quotactl", "quotactl_fd", "vhangup", "clock_settime"),
    *("clock_adjtime", "settimeofday", "iopl", "ioperm", "nfsservctl", "lookup_dcookie"),
    *("uselib", "_sysctl", "sysfs", "ustat"),
)
UNKNOWN = (
    *("clone3", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("mount_setattr", "open_tree_attr", "io_uring_setup", "io_uring_enter"),
    *("io_uring_register", "x32 getpid", "a call of the future"),
)
NAMESPACES = (*("mount", "cgroup", "uts", "ipc", "user", "pid", "net", "user, high half"),)
FAMILIES = (*("key", "packet", "rds", "can", "tipc", "bluetooth", "alg", "vsock", "smc", "xdp"),)
BY_NUMBER = {
    **{f"call {name}": {"EPERM"} for name in NOT_PERMITTED},
    **{f"call {name}": {"ENOSYS"} for name in UNKNOWN},
    # A kernel without 32-bit programs has no such gate.
    "call 32-bit getpid": {"SIGSYS", "SIGSEGV"},
    **{f"clone {name}": {"EPERM"} for name in NAMESPACES},
    "personality": {"EPERM"},
    **{f"socket {name}": {"EAFNOSUPPORT"} for name in (*FAMILIES, "vsock, high half")},
    **{f"socketpair {name}": {"EAFNOSUPPORT"} for name in FAMILIES},
    **{f"raw socket {name}": {"EPERM"} for name in ("IPv4", "IPv6")},
    **{name: {"EPERM"} for name in ("TIOCSTI", "TIOCSTI, high half", "TIOCLINUX")},
}


def expected(host: dict[str, Any], *, image: bool) -> dict[str, set[str]]:
    """Say what may come of each attempt: its name, and any of these words."""
    places = (
        "see host path {}",
        "see host path {} of /proc/1/root",
        "see host path {} above the root",
    )
    return {
        "host processes": {"absent"},
        "host process kill": {"ESRCH"},
        **{f"host process {part}": NO_PROCESS for part in PARTS_OF_A_PROCESS},
        **{f"host process {way}": NO_PROCESS for way in WAYS_INTO_A_PROCESS},
        **{f"pid 1 {part}": CLOSED for part in (*PARTS_OF_A_PROCESS, "oom_score_adj")},
        # It can have itself ended first when memory is used up: it would harm nobody else.
        **({"pid 1 oom_score_adj": {*CLOSED, "reached: 4"}} if image else {}),
        **{f"pid 1 {way}": CLOSED for way in WAYS_INTO_A_PROCESS},
        **{f"see {path}": ABSENT for path in NOT_OURS},
        **{
            place.format(number): CLOSED if "/proc/1" in place else ABSENT
            for place in places
            for number in range(len(host["paths"]))
        },
        **{f"see {path}": {*ABSENT, "empty"} for path in ("/run", "/var/run")},
        "see /root": {"0 files"},
        **{f"see /dev/{name}": ABSENT for name in DEVICES},
        **{f"read /proc/{name}": {"empty", *ABSENT, *CLOSED} for name in MASKED},
        "descriptors": {"pipes"},
        "above the root": {"the root"},
        **{
            f"{kind} address {number}": NO_ROUTE
            for kind in ("TCP", "UDP")
            for number in range(len(host["addresses"]))
        },
        **{f"abstract socket {n}": {"ECONNREFUSED"} for n in range(len(host["abstract"]))},
        "host shared memory": ABSENT,
        "interfaces": {"lo"},
        **(BY_NUMBER if host["calls"] else {}),
        **{f"write /proc/{name}": FIXED for name in KERNEL_FILES},
        **{f"make a file in {path}": FIXED for path in FOLDERS},
        # Its root is its own to write to, in a layer that nobody else sees.
        **{f"make a file in {path}": {*ABSENT, "reached: 2"} for path in OF_ITS_ROOT if image},
        "write our program": {*FIXED, "ETXTBSY"},
        "write the agent": FIXED,
        "write control groups": {"read-only"},
        "mounts": {"/ /proc /tmp"} if image else {"/home/user /proc /root /tmp /workspace"},
        **dict.fromkeys(("setuid", "setgid", "setresuid", "setgroups"), NOBODY_ELSE),
        **{f"chown {owner}": NOBODY_ELSE for owner in ("0:0", "1:1", "-1:4")},
        **{f"mknod {name}": {"EPERM"} for name in ("null", "memory", "disk")},
        "setuid copy": {"own uid"},
        **{f"run {name}": {"ENOENT"} if image else {"refused"} for name in ("su", "mount")},
        "no_new_privs off": {"EINVAL"},
        "ambient capability": {"EPERM"},
        "capset": {"EPERM"},
        "sethostname": {"EPERM"},
        **{f"raise {name}": {"EPERM"} for name in LIMITS},
        "lower nice": CLOSED,
        "real time": {"EPERM"},
        "oom_score_adj": CLOSED,
        "dump core": {"no core"},
        "kill 1": {"survived"},
        "kill -1": {"survived"},
    }


# --- A host that has something to find -------------------------------------------------------


@pytest.fixture(params=[tier.name for tier in TIERS])
def isolation(request: pytest.FixtureRequest) -> str:
    """Every way to isolate that may be used here, those that would not be taken too."""
    return request.param


@pytest.fixture
async def host(machine: Machine, state_dir: Path) -> AsyncIterator[dict[str, Any]]:
    """What a process inside may look for, as `escapes.py` takes it."""
    marker = f"marker-{secrets.token_hex(8)}"
    neighbour = await machine.boot("neighbour")
    await sh(neighbour, f"for d in ~ /tmp /workspace; do echo {marker} > $d/{marker}; done")
    serving = await neighbour.spawn(SpawnSpec(argv=("python3", "-c", NEIGHBOUR, f"{marker}-2")))
    assert serving.stdout is not None
    theirs = int(await read_line(serving.stdout))
    with hidden(marker) as (pid, ports, key):
        yield {
            "pid": pid,
            "marker": marker,
            "paths": [*paths_of_the_host(state_dir, marker), *paths_of_a_neighbour(marker)],
            "addresses": [
                *(("127.0.0.1", port) for port in (*ports, theirs)),
                *((own_address(), ports[1]), ("::1", ports[0])),
                *((address, 80) for address in ("169.254.169.254", "fd00:ec2::254")),
                *((address, 80) for address in ("10.0.0.1", "172.17.0.1", "192.168.0.1")),
                *((address, 443) for address in ("1.1.1.1", "2606:4700::1111")),
            ],
            "abstract": [f"{marker}-1", f"{marker}-2"],
            "shm": key,
            "calls": CALLS,
        }
    serving.close()


def paths_of_the_host(state_dir: Path, marker: str) -> list[str]:
    """The server's own files, and a neighbour's as the host knows them."""
    secret = state_dir / "secret"
    secret.write_text(marker)
    theirs = sorted(map(str, state_dir.glob(f"machine-*/sandboxes/neighbour/*/{marker}")))
    assert len(theirs) == 2
    return [str(state_dir), str(secret), str(PROGRAMS), *theirs]


def paths_of_a_neighbour(marker: str) -> list[str]:
    return [f"{folder}/{marker}" for folder in ("/home/user", "/workspace", "/tmp")]


@contextmanager
def hidden(marker: str) -> Iterator[tuple[int, list[int], int]]:
    """Have a process, two listeners, an abstract socket and shared memory with a marker.

    Yields:
        The process, ports on loopback and on all addresses, and the memory's key.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    key = secrets.randbits(30) | 1
    memory = libc.shmget(key, 4096, IPC_CREAT | 0o666)
    assert memory != -1
    with ExitStack() as stack:
        stack.callback(libc.shmctl, memory, IPC_RMID, None)
        argv = [sys.executable, "-c", "input()", marker]
        decoy = stack.enter_context(
            subprocess.Popen(argv, env={"SECRET": marker}, stdin=subprocess.PIPE)
        )
        stack.callback(decoy.kill)
        servers = [
            stack.enter_context(socket.create_server((address, 0)))
            for address in ("127.0.0.1", "0.0.0.0")
        ]
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{marker}-1")
        abstract.listen()
        yield decoy.pid, [it.getsockname()[1] for it in servers], key


def own_address() -> str:
    """This host's address in its network; connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.99", 9))
        except OSError:
            return "127.0.0.2"  # It has none, but all of loopback.
        return str(probe.getsockname()[0])


async def try_all(guest: Guest, host: dict[str, Any], *python: str) -> dict[str, str]:
    for name in PARTS:
        await put(guest, f"/tmp/{name}.py", (PROGRAMS / f"{name}.py").read_bytes())
    outcome = await run(guest, *python, "/tmp/escapes.py", json.dumps(host))
    assert (outcome.code, outcome.err) == (0, b"")
    return dict(json.loads(outcome.out))


async def opened(guest: Guest, path: str) -> str:
    """Open a path by the file API, and say what came of it."""
    try:
        descriptor = await guest.open(path, os.O_RDONLY)
    except GuestOSError as error:
        return errno.errorcode[error.errno or 0]
    os.close(descriptor)
    return "opened"


async def put(guest: Guest, path: str, content: bytes) -> None:
    descriptor = await guest.open(path, os.O_WRONLY | os.O_CREAT)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def unexpected(told: dict[str, str], allowed: dict[str, set[str]]) -> dict[str, str]:
    """Name what was not tried, what was tried and not asked for, and what was not refused."""
    wrong = {name: told.get(name, "not tried") for name in allowed}
    return {
        **{name: word for name, word in wrong.items() if word not in allowed[name]},
        **dict.fromkeys(told.keys() - allowed.keys(), "not asked for"),
    }


# --- The tests -------------------------------------------------------------------------------


async def test_every_way_out_is_refused(guest, host):
    """And the sandbox lives on."""
    told = await try_all(guest, host, "python3", "-B")

    assert unexpected(told, expected(host, image=False)) == {}
    assert await sh(guest, "echo alive") == "alive\n"


@pytest.mark.parametrize("isolation", [tier.name for tier in TIERS if tier.carries_images])
async def test_every_way_out_of_a_root_filesystem_is_refused(machine, host, images_dir, small_root):
    """Programs there are called root, and may write to what is their own."""
    template = Template(template_id="tested", rootfs=small_root)
    images = await take_images([template], images_dir, machine, tell=lambda _: None)
    guest = await machine.boot("one", BootSpec(image=images.image_of(template)))
    told = await try_all(guest, host, "/bin/bash", "-c", AGENTS_PYTHON, "python")

    assert unexpected(told, expected(host, image=True)) == {}
    assert await sh(guest, "echo alive") == "alive\n"
    images.close()


@pytest.mark.skipif(not CALLS, reason="the numbers of system calls are those of x86_64")
def test_each_call_that_the_filter_names_is_tried():
    """A call that is added to it is added here."""
    judged = {"clone", "ioctl", "personality", "socket", "socketpair"}
    # Refused only where they would be the host's; elsewhere they are the sandbox's own.
    judged |= {"shmget", "semget", "msgget"}

    assert {*NOT_PERMITTED, *UNKNOWN} >= ARCHITECTURES["x86_64"].calls.keys() - judged


async def test_links_do_not_lead_the_file_api_out(guest, host):
    """The server reads files for its clients: it must see what a program inside would."""
    pid = host["pid"]
    targets = (
        *host["paths"],
        *(f"/proc/{pid}/environ", f"/proc/{pid}/root/etc/shadow", "/proc/1/environ"),
        *("/proc/1/mem", "/proc/self/mem", "/proc/self/environ"),
        *(
            "/etc/shadow",
            "/run/docker.sock",
            "/dev/kmsg",
            "/proc/kcore",
            "/sys/kernel",
            "/proc/kmsg",
        ),
        *(f"/proc/self/root/../..{path}" for path in host["paths"]),
    )
    told = {}
    for number, target in enumerate(targets):
        await sh(guest, f"ln -s {target} ~/link{number}")
        told[target] = await opened(guest, f"/home/user/link{number}")

    refused = {"ENOENT", "EACCES", "EPERM", "ENXIO", "ENODEV", "ELOOP"}
    assert {target: word for target, word in told.items() if word not in refused} == {}


async def test_the_file_api_hands_out_nothing_that_the_agent_holds(guest):
    """The agent opens files itself, so it is let into its own folder, which programs are not."""
    folder = await guest.open("/proc/self/fd", os.O_RDONLY)
    kernels = os.fstat(folder).st_dev
    os.close(folder)
    entries = await guest.list_dir("/proc/self/fd")
    assert {"0", "1", "2"} <= {entry.name for entry in entries}
    others = set()
    for entry in entries:
        try:
            descriptor = await guest.open(f"/proc/self/fd/{entry.name}", os.O_RDONLY)
        except GuestOSError:
            continue
        if os.fstat(descriptor).st_dev != kernels:
            others.add(entry.name)
        os.close(descriptor)

    assert others == set()


async def test_a_setuid_file_is_out_of_reach_of_the_hosts_users(guest, state_dir):
    """On the host's own mount it would work, and be run as the sandbox's uid."""
    await sh(guest, "cp /bin/bash ~/shell && chmod 6755 ~/shell")
    (file,) = state_dir.glob("machine-*/sandboxes/one/home/shell")

    assert file.stat().st_uid != 0
    ours = [folder for folder in file.parents if folder.is_relative_to(state_dir)]
    assert any(stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0 for folder in ours)
