"""From a command line to an agent that has reported in, and back to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.channel import Channel, Message, ProtocolError
from sandbox_service.e2b_local.machine.model import BootFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandbox_service.e2b_local.machine.limits import Confinement
    from sandbox_service.e2b_local.machine.tiers.entry import Entry

_COMPLAINT_LIMIT_BYTES: Final = 4096
_SOCKET_BUFFER_BYTES: Final = 1024 * 1024


class Launched:
    """The host's side of one sandbox: two processes and a socket.

    The outer process is bubblewrap itself; it waits for the inner one, the agent, which
    is pid 1 of the sandbox. Killing the inner one makes the kernel end everything in the
    sandbox before the outer one can see it gone. Killing the outer one instead would
    leave the rest to whoever adopts orphans on this host.

    Attributes:
        channel: To the agent.
        init_pid: The agent's pid on the host.
        host_uid: Whom the host takes the sandbox for. None: the server's own user.
        gone: Resolves with the outer process' exit code when no process is left.
        on_event: Called with the agent's events. Set it before the next turn of the loop.
        on_lost: Called with a cause when the agent can no longer be talked to.
    """

    channel: Channel

    def __init__(self, process: subprocess.Popen[bytes], host_uid: int | None) -> None:
        loop = asyncio.get_running_loop()
        self.host_uid = host_uid
        self.init_pid = 0
        self.gone: asyncio.Future[int] = loop.create_future()
        self.on_event: Callable[[Message], None] = self._take_hello
        self.on_lost: Callable[[str], None] = lambda _: self.kill_init()
        self.hello: asyncio.Future[None] = loop.create_future()
        self._process = process
        self._init_pidfd = -1
        self._outer_pidfd = os.pidfd_open(process.pid)
        loop.add_reader(self._outer_pidfd, self._reap)

    def take_event(self, message: Message) -> None:
        """Hand an event to whoever is to have it now."""
        self.on_event(message)

    def lose(self, cause: str) -> None:
        """Hand on that the agent can no longer be talked to."""
        self.on_lost(cause)

    def kill_init(self) -> None:
        """Kill pid 1 of the sandbox, and so all of it. Nothing left is fine."""
        if self.gone.done():
            return
        if self._init_pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init_pidfd, signal.SIGKILL)
            return
        children = _read_children(self._process.pid)
        # Neither pid can be anybody else's: the outer process has not been waited for.
        for pid in children or [self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of the descriptors."""
        for descriptor in (self._init_pidfd, self._outer_pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self._init_pidfd = self._outer_pidfd = -1

    def _take_hello(self, message: Message) -> None:
        pid = message.sender
        if message.fields != {"event": "hello"} or not _is_child(pid, self._process.pid):
            raise ProtocolError("no greeting from the process that was started")
        self.init_pid = pid
        self._init_pidfd = os.pidfd_open(pid)
        if not self.hello.done():
            self.hello.set_result(None)

    def _reap(self) -> None:
        status = self._process.poll()
        if status is None:
            return
        asyncio.get_running_loop().remove_reader(self._outer_pidfd)
        self.gone.set_result(status)


async def launch(
    arguments: Callable[[int, int], Sequence[str]],
    seccomp_program: Path,
    entry: Entry,
    timeout: float,
    confinement: Confinement,
) -> Launched:
    """Start a sandbox and wait until its agent has reported in.

    Args:
        arguments: Makes the command line from two inherited descriptors: the agent's end
            of the socket, and the filter.
        seccomp_program: The filter.
        entry: How it becomes one.
        timeout: Seconds.
        confinement: Its limits.

    Raises:
        BootFailedError: With what bubblewrap or the agent complained about. Nothing of
            the sandbox is left.
    """
    complaints, complaints_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    # Bubblewrap does nothing before it has read its options to their end.
    options_reader, options_writer = os.pipe2(os.O_CLOEXEC)
    ours, theirs = _open_socket_pair()
    try:
        with open(seccomp_program, "rb") as program:  # noqa: PTH123, ASYNC230 - Two pages.
            passed = (theirs.fileno(), program.fileno())
            command = arguments(*passed)
            split = command.index("--")
            shown = (command[0], "--args", str(options_reader), *command[split:])
            inherited = (*passed, options_reader)
            process = await confinement.start(
                lambda: entry.start(shown, inherited, complaints_writer)
            )
        launched = _take_over(process, entry.host_uid)
    except BaseException as error:
        ours.close()
        os.close(complaints)
        os.close(options_writer)
        if isinstance(error, OSError):
            raise BootFailedError(f"bubblewrap could not be started: {error}") from error
        raise
    finally:
        theirs.close()
        os.close(options_reader)
        os.close(complaints_writer)
    try:
        launched.channel = entry.open_channel(ours, launched.take_event, launched.lose)
        _let_go(options_writer, command[1:split])
        await _wait_for_hello(launched, complaints, timeout)
        await _admit(launched, entry)
    finally:
        os.close(complaints)
    return launched


def _open_socket_pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
    # The kernel then says which process each message comes from.
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return ours, theirs


def _take_over(process: subprocess.Popen[bytes], host_uid: int | None) -> Launched:
    try:
        return Launched(process, host_uid)
    except OSError:
        process.kill()
        process.wait()
        raise


def _let_go(options_writer: int, options: Sequence[str]) -> None:
    """Let a process become a sandbox."""
    # That it has ended, and why, is found out by whoever waits for the agent.
    with (
        open(options_writer, "wb", buffering=0) as pipe,
        contextlib.suppress(BrokenPipeError),
    ):
        pipe.write(b"".join(option.encode() + b"\0" for option in options))


async def _wait_for_hello(launched: Launched, complaints: int, timeout: float) -> None:
    try:
        done, _ = await asyncio.wait(
            (launched.hello, launched.gone),
            timeout=timeout,
            return_when=asyncio.FIRST_COMPLETED,
        )
    except BaseException:
        await _give_up(launched)
        raise
    if launched.hello in done:
        return
    complaint = _read_complaint(complaints)
    await _give_up(launched)
    if not done:
        raise BootFailedError(f"no agent reported in within {timeout:g} s. {complaint}")
    raise BootFailedError(complaint or "it ended without a word")


async def _admit(launched: Launched, entry: Entry) -> None:
    try:
        entry.admit(launched.init_pid)
    except BootFailedError:
        await _give_up(launched)
        raise


async def _give_up(launched: Launched) -> None:
    launched.channel.close("it did not start")
    launched.kill_init()
    await launched.gone
    launched.close()


def _read_complaint(descriptor: int) -> str:
    try:
        return os.read(descriptor, _COMPLAINT_LIMIT_BYTES).decode("utf-8", "replace").strip()
    except BlockingIOError:
        return ""


def _is_child(pid: int, parent: int) -> bool:
    """Whether a process is another's child, on kernels and mounts that hide some of it."""
    if pid in _read_children(parent):
        return True
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return int(text[text.rindex(b")") + 2 :].split()[1]) == parent


def _read_children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
