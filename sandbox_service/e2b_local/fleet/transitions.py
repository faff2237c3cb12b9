"""How sandboxes are paused and resumed, and what clients are told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from sandbox_service.e2b_local.fleet.life import (
    AgentSilentError,
    AlreadyPausedError,
    AlreadyRunningError,
    MemoryUnusableError,
    ResumeDeniedError,
    SandboxGoneError,
)
from sandbox_service.e2b_local.machine import BootFailedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sandbox_service.e2b_local.fleet.sandbox import Sandbox
    from sandbox_service.e2b_local.fleet.store import PauseMode, SandboxRecord, SandboxStore

WAKE_SECONDS: Final = 300
"""Traffic that wakes a sandbox gives it this lifetime at least."""


class Transitions:
    """Pauses and resumes sandboxes, each for one caller at a time.

    Every method raises SandboxGoneError when the sandbox is killed, and
    TransitionBusyError when others have been changing its state for too long. A caller
    that is cancelled leaves a sandbox half-way.

    Args:
        store: The records of all sandboxes.
        room: Holds a place for a sandbox that is about to run.
        max_lifetime_seconds: Longest lifetime that traffic gives a sandbox it wakes.
    """

    def __init__(
        self,
        store: SandboxStore,
        room: Callable[[], AbstractContextManager[None]],
        max_lifetime_seconds: int,
    ) -> None:
        self._store = store
        self._room = room
        self._max_lifetime_seconds = max_lifetime_seconds

    async def pause(self, sandbox: Sandbox, *, memory: bool, strict: bool) -> None:
        """Stop a sandbox and cut whoever is in it, until it is resumed.

        Args:
            sandbox: Which one.
            memory: True: its programs stand still and go on when it is resumed. False:
                they end, and only its files are kept.
            strict: Refuse, where its agent does not answer; without memory that is
                always so.

        Raises:
            AlreadyPausedError: It is paused.
            AgentSilentError: As asked for by `strict`.
            GuestOSError: The machine could not do it. It goes on, but for the cut calls.
        """
        async with sandbox.life.turn():
            if sandbox.life.state == "paused":
                raise AlreadyPausedError(sandbox.sandbox_id)
            answers = await sandbox.answers()
            if not answers and (strict or not memory):
                raise AgentSilentError(sandbox.sandbox_id)
            await self._pause(sandbox, memory=memory, answers=answers)

    async def pause_in_time(self, sandbox: Sandbox) -> None:
        """Pause a sandbox if its lifetime is over, as its creator wished it.

        Raises:
            GuestOSError: As in `pause`.
        """
        async with sandbox.life.turn():
            record = self._record(sandbox)
            if record.state == "paused" or record.end_at > self._store.now():
                return  # It was paused, or given more time, before it was its turn.
            # An agent that is silent cannot save what memory file systems hold. Holding
            # everything as it is loses nothing.
            answers = await sandbox.answers()
            memory = record.keep_memory or not answers
            await self._pause(sandbox, memory=memory, answers=answers)

    async def _pause(self, sandbox: Sandbox, *, memory: bool, answers: bool) -> None:
        before = self._record(sandbox)
        paused = replace(before, state="paused", end_at=self._store.now())
        self._store.put(replace(paused, unresponsive_at_pause=not answers))
        try:
            await sandbox.hold(memory=memory)
        except OSError:
            self._store.put(before)
            raise
        mode: PauseMode = "full" if memory else "filesystem"
        self._store.put(replace(self._record(sandbox), pause_mode=mode))
        sandbox.activity.record("info", "Sandbox paused", mode=mode)

    async def resume(
        self,
        sandbox: Sandbox,
        seconds: float,
        *,
        memory: bool,
        on_timeout: Literal["kill", "pause"] | None,
    ) -> None:
        """Let a paused sandbox go on.

        Args:
            sandbox: Which one.
            seconds: Its lifetime from now on.
            memory: False: start it anew on its files, whatever programs it kept.
            on_timeout: What happens at the end of its lifetime. None: as before.

        Raises:
            AlreadyRunningError: It runs.
            MemoryUnusableError: It can be resumed without memory only.
            QuotaExceededError: Too many run already.
            BootFailedError: It did not start, and is paused still.
            GuestOSError: The machine could not do it, and it is paused still.
        """
        async with sandbox.life.turn():
            if sandbox.life.state == "running":
                raise AlreadyRunningError(sandbox.sandbox_id)
            await self._resume(sandbox, seconds, memory=memory)
            if on_timeout is not None:
                self._store.put(replace(self._record(sandbox), on_timeout=on_timeout))

    async def connect(self, sandbox: Sandbox, seconds: float, *, memory: bool) -> bool:
        """Make sure that a sandbox runs for at least so many seconds more.

        Returns:
            True: it was paused and has been resumed.

        Raises:
            As `resume`, but for AlreadyRunningError.
        """
        # Who merely keeps it alive does not wait, while a snapshot is taken for example.
        if self._store.extend(sandbox.sandbox_id, seconds) is not None:
            return False
        async with sandbox.life.turn():
            if self._store.extend(sandbox.sandbox_id, seconds) is not None:
                return False
            await self._resume(sandbox, seconds, memory=memory)
            return True

    async def wake(self, sandbox: Sandbox) -> None:
        """Resume a sandbox because somebody talks to it.

        Its new lifetime is the one its creator gave it, or `WAKE_SECONDS` if that is more.

        Raises:
            ResumeDeniedError: Its creator did not allow that, or it kept no memory.
            QuotaExceededError, GuestOSError: As in `resume`.
        """
        async with sandbox.life.turn():
            if sandbox.life.state == "running":
                return
            record = self._record(sandbox)
            if not record.auto_resume or sandbox.shelved or record.unresponsive_at_pause:
                raise ResumeDeniedError(sandbox.sandbox_id)
            seconds = max(record.lifetime_seconds, WAKE_SECONDS)
            await self._resume(sandbox, min(seconds, self._max_lifetime_seconds), memory=True)

    async def _resume(self, sandbox: Sandbox, seconds: float, *, memory: bool) -> None:
        if memory and self._record(sandbox).unresponsive_at_pause:
            raise MemoryUnusableError(sandbox.sandbox_id)
        with self._room():
            try:
                await sandbox.go_on(memory=memory)
            except (BootFailedError, OSError):
                if sandbox.shelved:  # Its programs may have been given up for this.
                    self._store.put(replace(self._record(sandbox), pause_mode="filesystem"))
                raise
        now = self._store.now()
        resumed = replace(
            self._record(sandbox),
            state="running",
            started_at=now,
            end_at=now + seconds,
            boot_id=sandbox.guest.boot_id,
            pause_mode=None,
            unresponsive_at_pause=False,
        )
        self._store.put(resumed)
        sandbox.activity.record("info", "Sandbox resumed", boot_id=resumed.boot_id)

    def _record(self, sandbox: Sandbox) -> SandboxRecord:
        record = self._store.get(sandbox.sandbox_id)
        if record is None:
            raise SandboxGoneError(sandbox.sandbox_id)
        return record
