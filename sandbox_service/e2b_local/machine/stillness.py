"""How much of a sandbox stands still at a time, for whom."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import TYPE_CHECKING, Protocol

from sandbox_service.e2b_local.machine.freezer import Level, RestlessError
from sandbox_service.e2b_local.machine.model import GuestOSError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine


class Freezer(Protocol):
    """What can hold a sandbox still."""

    def hold(self, level: Level) -> None:
        """Hold as much as that still; see `SignalFreezer.hold`."""

    def kill_programs(self) -> None:
        """Kill all but pid 1; see `SignalFreezer.kill_programs`."""


class Stillness:
    """Everyone's wishes for one sandbox, and what becomes of them.

    Args:
        freezer: Works in a thread, once at a time.
        settle: Returns when the agent has done all it was asked for before, so that no
            program is about to start when the others are stopped.
    """

    def __init__(self, freezer: Freezer, settle: Callable[[], Awaitable[None]]) -> None:
        self._freezer = freezer
        self._settle = settle
        self._lock = asyncio.Lock()
        self._freeze_asked = False
        self._holds = 0
        # Of the holds, those that came upon a frozen sandbox and woke its agent.
        self._wakers = 0
        self._level = Level.RUNNING
        self._released = asyncio.Event()
        self._closed = False

    @property
    def frozen(self) -> bool:
        """Whether nothing in the sandbox can answer, or that is about to be so."""
        return self._freeze_asked and not self._wakers and not self._closed

    @property
    def holding(self) -> bool:
        """Whether programs stand still and the agent does not."""
        return self._holds > 0 and not self._closed

    async def wait_until_released(self) -> None:
        """Return when no block holds programs any more, or the sandbox has died."""
        if self.holding:
            await self._released.wait()

    async def freeze(self) -> None:
        """See `Guest.freeze`."""
        changed: list[bool] = []
        try:
            await _to_the_end(self._set_freeze(changed, asked=True))
        except asyncio.CancelledError:
            if changed:
                await self.thaw()
            raise

    async def thaw(self) -> None:
        """See `Guest.thaw`."""
        await _to_the_end(self._set_freeze([], asked=False))

    @contextlib.asynccontextmanager
    async def programs_stopped(self) -> AsyncIterator[None]:
        """See `Guest.programs_stopped`."""
        entered: list[bool] = []
        try:
            await _to_the_end(self._enter(entered))
            yield
        finally:
            if entered:
                await _to_the_end(self._leave(waker=entered[0]))

    async def kill_programs(self) -> None:
        """Kill everything but the agent.

        Raises:
            GuestOSError: EBUSY: not everything could be killed.
        """
        await _to_the_end(self._kill_programs())

    async def _kill_programs(self) -> None:
        async with self._lock:
            if self._closed:
                return
            # Whoever starts a program meanwhile waits, or that would be killed with the rest.
            self._holds += 1
            self._released.clear()
            try:
                if self._level is Level.RUNNING:
                    await self._settle()
                await asyncio.to_thread(self._freezer.kill_programs)
            except RestlessError as error:
                raise GuestOSError(errno.EBUSY, str(error)) from error
            finally:
                self._count_out(waker=False)

    def close(self) -> None:
        """The sandbox has died: nothing is held any more, and nobody needs to wait."""
        self._closed = True
        self._released.set()

    async def _set_freeze(self, changed: list[bool], *, asked: bool) -> None:
        async with self._lock:
            if self._freeze_asked is asked:
                return
            self._freeze_asked = asked
            try:
                await self._apply()
            except BaseException:
                self._freeze_asked = not asked
                raise
            changed.append(True)

    async def _enter(self, entered: list[bool]) -> None:
        async with self._lock:
            waker = self.frozen
            self._holds += 1
            self._wakers += waker
            self._released.clear()
            try:
                await self._apply()
            except BaseException:
                self._count_out(waker=waker)
                raise
            entered.append(waker)

    async def _leave(self, *, waker: bool) -> None:
        async with self._lock:
            self._count_out(waker=waker)
            await self._apply()

    def _count_out(self, *, waker: bool) -> None:
        self._holds -= 1
        self._wakers -= waker
        if not self._holds:
            self._released.set()

    async def _apply(self) -> None:
        if self._freeze_asked and not self._wakers:
            level = Level.FROZEN
        elif self._freeze_asked or self._holds:
            level = Level.PROGRAMS_STOPPED
        else:
            level = Level.RUNNING
        if level is self._level or self._closed:
            return
        if self._level is Level.RUNNING:
            await self._settle()
        try:
            await asyncio.to_thread(self._freezer.hold, level)
        except RestlessError as error:
            raise GuestOSError(errno.EBUSY, str(error)) from error
        self._level = level


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Do a work whole, even when its caller is cancelled meanwhile."""
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()
        raise cancelled
    task.result()
