"""A thread that looks after something again and again."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_AFTER_FAILURE_SECONDS: Final = 1.0
_FAREWELL_SECONDS: Final = 5.0


class Patrol:
    """A thread of its own, so that neither a busy loop nor a slow disk holds it up.

    Args:
        name: Of the thread.
        look: One round; returns how many seconds to rest. What it raises is logged.
    """

    def __init__(self, name: str, look: Callable[[], float]) -> None:
        self._name = name
        self._look = look
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def closed(self) -> bool:
        """Whether it is to end, for rounds that take long."""
        return self._closed

    def wake(self) -> None:
        """Look now; begin with that, if it has not begun."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """End it. Blocks until the round under way is over."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_FAREWELL_SECONDS)

    def _run(self) -> None:
        while not self._closed:
            self._wake.clear()
            try:
                rest = self._look()
            except Exception:
                logger.exception("a round of %s failed", self._name)
                rest = _AFTER_FAILURE_SECONDS
            self._wake.wait(rest)
