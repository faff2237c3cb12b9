"""How much went out of sandboxes, and how much may at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EgressCounts:
    """What went out of one sandbox, and came back.

    Attributes:
        connections: That were made.
        refused: That were asked for and not allowed.
        sent_bytes: Out of the sandbox.
        received_bytes: Into it.
    """

    connections: int = 0
    refused: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


class ConnectionQuota:
    """How many connections all sandboxes together may have through their proxies.

    Each takes two of this process's open files, and all else needs some as well.

    Args:
        size: That number.
    """

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self) -> bool:
        """Take one. False: there is none left."""
        if self._left <= 0:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Give one back."""
        self._left += 1
