"""How much of its disk a sandbox uses, known without waiting long."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PATIENCE_SECONDS: Final = 1.0


class DiskGauge:
    """Keeps the last measurement, and takes one at a time.

    Args:
        measure: Bytes used and in all. It may take long, for it walks every file.

    Attributes:
        last: What it said last; zeros until it has said anything.
    """

    def __init__(self, measure: Callable[[], Awaitable[tuple[int, int]]]) -> None:
        self.last = (0, 0)
        self._measure = measure
        self._last_time = -math.inf
        self._measuring: asyncio.Task[None] | None = None

    async def read(self, max_age_seconds: float) -> tuple[int, int]:
        """Bytes used and in all, without waiting for a tree that takes long to walk."""
        loop = asyncio.get_running_loop()
        if self._measuring is None and loop.time() - self._last_time > max_age_seconds:
            self._measuring = loop.create_task(self._refresh())
            # Nobody may be left to hear that the sandbox died meanwhile.
            self._measuring.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._measuring is not None:
            done, _ = await asyncio.wait((self._measuring,), timeout=_PATIENCE_SECONDS)
            if done:
                self._measuring = None
                for task in done:
                    task.result()
        return self.last

    async def _refresh(self) -> None:
        self.last = await self._measure()
        self._last_time = asyncio.get_running_loop().time()
