"""How a process begins that is to become a sandbox, and that it has no rights in the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.channel import Channel
from sandbox_service.e2b_local.machine.model import BootFailedError
from sandbox_service.e2b_local.machine.tiers.tier import SYSTEM_PATH
from sandbox_service.e2b_local.machine.tiers.unsafe import MappedChannel

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from sandbox_service.e2b_local.machine.channel import Message
    from sandbox_service.e2b_local.machine.tiers.guard import Guard
    from sandbox_service.e2b_local.machine.tiers.tier import Tier
    from sandbox_service.e2b_local.machine.tiers.unsafe import PathMap

_HOLDER_TIMEOUT_SECONDS: Final = 20

# Makes a user namespace and stays in it, until its input is closed. Once it is told that
# it has ids there, it forbids any further one: bubblewrap cannot, in one that it is given.
_HOLD: Final = """\
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
    sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
print(flush=True)
sys.stdin.readline()
with open("/proc/sys/user/max_user_namespaces", "w") as limit:
    limit.write("0")
print(flush=True)
sys.stdin.readline()
"""

_RIGHTS: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The way of one sandbox into its tier.

    Attributes:
        tier: See `Tier`.
        host_uid: Whom the host takes the sandbox for. None: the server's own user.
        inside_uid: Whom it takes itself for, in a user namespace.
        guard: Ends it should the server die. None: the kernel does.
        paths: Where its paths lead, if that is not where they say.
    """

    tier: Tier
    host_uid: int | None
    inside_uid: int
    guard: Guard | None = None
    paths: PathMap | None = None

    def start(
        self, command: Sequence[str], descriptors: Sequence[int], complaints: int
    ) -> subprocess.Popen[bytes]:
        """Start bubblewrap. Blocks for a moment where a user namespace has to be made.

        Args:
            command: Of bubblewrap.
            descriptors: What it inherits.
            complaints: Where it writes errors.

        Raises:
            OSError: It cannot be started.
            BootFailedError: No user namespace could be made.
        """
        if self.tier.userns != "given":
            return self._start(command, descriptors, complaints)
        assert self.host_uid is not None  # noqa: S101 - Only root has these tiers.
        namespace = open_user_namespace(self.inside_uid, self.host_uid)
        try:
            return self._start(
                self._joining(namespace, command), [*descriptors, namespace], complaints
            )
        finally:
            os.close(namespace)

    def _joining(self, namespace: int, command: Sequence[str]) -> list[str]:
        if self.inside_uid != 0:
            # It forbids other ones by itself where it has made this one; see `_HOLD`.
            options = ("--assert-userns-disabled", "--userns", str(namespace))
            return [command[0], *options, *command[1:]]
        # Whom bubblewrap finds to be called root already, it does not let become that user.
        nsenter = shutil.which("nsenter", path=SYSTEM_PATH)
        if nsenter is None:
            raise BootFailedError("no user namespace could be joined: `nsenter` is not here")
        user = ("--setuid=0", "--setgid=0")
        return [nsenter, f"--user=/proc/self/fd/{namespace}", *user, "--", *command]

    def _start(
        self, command: Sequence[str], descriptors: Sequence[int], complaints: int
    ) -> subprocess.Popen[bytes]:
        # Without a user namespace of its own making, it stays root until it is done.
        user = self.host_uid if self.tier.userns == "own" else None
        return subprocess.Popen(
            command,
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            env={},
            cwd="/",
            user=user,
            group=user,
            # Otherwise the sandbox would keep the groups of root.
            extra_groups=None if self.host_uid is None else [],
        )

    def open_channel(
        self,
        connection: socket.socket,
        on_event: Callable[[Message], None],
        on_lost: Callable[[str], None],
    ) -> Channel:
        """Talk to its agent; see `Channel`."""
        if self.paths is None:
            return Channel(connection, on_event, on_lost)
        return MappedChannel(connection, on_event, on_lost, self.paths)

    def admit(self, pid: int) -> None:
        """See that a sandbox has no rights, whatever it was told to give up.

        Args:
            pid: Its pid 1.

        Raises:
            BootFailedError: It has some, or would outlive the server, and must be ended.
        """
        self._check(pid)
        if self.guard is not None:
            try:
                self.guard.hold(pid)
            except OSError as error:
                raise BootFailedError(f"it could outlive the server: {error}") from error

    def _check(self, pid: int) -> None:
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            raise BootFailedError("it ended as it began") from None
        told = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        # What could be had is a matter of privileges, which an ordinary user has none of.
        rights = _RIGHTS if self.tier.boundary else [one for one in _RIGHTS if one != "CapBnd"]
        wrong = [name for name in rights if int(told[name], 16) != 0]
        wrong += [name for name in ("NoNewPrivs",) if told[name] != "1"]
        wrong += [name for name in ("Seccomp",) if told[name] != "2"]
        if self.host_uid is not None:
            own = [str(self.host_uid)] * 4
            wrong += [name for name in ("Uid", "Gid") if told[name].split() != own]
            wrong += ["Groups"] if told["Groups"].strip() else []
        if wrong:
            shown = ", ".join(f"{name} {told[name].strip()}" for name in wrong)
            raise BootFailedError(f"it kept rights that it must not have: {shown}")


def open_user_namespace(inside: int, host: int) -> int:
    """Make a user namespace with one uid and gid, from which no other can be made.

    Only root can, and it works where nobody else may have one. Blocks for some 20 ms.

    Args:
        inside: The id there.
        host: The id that it is for the host.

    Returns:
        A descriptor of the namespace. The caller closes it.

    Raises:
        BootFailedError: The kernel refuses.
    """
    holder = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
        cwd="/",
    )
    try:
        with holder:
            assert holder.stdin is not None  # noqa: S101 - It is a pipe.
            assert holder.stdout is not None  # noqa: S101 - It is a pipe.
            if holder.stdout.readline():
                folder = Path(f"/proc/{holder.pid}")
                for kind in ("gid", "uid"):
                    (folder / f"{kind}_map").write_text(f"{inside} {host} 1\n")
                holder.stdin.write(b"\n")
                holder.stdin.flush()
                if holder.stdout.readline():
                    return os.open(folder / "ns" / "user", os.O_RDONLY | os.O_CLOEXEC)
            _, said = holder.communicate(timeout=_HOLDER_TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        holder.kill()
        raise BootFailedError(f"no user namespace could be made: {error}") from error
    words = said.decode("utf-8", "replace").strip().rpartition("\n")[2]
    raise BootFailedError(f"no user namespace could be made: {words}")
