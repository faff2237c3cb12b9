"""How much output all journals of this process may keep together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sandbox_service.domain.limits import KIB

FLOOR_BYTES: Final = 64 * KIB
"""What each journal may keep even when all together keep too much."""


class JournalBudget:
    """The memory that journals share.

    When it is used up, output that was only kept for readers who may come back
    goes first; then each journal that is written to shrinks to a small part.

    Args:
        limit_bytes: Of all journals together. None: no limit.

    Attributes:
        kept_bytes: By all journals now.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.kept_bytes = 0
        self._limit = limit_bytes
        self._relieve: Callable[[], bool] = lambda: False

    @property
    def used_up(self) -> bool:
        """Whether no more is left."""
        return self._limit is not None and self.kept_bytes >= self._limit

    def on_used_up(self, relieve: Callable[[], bool]) -> None:
        """Have `relieve` called when nothing is left; it gives something up, or returns False."""
        self._relieve = relieve

    def grow(self, by: int) -> None:
        """Note that a journal keeps so many bytes more (or fewer)."""
        self.kept_bytes += by

    def allowed(self, limit_bytes: int) -> int:
        """Return how much a journal with that limit may keep now."""
        while self.used_up:
            if not self._relieve():
                return min(limit_bytes, FLOOR_BYTES)
        return limit_bytes
