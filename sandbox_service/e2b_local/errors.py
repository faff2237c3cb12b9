"""Why the backend does not start."""

from __future__ import annotations


class ConfigError(Exception):
    """The backend cannot start with these settings.

    Args:
        cause: One sentence: which setting, and what is wrong with it.
        fix: One sentence: what to do about it.
    """

    def __init__(self, cause: str, fix: str) -> None:
        super().__init__(f"{cause} {fix}")
        self.cause = cause
        self.fix = fix
