"""The time a program may take, which stands still while its sandbox does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TimeLimit:
    """Calls back once when the time is over.

    Args:
        seconds: From now on, pauses not counted.
        over: Called at the end.
    """

    def __init__(self, seconds: float, over: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = over
        self._left = seconds
        self._timer: asyncio.TimerHandle | None = None
        self.resume()

    def pause(self) -> None:
        """Let the time stand still."""
        if self._timer is not None:
            self._left = max(0.0, self._timer.when() - self._loop.time())
            self.cancel()

    def resume(self) -> None:
        """Let the time go on."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._left, self._over)

    def cancel(self) -> None:
        """Forget it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
