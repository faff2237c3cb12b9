"""How many sandboxes may run at the same time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class QuotaExceededError(Exception):
    """As many sandboxes run as may run at the same time.

    Args:
        limit: How many that is.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} sandboxes run already")
        self.limit = limit


class Room:
    """The places that there are for sandboxes.

    Args:
        limit: How many. None: any number.
        running: Counts those that are taken by sandboxes that run.
    """

    def __init__(self, limit: int | None, running: Callable[[], int]) -> None:
        self._limit = limit
        self._running = running
        self._held = 0

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold a place for a sandbox that is about to run.

        Raises:
            QuotaExceededError: There is none.
        """
        if self._limit is not None and self._running() + self._held >= self._limit:
            raise QuotaExceededError(self._limit)
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
