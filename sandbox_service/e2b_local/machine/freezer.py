"""Holding the processes of a sandbox still, by signals.

It works on every machine. A control group's own freezer only helps for a moment, where
programs are made faster than they can be stopped: what version 1 has frozen cannot be
killed, so a server that dies would leave it behind for ever.

From outside even pid 1 of a sandbox obeys SIGSTOP, and none of
its processes can hinder it. What a process could notice: its parent may see that it was
stopped, if that parent runs; so parents stop first and go on last. And some waits, as that
of `epoll_wait`, end with EINTR once it goes on, as after any stop.
"""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.process_tree import (
    Process,
    child_processes,
    find_threads,
    identify,
    read_status,
    read_tree,
    send_signal,
)

if TYPE_CHECKING:
    from sandbox_service.e2b_local.machine.cgroups import Group

# A round finds what was started during the round before. Who starts processes stops in
# the first rounds, so even a fork bomb stands after a few.
_PATIENCE_SECONDS: Final = 5.0
# A process that the kernel does not interrupt (state D) stops when that is over, before it
# does anything of its own. Mostly that is soon; one that waits for a child it has
# vforked, which is stopped already, would take for ever.
_UNINTERRUPTIBLE_SECONDS: Final = 0.25
_STEP_SECONDS: Final = 0.0005
_LEVEL_SECONDS: Final = 0.1
# What is not calm by then is a fork bomb, and the group's own freezer has to help.
_HELP_SECONDS: Final = 0.5

_AT_REST: Final = frozenset("TtZX")


class Level(enum.Enum):
    """How much of a sandbox is held still."""

    RUNNING = enum.auto()
    PROGRAMS_STOPPED = enum.auto()
    FROZEN = enum.auto()


class RestlessError(Exception):
    """Not everything could be stopped in time, so nothing is."""


class SignalFreezer:
    """Stops the processes of one sandbox and lets them go on.

    Not for two threads at once.

    Args:
        init_pid: Its pid 1, as the host numbers it.
        group: Its control group, if that has a freezer.
    """

    def __init__(self, init_pid: int, group: Group | None = None) -> None:
        # If it has died already, nobody else is taken for it.
        self._init = identify(init_pid)
        self._group = group
        # In the order in which they were stopped.
        self._stopped: dict[Process, None] = {}
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

    def kill_programs(self) -> None:
        """Kill everything but pid 1, and return when it is gone. Blocks.

        Raises:
            RestlessError: Some of it lives on, and goes on.
        """
        if self._level is Level.RUNNING:
            self._stop(Level.PROGRAMS_STOPPED)
        began = time.monotonic()
        # Children first: the kernel continues those who are stopped and lose their parent.
        while living := self._living():
            for process in reversed(living):
                send_signal(process, signal.SIGKILL)
            if time.monotonic() - began > _PATIENCE_SECONDS:
                if self._level is Level.RUNNING:
                    self._continue(list(self._stopped))
                raise RestlessError(f"{len(living)} of its processes could not be killed")
            time.sleep(_STEP_SECONDS)
        self._stopped = {one: None for one in self._stopped if one == self._init}

    def _living(self) -> list[Process]:
        found = read_tree(self._init.pid)
        if not found or found[0][0] != self._init:
            return []
        return [process for process, status in found[1:] if status.state not in "ZX"]

    def _continue(self, processes: list[Process]) -> None:
        """Continue children before their parents, and pid 1 last."""
        children_first = processes[::-1]
        for process in sorted(children_first, key=lambda one: one == self._init):
            if self._stopped.pop(process, 0) is None:
                send_signal(process, signal.SIGCONT)

    def _stop(self, level: Level) -> None:
        before = len(self._stopped)
        began = time.monotonic()
        helped = self._group is None
        try:
            while not self._sweep(level, began):
                if not helped and time.monotonic() - began > _HELP_SECONDS:
                    self._stop_in_ice(level)
                    helped = True
                if time.monotonic() - began > _PATIENCE_SECONDS:
                    raise RestlessError(
                        f"its processes did not stand still within {_PATIENCE_SECONDS:g} s"
                    )
        except BaseException:
            self._continue(list(self._stopped)[before:])
            raise

    def _stop_in_ice(self, level: Level) -> None:
        """Stop everything while the control group is frozen, so that nothing is made."""
        assert self._group is not None  # noqa: S101 - Nobody else calls this.
        others = {
            process
            for process, status in read_tree(self._init.pid)
            if status.state in _AT_REST and process not in self._stopped
        }
        try:
            self._group.set_frozen(True)
            until = time.monotonic() + _HELP_SECONDS
            while not self._group.is_frozen() and time.monotonic() < until:
                time.sleep(_STEP_SECONDS)
            for process, _ in read_tree(self._init.pid):
                spared = process == self._init and level is not Level.FROZEN
                if not spared and process not in others:
                    self._halt(process, None)
        except OSError:
            return  # The group is gone, and the sandbox with it.
        finally:
            with contextlib.suppress(OSError):
                self._group.set_frozen(False)

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
            generation = [child for one in generation for child in child_processes(one)]
            parents.update(child.pid for child in generation)
        return calm

    def _halt(self, process: Process, parents: set[int] | None) -> None:
        if process in self._stopped:
            send_signal(process, signal.SIGSTOP)  # Somebody inside has continued it.
        elif send_signal(process, signal.SIGSTOP, parents if process != self._init else None):
            self._stopped[process] = None

    def _wait_for_rest(self, processes: list[Process], began: float) -> None:
        """Wait a little, so that nobody sees a child stop whose parent does not.

        Who takes longer is met again in the next round.
        """
        until = time.monotonic() + _LEVEL_SECONDS
        for process in processes:
            while not self._at_rest(process, began) and time.monotonic() < until:
                time.sleep(_STEP_SECONDS)

    def _at_rest(self, process: Process, began: float) -> bool:
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
