"""Clients in processes of their own, told what to do in lines of JSON.

A client that shared a process with the bench, or with another client, would
measure the other's garbage collector and event loop too.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

Deeds: TypeAlias = Mapping[str, Callable[..., Awaitable[Any]]]
"""What a client can do, by name. Each answers with something that JSON can hold."""

_ANSWER_LIMIT = 64 * 1024 * 1024


class PeerError(Exception):
    """A client could not do what it was told."""


class Peer:
    """A client process.

    Args:
        module: What to run: it calls `obey`.
        arguments: For that module's own command line.
        env: The process's environment.
    """

    def __init__(self, module: str, *arguments: str, env: Mapping[str, str]) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(env),
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def do(self, deed: str, **arguments: Any) -> Any:
        """Let the client do something, and return its answer.

        Raises:
            PeerError: It failed or ended.
        """
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        if pipe_in is None or pipe_out is None:
            raise PeerError(f"{self._module} has no pipes")
        try:
            pipe_in.write(json.dumps({"do": deed, "with": arguments}) + "\n")
            pipe_in.flush()
        except BrokenPipeError:
            raise PeerError(f"{self._module} is gone before {deed}") from None
        line = pipe_out.readline(_ANSWER_LIMIT)
        if not line:
            raise PeerError(f"{self._module} ended during {deed}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self._module} {deed}: {answer['error']}")
        return answer["value"]

    def stop(self) -> None:
        """End the client, and wait until it has let go of what it made."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


async def obey(deeds: Deeds) -> None:
    """Do what standard input says, a line at a time, until it ends."""
    loop = asyncio.get_running_loop()
    # Standard output is for answers; whatever a library prints goes elsewhere.
    out, sys.stdout = sys.stdout, sys.stderr
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        told = json.loads(line)
        try:
            answer = {"value": await deeds[told["do"]](**told["with"])}
        except Exception as error:  # The bench prints it, and ends.
            answer = {"error": repr(error)}
        out.write(json.dumps(answer) + "\n")
        out.flush()
