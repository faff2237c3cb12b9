"""Signals to all processes of an exec, sent from inside the sandbox.

Finding them means looking through every process of the sandbox. So whoever
waits at the same moment is served by one command, however many they are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sandbox_service.domain.errors import BackendUnavailableError, SandboxError
from sandbox_service.domain.scripts import script
from sandbox_service.providers.e2b.supervisor import INSTANCE, MARKER

_KILL_TREE: Final = script(__package__, "kill_tree.sh")

_WAIT_MS: Final = 100
"""How long one command waits for those that end, at most: others wait for it meanwhile."""

RunBash = Callable[[Sequence[str]], Awaitable[bytes]]
"""Runs bash with these arguments in the sandbox; returns what it wrote on standard output."""


@dataclass(slots=True)
class _Job:
    """What is to be done to one exec.

    Attributes:
        what: The next step, in the words of the script.
        group: Its process group. 0: it has none.
        entry: What each of its processes has in its environment.
        deadline: When TERM is followed by KILL, by the monotonic clock.
        done: The processes that are left, or that a signal was sent to.
    """

    what: str
    group: int
    entry: str
    deadline: float = 0.0
    done: asyncio.Future[list[int]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class _Lane:
    """Does jobs together: one command at a time takes all that wait."""

    def __init__(self, run: RunBash, then: Callable[[_Job], None]) -> None:
        self._run = run
        self._then = then
        self._waiting: list[_Job] = []
        self._taken: list[_Job] = []
        self._working: asyncio.Task[None] | None = None

    def add(self, job: _Job) -> None:
        self._waiting.append(job)
        if self._working is None:
            self._working = asyncio.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                self._taken, self._waiting = self._waiting, []
                try:
                    left = _lists(await self._run(_arguments(self._taken)), len(self._taken))
                except SandboxError as error:
                    for job in self._taken:
                        if not job.done.done():
                            job.done.set_exception(error)
                    continue
                for job, pids in zip(self._taken, left, strict=True):
                    self._settle(job, pids)
                self._taken = []
        finally:
            self._working = None
            for job in (*self._taken, *self._waiting):
                job.done.cancel()

    def _settle(self, job: _Job, pids: list[int]) -> None:
        if job.done.done():
            return
        if not pids or job.what not in ("term", "look"):
            job.done.set_result(pids)
            return
        job.what = "kill" if time.monotonic() >= job.deadline else "look"
        self._then(job)


class TreeKiller:
    """Signals processes of one sandbox as one of its users.

    Args:
        run: Runs bash there.
    """

    def __init__(self, run: RunBash) -> None:
        # Those that do not end at once are looked after in a lane of their own:
        # nobody's first signal waits for them.
        self._stubborn = _Lane(run, self._again)
        self._first = _Lane(run, self._stubborn.add)

    def _again(self, job: _Job) -> None:
        self._stubborn.add(job)

    async def kill(self, pid: int, marker: str, grace_s: float) -> list[int]:
        """Send TERM, and KILL after the grace. Returns the processes that are left.

        Raises:
            BackendUnavailableError, TooManyExecsError: The sandbox cannot run the command.
        """
        return await self._kill(pid, f"{MARKER}={marker}", grace_s)

    async def end_instance(self, instance: str, grace_s: float) -> int:
        """End every process of an instance. Returns how many were told to."""
        entry = f"{INSTANCE}={instance}"
        told = await self._do(_Job("TERM", 0, entry))
        if told:
            await self._kill(0, entry, grace_s)
        return len(told)

    async def signal(self, pid: int, marker: str, name: str) -> int:
        """Send a signal to each process once. Returns to how many."""
        return len(await self._do(_Job(name, pid, f"{MARKER}={marker}")))

    async def _kill(self, group: int, entry: str, grace_s: float) -> list[int]:
        what = "term" if grace_s > 0 else "kill"
        return await self._do(_Job(what, group, entry, time.monotonic() + grace_s))

    async def _do(self, job: _Job) -> list[int]:
        self._first.add(job)
        return await job.done


def _arguments(jobs: Sequence[_Job]) -> list[str]:
    now = time.monotonic()
    waits = [job.deadline - now for job in jobs if job.what in ("term", "look")]
    wait_ms = max(0, min(_WAIT_MS, round(min(waits, default=0) * 1000)))
    arguments = ["-c", _KILL_TREE, "/bin/bash", str(wait_ms)]
    for job in jobs:
        arguments += [job.what, str(job.group), job.entry]
    return arguments


def _lists(printed: bytes, count: int) -> list[list[int]]:
    lines = printed.split(b"\n")
    if len(lines) != count + 1:
        raise BackendUnavailableError("The sandbox could not run the killer.")
    return [[int(pid) for pid in line.split()] for line in lines[:count]]
