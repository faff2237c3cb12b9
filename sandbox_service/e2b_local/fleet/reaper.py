"""Ending sandboxes in time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandbox_service.e2b_local.fleet.store import SandboxStore

# A wait of this length at most, for the clock that ends sandboxes can be set.
_REAP_SECONDS: Final = 5.0


class Reaper:
    """Waits for the ends of lifetimes.

    Args:
        store: Knows when each of them is.
        end: Called once for each sandbox whose lifetime is over. It does not raise, and
            what is over still when it returns is over once more.
    """

    def __init__(self, store: SandboxStore, end: Callable[[str], Awaitable[None]]) -> None:
        self._store = store
        self._end = end
        self._changed = asyncio.Event()
        self._ending: dict[str, asyncio.Task[None]] = {}

    def look_again(self) -> None:
        """Look when the next sandbox ends: a lifetime was changed."""
        self._changed.set()

    async def run(self) -> None:
        """End sandboxes in time until this is cancelled."""
        try:
            while True:
                await self._round()
        finally:
            for task in self._ending.values():
                task.cancel()

    async def _round(self) -> None:
        for sandbox_id in self._store.expired():
            if sandbox_id not in self._ending:
                # Each on its own: one that is slow to end must not delay the others.
                task = asyncio.ensure_future(self._end_one(sandbox_id))
                self._ending[sandbox_id] = task
        next_end = self._store.next_end(besides=self._ending)
        wait = _REAP_SECONDS
        if next_end is not None:
            wait = min(wait, max(0.01, next_end - self._store.now()))
        self._changed.clear()
        # Not `wait_for`: before Python 3.12 it may swallow the cancel that ends this.
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._changed.wait()

    async def _end_one(self, sandbox_id: str) -> None:
        try:
            await self._end(sandbox_id)
        finally:
            del self._ending[sandbox_id]
            self._changed.set()
