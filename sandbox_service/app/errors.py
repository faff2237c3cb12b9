"""Why the service cannot start, for people."""

from __future__ import annotations


class StartError(Exception):
    """The service cannot start.

    Args:
        cause: One sentence: what is wrong.
        fix: One sentence: what to do about it.
    """

    def __init__(self, cause: str, fix: str) -> None:
        super().__init__(f"{cause} {fix}")
        self.cause = cause
        self.fix = fix
