"""The programs of one sandbox that were started through envd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from sandbox_service.e2b_local.envd.pipes import InputPipe, OutputPipe
from sandbox_service.e2b_local.envd.time_limit import TimeLimit
from sandbox_service.e2b_local.machine import GuestFrozenError, GuestLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox_service.e2b_local.envd.messages import process_pb
    from sandbox_service.e2b_local.envd.pipes import Stream
    from sandbox_service.e2b_local.machine import Guest, GuestProcess

# A client that lost its stream can ask for so long how a program ended.
EXIT_RETENTION_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended, in the words of Go's `os.ProcessState`.

    Attributes:
        exit_code: -1 when a signal ended it.
        exited: Whether it ended by itself.
        status: `exit status 3`, `signal: killed`.
    """

    exit_code: int
    exited: bool
    status: str

    @classmethod
    def of_wait_status(cls, status: int) -> Ending:
        """Read a status of `waitpid`."""
        if os.WIFEXITED(status):
            code = os.WEXITSTATUS(status)
            return cls(code, True, f"exit status {code}")
        number = os.WTERMSIG(status)
        name = (signal.strsignal(number) or f"signal {number}").lower()
        dumped = " (core dumped)" if os.WCOREDUMP(status) else ""
        return cls(-1, False, f"signal: {name}{dumped}")


@dataclass(frozen=True, slots=True)
class EndedProcess:
    """What is kept of a program that has ended."""

    pid: int
    tag: str | None
    ending: Ending
    ended_at: float


class Listener(Protocol):
    """Someone who is told what a program writes and how it ends."""

    @property
    def has_room(self) -> bool:
        """Whether it can take more output now."""

    def output(self, stream: Stream, data: bytes) -> None:
        """Take a piece of output."""

    def ended(self, ending: Ending) -> None:
        """Take the end. Nothing follows."""


class Process:
    """One program: its pipes, its listeners, its end.

    It has ended for its listeners when it has exited and both its outputs have
    been read to their end, which a child that it left behind can delay. Once it
    was sent a signal through envd, or its time was over, only its own exit counts.

    Args:
        guest: The sandbox it runs in.
        started: What the sandbox answered.
        config: What was asked for.
        tag: Another name for it, chosen by the client.
    """

    def __init__(
        self,
        guest: Guest,
        started: GuestProcess,
        config: process_pb.ProcessConfig,
        tag: str | None,
    ) -> None:
        self._guest = guest
        self._started = started
        self.pid = started.pid
        self.config = config
        self.tag = tag
        self.has_terminal = started.pty is not None
        self.input: InputPipe | None = None
        self.ending: Ending | None = None
        self.finished: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._listeners: list[Listener] = []
        self._exit_only = False
        self._killing: asyncio.Task[None] | None = None
        # A signal that met a frozen sandbox.
        self._owed: int | None = None
        self._time_limit: TimeLimit | None = None
        self._outputs: list[OutputPipe] = []
        if started.pty is not None:
            self.input = InputPipe(os.dup(started.pty))
            self._outputs.append(self._output_pipe(started.pty, "pty"))
        elif started.stdin is not None:
            self.input = InputPipe(started.stdin)
        if started.stdout is not None:
            self._outputs.append(self._output_pipe(started.stdout, "stdout"))
        if started.stderr is not None:
            self._outputs.append(self._output_pipe(started.stderr, "stderr"))
        started.exit.add_done_callback(self._on_exit)

    def _output_pipe(self, fd: int, stream: Stream) -> OutputPipe:
        return OutputPipe(fd, stream, self._on_output, self._check_end)

    def begin(self) -> None:
        """Start to read the output; until now it waits in the pipes."""
        self.listeners_changed()

    # Listeners

    def listen(self, listener: Listener) -> None:
        """Tell a listener what comes from now on."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop telling a listener. Without any, output is read and dropped."""
        if listener in self._listeners:
            self._listeners.remove(listener)
            self.listeners_changed()

    def listeners_changed(self) -> None:
        """Read while every listener has room: the slowest holds the program back."""
        if all(listener.has_room for listener in self._listeners):
            for pipe in self._outputs:
                pipe.resume()
        else:
            self._hold()

    def _hold(self) -> None:
        for pipe in self._outputs:
            pipe.pause()

    def _on_output(self, stream: Stream, data: bytes) -> None:
        room = True
        for listener in self._listeners:
            listener.output(stream, data)
            room = room and listener.has_room
        if not room:
            self._hold()

    # The end

    async def send_signal(self, number: int) -> bool:
        """Send a signal to the program itself, not to its children.

        Returns:
            False: it had gone already.
        """
        self.count_exit_only()
        return await self._guest.signal(self.pid, number)

    def kill_soon(self, number: int) -> None:
        """Send a signal without waiting for the answer."""

        async def send() -> None:
            # Already gone, with its sandbox or without: nothing is left to signal.
            with contextlib.suppress(GuestLostError):
                try:
                    await self.send_signal(number)
                except GuestFrozenError:
                    self._owed = number

        self._killing = asyncio.get_running_loop().create_task(send())

    def limit_time(self, seconds: float, over: Callable[[], None]) -> None:
        """Call back when it has run for so long, times of freezing not counted."""
        limit = self._time_limit = TimeLimit(seconds, over)
        self.finished.add_done_callback(lambda _: limit.cancel())

    def pause(self) -> None:
        """Note that its sandbox is about to be frozen."""
        if self._time_limit is not None:
            self._time_limit.pause()

    def resume(self) -> None:
        """Note that its sandbox was thawed."""
        if self._time_limit is not None and not self.finished.done():
            self._time_limit.resume()
        owed, self._owed = self._owed, None
        if owed is not None:
            self.kill_soon(owed)

    def count_exit_only(self) -> None:
        """From now on, do not wait for others who hold the output open."""
        self._exit_only = True
        if self._started.exit.done():
            self._cut()

    def _on_exit(self, exit_: asyncio.Future[int]) -> None:
        if exit_.cancelled() or exit_.exception() is not None:
            self.abandon()
            return
        if self.input is not None and not self.has_terminal:
            self.input.close()
        if self._exit_only:
            self._cut()
        else:
            for pipe in list(self._outputs):
                pipe.flush()
        self._check_end()

    def _cut(self) -> None:
        for pipe in list(self._outputs):
            pipe.cut()

    def _check_end(self) -> None:
        exited = self._started.exit
        if self.finished.done() or not exited.done() or exited.cancelled():
            return
        if exited.exception() is not None or any(not pipe.closed for pipe in self._outputs):
            return
        if self.input is not None:
            self.input.close()
        ending = self.ending = Ending.of_wait_status(exited.result())
        # The table forgets it first: a listener that sees the end must not find
        # it in a listing.
        self.finished.set_result(ending)

    def tell_end(self) -> None:
        """Tell the listeners that it has ended."""
        listeners, self._listeners = self._listeners, []
        if self.ending is not None:
            for listener in listeners:
                listener.ended(self.ending)

    def abandon(self) -> None:
        """Close the pipes without a word: the sandbox is gone."""
        self._listeners = []
        if self.input is not None:
            self.input.close()
        for pipe in list(self._outputs):
            pipe.close()
        self.finished.cancel()


class ProcessTable:
    """All programs of one sandbox, and for 30 s how those that are gone ended."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, Process] = {}
        # By pid, the one that ended first in front.
        self._ended: dict[int, EndedProcess] = {}

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._running.values()))

    def add(self, process: Process) -> None:
        """Take in a program that has just started."""
        self._running[process.pid] = process
        process.finished.add_done_callback(lambda _: self._on_finished(process))

    def _on_finished(self, process: Process) -> None:
        if self._running.get(process.pid) is process:
            del self._running[process.pid]
        if process.ending is None:
            return
        self._drop_old()
        self._ended.pop(process.pid, None)
        self._ended[process.pid] = EndedProcess(
            process.pid, process.tag, process.ending, self._loop.time()
        )
        process.tell_end()

    def _drop_old(self) -> None:
        oldest = self._loop.time() - EXIT_RETENTION_SECONDS
        while self._ended:
            kept = next(iter(self._ended.values()))
            if kept.ended_at > oldest:
                return
            del self._ended[kept.pid]

    def by_pid(self, pid: int) -> Process | None:
        """Return the running program of that pid."""
        return self._running.get(pid)

    def by_tag(self, tag: str) -> Process | None:
        """Return the running program of that tag."""
        return next((process for process in self._running.values() if process.tag == tag), None)

    def ended(self, pid: int | None, tag: str | None) -> EndedProcess | None:
        """Return what is kept of a program that ended within the last 30 s."""
        self._drop_old()
        if pid is not None:
            return self._ended.get(pid)
        return next((kept for kept in self._ended.values() if kept.tag == tag), None)

    def abandon(self) -> None:
        """Forget everything and close every pipe: the sandbox is gone."""
        for process in list(self._running.values()):
            process.abandon()
        self._running.clear()
        self._ended.clear()
