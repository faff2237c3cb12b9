"""Which ids execs have had, so that none is ever run twice."""

from __future__ import annotations

import secrets
from collections.abc import Mapping


class UsedIds:
    """The ids that execs of this process had, by sandbox, until the sandbox is forgotten.

    A sandbox may run a hundred thousand execs. The ids that the service itself
    chooses are numbered, so of all of those only the last number is kept.
    """

    def __init__(self) -> None:
        # Other processes serve the same sandbox: their ids are others.
        self._prefix = f"x-{secrets.token_hex(6)}-"
        self._last: dict[str, int] = {}
        self._given: dict[str, dict[str, Mapping[str, str]]] = {}

    def choose(self, sandbox_id: str) -> str:
        """Return an id that no exec in that sandbox has had. From now on it is used."""
        number = self._last.get(sandbox_id, 0) + 1
        # A caller may have made use of a number to come.
        while f"{self._prefix}{number}" in self._given.get(sandbox_id, ()):
            number += 1
        self._last[sandbox_id] = number
        return f"{self._prefix}{number}"

    def add(self, sandbox_id: str, exec_id: str, digests: Mapping[str, str]) -> None:
        """Note that an id is used.

        Args:
            digests: What the request is for which it is used, by field.
        """
        if not self._is_chosen(sandbox_id, exec_id):
            self._given.setdefault(sandbox_id, {})[exec_id] = digests

    def discard(self, sandbox_id: str, exec_id: str) -> None:
        """Let an id that a caller gave be used again. One that was chosen is never chosen again."""
        self._given.get(sandbox_id, {}).pop(exec_id, None)

    def has(self, sandbox_id: str, exec_id: str) -> bool:
        """Return whether an id was used in a sandbox."""
        return exec_id in self._given.get(sandbox_id, ()) or self._is_chosen(sandbox_id, exec_id)

    def knows(self, sandbox_id: str) -> bool:
        """Return whether any id is remembered of a sandbox."""
        return sandbox_id in self._last or sandbox_id in self._given

    def digests(self, sandbox_id: str, exec_id: str) -> Mapping[str, str]:
        """Return what the request was for which an id was used, by field."""
        return self._given.get(sandbox_id, {}).get(exec_id, {})

    def forget(self, sandbox_id: str) -> None:
        """Drop what is remembered of a sandbox that ended."""
        self._last.pop(sandbox_id, None)
        self._given.pop(sandbox_id, None)

    def _is_chosen(self, sandbox_id: str, exec_id: str) -> bool:
        if not exec_id.startswith(self._prefix):
            return False
        number = exec_id.removeprefix(self._prefix)
        if not (number.isascii() and number.isdecimal()) or number.startswith("0"):
            return False
        return int(number) <= self._last.get(sandbox_id, 0)
