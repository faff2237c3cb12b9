"""The paths that clients of a sandbox use, where each is a folder of the host's.

With no mount namespace `/home/user` is not the sandbox's home. What clients name as a
path is translated on its way in, and back on its way out; what a program has in its own
text, as a script that says `cd /home/user`, is not.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sandbox_service.e2b_local.machine.channel import Answer, Channel

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable, Mapping

    from sandbox_service.e2b_local.machine.channel import Message

_IN = ("path", "cwd", "source", "target")
_OUT = ("path", "symlink_target")


class PathMap:
    """Translates paths of one sandbox.

    Args:
        folders: Path that clients use, and path on the host.
    """

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._inward = dict(folders)
        self._outward = {outside: inside for inside, outside in folders.items()}
        self._beginning = _pattern(self._inward, "^()")
        self._anywhere = _pattern(self._inward, "(^|:)")
        self._back = _pattern(self._outward, "^()")

    def to_host(self, path: str) -> str:
        """Translate a path, or a word that may be one."""
        return self._beginning.sub(lambda it: self._inward[it[2]], path)

    def to_client(self, path: str) -> str:
        """Translate back."""
        return self._back.sub(lambda it: self._outward[it[2]], path)

    def inward(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Translate the paths of a question: of files, and of a program's words and variables."""
        told = dict(fields)
        for name in _IN:
            if isinstance(told.get(name), str):
                told[name] = self.to_host(told[name])
        for name in ("argv", "roots"):
            if name in told:
                told[name] = [self.to_host(word) for word in told[name]]
        if "env" in told:
            told["env"] = {"TMPDIR": self.to_host("/tmp")} | {  # noqa: S108 - Translated.
                name: self._anywhere.sub(lambda it: it[1] + self._inward[it[2]], value)
                for name, value in told["env"].items()
            }
        return told

    def outward(self, answer: Answer) -> Answer:
        """Translate the paths of an answer that describes files."""
        return replace(answer, value=self._describe(answer.value))

    def _describe(self, value: object) -> object:
        if isinstance(value, list):
            return [self._describe(one) for one in value]
        if not isinstance(value, dict):
            return value
        paths = {name: value[name] for name in _OUT if isinstance(value.get(name), str)}
        return value | {name: self.to_client(path) for name, path in paths.items()}


def _pattern(folders: Mapping[str, str], before: str) -> re.Pattern[str]:
    longest_first = sorted(folders, key=len, reverse=True)
    return re.compile(f"{before}({'|'.join(map(re.escape, longest_first))})(?=[/:]|$)")


class MappedChannel(Channel):
    """A channel to an agent that knows the host's paths alone.

    Args:
        connection: As for `Channel`, and so are the others.
        on_event: See there.
        on_lost: See there.
        paths: Translates.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_event: Callable[[Message], None],
        on_lost: Callable[[str], None],
        paths: PathMap,
    ) -> None:
        super().__init__(connection, on_event, on_lost)
        self._paths = paths

    def put(
        self,
        operation: str,
        fields: dict[str, Any],
        descriptors: tuple[int, ...] = (),
        accept: Callable[[Answer], Any] = lambda answer: answer,
        abandon: Callable[[Answer], None] = Answer.close,
    ) -> asyncio.Future[Any]:
        """Put a question; see `Channel.put`."""

        def take(answer: Answer) -> object:
            return accept(self._paths.outward(answer))

        return super().put(operation, self._paths.inward(fields), descriptors, take, abandon)
