"""Programs in a sandbox, as the server starts and holds them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox_service.e2b_local.machine.channel import Answer, ProtocolError
from sandbox_service.e2b_local.machine.model import (
    HOME,
    ROOT_HOME,
    USERS,
    GuestLostError,
    SpawnRefusedError,
    SpawnSpec,
)
from sandbox_service.e2b_local.machine.tiers.bubblewrap import SHIMS_PATH

if TYPE_CHECKING:
    from sandbox_service.e2b_local.machine.channel import Channel


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


class Programs:
    """The programs of one sandbox that somebody outside waits for.

    Args:
        channel: To its agent.
        owner: Whom the host takes the sandbox for. None: the server's own user.
    """

    def __init__(self, channel: Channel, owner: int | None) -> None:
        self._channel = channel
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._exits: dict[int, asyncio.Future[int]] = {}

    async def start(self, spec: SpawnSpec) -> GuestProcess:
        """Start a program; see `Guest.spawn`."""
        env = {**default_environment(spec.user), **spec.env}
        fields = {
            "argv": spec.argv,
            "env": env,
            "cwd": spec.cwd or env["HOME"],
            "pty": (spec.pty.rows, spec.pty.cols) if spec.pty else None,
            "stdin": spec.stdin and not spec.pty,
        }
        if not spec.argv or not spec.argv[0]:
            raise SpawnRefusedError("exec", "no program was named")
        pipes = self._make_pipes(spec)
        child, pipes.child = tuple(pipes.child), []  # The channel closes them.
        started: asyncio.Future[GuestProcess] | None = None
        try:
            started = self._channel.put(
                "spawn",
                fields,
                child,
                accept=lambda answer: self._adopt(answer, spec, pipes),
                abandon=self._disown,
            )
            return await started
        except asyncio.CancelledError:
            # The answer may have come in the very turn of the cancellation.
            if started is not None and started.done() and not started.cancelled():
                self._kill_unwanted(started)
            pipes.close()
            raise
        except BaseException:
            pipes.close()
            raise

    def _make_pipes(self, spec: SpawnSpec) -> Pipes:
        pipes = Pipes()
        try:
            if spec.pty is None:
                if spec.stdin:
                    pipes.add(towards_child=True, owner=self._owner)
                pipes.add(towards_child=False, owner=self._owner)
                pipes.add(towards_child=False, owner=self._owner)
        except OSError as error:
            pipes.close()
            raise SpawnRefusedError(
                "resources", f"no pipe could be made: {error.strerror}", error.errno or 0
            ) from error
        return pipes

    def _adopt(self, answer: Answer, spec: SpawnSpec, pipes: Pipes) -> GuestProcess:
        pid = answer.value
        if not isinstance(pid, int) or pid <= 1 or len(answer.descriptors) != bool(spec.pty):
            raise ProtocolError("a program without a pid or a terminal")
        exit_status: asyncio.Future[int] = self._loop.create_future()
        self._exits[pid] = exit_status
        if spec.pty:
            master = answer.descriptors[0]
            if not stat.S_ISCHR(os.fstat(master).st_mode):
                raise ProtocolError("a terminal that is none")
            os.set_blocking(master, False)
            return GuestProcess(pid, None, None, None, master, exit_status)
        stdin, (stdout, stderr) = None, pipes.server[-2:]
        if spec.stdin:
            stdin = pipes.server[0]
        pipes.server = []
        return GuestProcess(pid, stdin, stdout, stderr, None, exit_status)

    def _kill_unwanted(self, started: asyncio.Future[GuestProcess]) -> None:
        if started.exception() is None:
            process = started.result()
            process.close()
            self._disown(Answer(process.pid, ()))

    def _disown(self, answer: Answer) -> None:
        """Kill a program that nobody will ever wait for."""
        answer.close()
        if isinstance(answer.value, int):
            fields = {"pid": answer.value, "signal": signal.SIGKILL, "group": False}
            with contextlib.suppress(GuestLostError):  # It is dead already.
                self._channel.put("signal", fields).add_done_callback(_ignore)

    def take_exit(self, pid: int, status: int) -> None:
        """Tell who waits for a program that it has ended."""
        future = self._exits.pop(pid, None)
        if future is not None and not future.done():
            future.set_result(status)

    def lose(self, cause: str) -> None:
        """Tell who waits for any of them that the sandbox has died."""
        for future in self._exits.values():
            if not future.done():
                future.set_exception(GuestLostError(cause))
                future.exception()  # Whoever waits still gets it; nobody else hears of it.
        self._exits.clear()


def _ignore(done: asyncio.Future[object]) -> None:
    done.exception()
