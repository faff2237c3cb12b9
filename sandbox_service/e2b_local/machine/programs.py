"""A program in a sandbox, as the server holds it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox_service.e2b_local.machine.bubblewrap import ROOT_HOME, SHIMS_PATH
from sandbox_service.e2b_local.machine.model import HOME, USERS, SpawnRefusedError

if TYPE_CHECKING:
    import asyncio


@dataclass(slots=True)
class GuestProcess:
    """A program that was started in a sandbox.

    The descriptors are non-blocking and belong to whoever holds this: close each once.

    Attributes:
        pid: As seen inside.
        stdin: Write end of its input. None: `/dev/null`, or a terminal.
        stdout: Read end of its output. None: a terminal.
        stderr: Read end of its errors. None: a terminal.
        pty: Master of its terminal: input and output. None: pipes. Reading gives EIO
            when the last holder of the terminal is gone.
        exit: Its wait status as `os.waitpid` gives it, as soon as it has ended, even if
            others still hold its pipes. GuestLostError when the sandbox died first.
    """

    pid: int
    stdin: int | None
    stdout: int | None
    stderr: int | None
    pty: int | None
    exit: asyncio.Future[int]

    def close(self) -> None:
        """Close the descriptors that are still open here. Not needed after each is closed."""
        for name in ("stdin", "stdout", "stderr", "pty"):
            descriptor = getattr(self, name)
            if descriptor is not None:
                setattr(self, name, None)
                os.close(descriptor)


@dataclass(slots=True)
class Pipes:
    """Both ends of a program's pipes until it has started."""

    child: list[int] = field(default_factory=list)
    server: list[int] = field(default_factory=list)

    def add(self, *, towards_child: bool, owner: int | None) -> None:
        """Make a pipe, owned by whom the program is for the host.

        Otherwise it could not open `/dev/stderr`, which is `/proc/self/fd/2`, again.
        """
        reader, writer = os.pipe2(os.O_CLOEXEC)
        child, server = (reader, writer) if towards_child else (writer, reader)
        self.child.append(child)
        self.server.append(server)
        os.set_blocking(server, False)
        if owner is not None:
            os.fchown(child, owner, owner)

    def close(self) -> None:
        """Close what nobody has taken."""
        for descriptor in self.child + self.server:
            os.close(descriptor)
        self.child, self.server = [], []


def default_environment(user: str) -> dict[str, str]:
    """What a program finds in its environment unless told otherwise.

    Raises:
        SpawnRefusedError: There is no such user.
    """
    if user not in USERS:
        raise SpawnRefusedError("user", f"there is no user '{user}'")
    home = ROOT_HOME if user == "root" else HOME
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {
        "PATH": f"{home}/.local/bin:{SHIMS_PATH}:{system}",
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        # The system's own folders are read-only: what is installed goes to the home.
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "NPM_CONFIG_PREFIX": f"{home}/.local",
    }
