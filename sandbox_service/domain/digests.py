"""When two requests are the same: when each field that was sent has the same digest."""

from __future__ import annotations

from collections.abc import Mapping


def differing(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Return the names of the fields in which two requests differ, sorted.

    Args:
        first: SHA-256 of each field that the first caller sent, by name.
        second: Those of the second.
    """
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
