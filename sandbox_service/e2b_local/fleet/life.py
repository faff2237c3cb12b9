"""The states of a sandbox, and who may change them when."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal

from sandbox_service.e2b_local.machine import GuestLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

State = Literal["running", "pausing", "paused", "resuming", "gone"]

_NEXT: Final[Mapping[State, frozenset[State]]] = {
    "running": frozenset({"pausing", "gone"}),
    # Back to where it was, when the machine refuses.
    "pausing": frozenset({"paused", "running", "gone"}),
    "paused": frozenset({"resuming", "gone"}),
    "resuming": frozenset({"running", "paused", "gone"}),
    "gone": frozenset(),
}
# E2B's own edge waits as long for a sandbox that is on its way.
PATIENCE_SECONDS: Final = 60.0


class SandboxGoneError(GuestLostError):
    """There is no such sandbox, or no longer. Repeating never helps."""

    def __init__(self, sandbox_id: str) -> None:
        super().__init__(f"there is no sandbox {sandbox_id}")
        self.sandbox_id = sandbox_id


class StateError(Exception):
    """The sandbox is not in the state that was asked for.

    Args:
        sandbox_id: Which sandbox.
    """

    def __init__(self, sandbox_id: str) -> None:
        super().__init__(sandbox_id)
        self.sandbox_id = sandbox_id


class AlreadyPausedError(StateError):
    """It is paused. To go on, resume it."""


class AlreadyRunningError(StateError):
    """It runs, so it cannot be resumed."""


class TransitionBusyError(StateError):
    """It has been changing its state for too long. Repeat later."""


class AgentSilentError(StateError):
    """Its agent does not answer, so it is not paused as asked for. It still runs."""


class MemoryUnusableError(StateError):
    """Its agent did not answer when it was paused. It can only be resumed without memory."""


class ResumeDeniedError(StateError):
    """Traffic does not resume it. Somebody must resume it by name."""


class Life:
    """The state of one sandbox, changed by one caller at a time.

    Args:
        sandbox_id: Which sandbox.

    Attributes:
        state: The state it is in.
    """

    def __init__(self, sandbox_id: str) -> None:
        self._sandbox_id = sandbox_id
        self.state: State = "running"
        self._lock = asyncio.Lock()

    def move(self, state: State) -> None:
        """Go on to a state.

        Raises:
            SandboxGoneError: It was killed meanwhile.
            RuntimeError: No way leads there.
        """
        if self.state == "gone":
            raise SandboxGoneError(self._sandbox_id)
        if state not in _NEXT[self.state]:
            raise RuntimeError(f"sandbox {self._sandbox_id}: {self.state} before {state}")
        self.state = state

    def end(self) -> bool:
        """Go to the last state, whoever has the turn.

        Returns:
            False: it was there already.
        """
        if self.state == "gone":
            return False
        self.state = "gone"
        return True

    @asynccontextmanager
    async def turn(self, patience_seconds: float = PATIENCE_SECONDS) -> AsyncIterator[None]:
        """Wait for what is under way, then keep everybody else waiting.

        Raises:
            SandboxGoneError: It was killed meanwhile.
            TransitionBusyError: The wait took too long.
        """
        try:
            async with asyncio.timeout(patience_seconds):
                await self._lock.acquire()
        except TimeoutError:
            raise TransitionBusyError(self._sandbox_id) from None
        try:
            if self.state == "gone":
                raise SandboxGoneError(self._sandbox_id)
            yield
        finally:
            self._lock.release()

    @asynccontextmanager
    async def last_turn(self) -> AsyncIterator[None]:
        """Wait for whoever had the turn when the sandbox was ended."""
        async with self._lock:
            yield
