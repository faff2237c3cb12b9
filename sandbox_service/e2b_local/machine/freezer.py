"""Holding the processes of a sandbox still, by signals.

It works on every machine. From outside even pid 1 of a sandbox obeys SIGSTOP, and none of
its processes can hinder it. What a process could notice: its parent may see that it was
stopped, if that parent runs; so parents stop first and go on last. And some waits, as that
of `epoll_wait`, end with EINTR once it goes on, as after any stop.
"""

from __future__ import annotations

import enum
import os
import signal
import time
from dataclasses import dataclass
from typing import Final

from sandbox_service.e2b_local.machine.process_tree import (
    find_children,
    find_threads,
    read_status,
)

# A round finds what was started during the round before. Who starts processes stops in
# the first rounds, so even a fork bomb stands after a few.
_PATIENCE_SECONDS: Final = 5.0
# A process that the kernel does not interrupt (state D) stops when that is over, before it
# does anything of its own. Mostly that is soon; one that waits for a child it has
# vforked, which is stopped already, would take for ever.
_UNINTERRUPTIBLE_SECONDS: Final = 0.25
_STEP_SECONDS: Final = 0.0005
_LEVEL_SECONDS: Final = 0.1

_AT_REST: Final = frozenset("TtZX")


class Level(enum.Enum):
    """How much of a sandbox is held still."""

    RUNNING = enum.auto()
    PROGRAMS_STOPPED = enum.auto()
    FROZEN = enum.auto()


class RestlessError(Exception):
    """Not everything could be stopped in time, so nothing is."""


@dataclass(frozen=True, slots=True)
class _Process:
    """A process; pids are given out again, but not with the same start."""

    pid: int
    started: int


class SignalFreezer:
    """Stops the processes of one sandbox and lets them go on.

    Not for two threads at once.

    Args:
        init_pid: Its pid 1, as the host numbers it.
    """

    def __init__(self, init_pid: int) -> None:
        try:
            started = read_status(f"/proc/{init_pid}/stat").started
        except (OSError, ValueError):
            started = -1  # It has died already, and nobody else is to be taken for it.
        self._init = _Process(init_pid, started)
        # In the order in which they were stopped.
        self._stopped: dict[_Process, None] = {}
        self._level = Level.RUNNING

    def hold(self, level: Level) -> None:
        """Hold as much still as is asked for, and let the rest go on. Blocks.

        What was stopped by others before is left alone, and stays stopped.

        Raises:
            RestlessError: Processes appeared faster than they could be stopped. All is as
                it was before the call.
        """
        if level is self._level:
            return
        if level is Level.RUNNING:
            self._continue(list(self._stopped))
        elif self._level is Level.FROZEN:
            self._continue([self._init])
        else:
            self._stop(level)
        self._level = level

    def _continue(self, processes: list[_Process]) -> None:
        """Continue children before their parents, and pid 1 last."""
        children_first = processes[::-1]
        for process in sorted(children_first, key=lambda one: one == self._init):
            if self._stopped.pop(process, 0) is None:
                _send(process, signal.SIGCONT)

    def _stop(self, level: Level) -> None:
        before = len(self._stopped)
        began = time.monotonic()
        try:
            while not self._sweep(level, began):
                if time.monotonic() - began > _PATIENCE_SECONDS:
                    raise RestlessError(
                        f"its processes did not stand still within {_PATIENCE_SECONDS:g} s"
                    )
        except BaseException:
            self._continue(list(self._stopped)[before:])
            raise

    def _sweep(self, level: Level, began: float) -> bool:
        """Stop everything from pid 1 downwards, a generation at a time.

        Returns:
            True: everything stood still before, so nothing can have been missed.
        """
        calm = True
        parents = {self._init.pid}
        generation = [self._init]
        while generation:
            spared = generation[0] is self._init and level is not Level.FROZEN
            if not spared:
                restless = [one for one in generation if not self._at_rest(one, began)]
                calm = calm and not restless
                for process in restless:
                    self._halt(process, parents)
                self._wait_for_rest(restless, began)
            generation = [child for one in generation for child in _children(one)]
            parents.update(child.pid for child in generation)
        return calm

    def _halt(self, process: _Process, parents: set[int]) -> None:
        if process in self._stopped:
            _send(process, signal.SIGSTOP)  # Somebody inside has continued it.
        elif _send(process, signal.SIGSTOP, parents if process != self._init else None):
            self._stopped[process] = None

    def _wait_for_rest(self, processes: list[_Process], began: float) -> None:
        """Wait a little, so that nobody sees a child stop whose parent does not.

        Who takes longer is met again in the next round.
        """
        until = time.monotonic() + _LEVEL_SECONDS
        for process in processes:
            while not self._at_rest(process, began) and time.monotonic() < until:
                time.sleep(_STEP_SECONDS)

    def _at_rest(self, process: _Process, began: float) -> bool:
        """Whether no thread of it can run a single instruction."""
        patient = time.monotonic() - began < _UNINTERRUPTIBLE_SECONDS
        try:
            if read_status(f"/proc/{process.pid}/stat").started != process.started:
                return True
            for thread in find_threads(process.pid):
                state = read_status(f"/proc/{process.pid}/task/{thread}/stat").state
                if state not in _AT_REST and (patient or state != "D"):
                    return False
        except (OSError, ValueError):
            # A thread has ended, or all of it: if anything is left, it shows once more.
            return not os.path.exists(f"/proc/{process.pid}")  # noqa: PTH110 - Often called.
        return True


def _children(parent: _Process) -> list[_Process]:
    """The children of a process, none of them somebody else's."""
    found = []
    try:
        for pid in find_children(parent.pid):
            try:
                status = read_status(f"/proc/{pid}/stat")
            except (OSError, ValueError):
                continue
            if status.parent == parent.pid:  # Else the next round finds it elsewhere.
                found.append(_Process(pid, status.started))
        # Was it the parent all the time, or has another got its pid?
        if read_status(f"/proc/{parent.pid}/stat").started != parent.started:
            return []
    except (OSError, ValueError):
        return []
    return found


def _send(process: _Process, number: signal.Signals, parents: set[int] | None = None) -> bool:
    """Signal a process, and never another that has got its pid.

    Args:
        process: To whom.
        number: The signal.
        parents: It must still be a child of one of these. None: of anybody.

    Returns:
        False: it is gone.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # Looked at again now that the descriptor holds on to whoever has the pid.
        status = read_status(f"/proc/{process.pid}/stat")
        if status.started != process.started:
            return False
        if parents is not None and status.parent not in parents:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, FileNotFoundError, ValueError):
        return False
    finally:
        os.close(descriptor)
    return True
