"""Has code checked in processes of their own. Implements `Checker`.

The parsers are C, they hold Python's lock while they work, and what they parse
is written by strangers. So they work in a process that knows no secret, may
crash, and is ended when it takes too long.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import structlog

from sandbox_service.domain.limits import KIB, MIB
from sandbox_service.domain.policy import Action, Finding
from sandbox_service.operations.policy.code_policy import UncheckedError
from sandbox_service.operations.policy.engine import Code
from sandbox_service.operations.policy.rules import RuleSet

_LIMIT_S: Final = 2.0
_SMALL_CHARS_MAX: Final = 16 * KIB
_INHERITED: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")

_log = structlog.get_logger(__name__)


class PolicyProcesses:
    """Two processes, each started when it is first needed.

    One for short code and one for long, so that nobody's long code delays the
    short code of others.

    Args:
        rules: What they look for.
        limit_s: How long one check may take.
    """

    def __init__(self, rules: RuleSet, limit_s: float = _LIMIT_S) -> None:
        self._short = _Worker(rules, limit_s)
        self._long = _Worker(rules, limit_s)

    async def findings(self, code: Code) -> Sequence[Finding]:
        """See `Checker`."""
        size = len(code.text) + len(code.stdin)
        return await (self._short if size <= _SMALL_CHARS_MAX else self._long).findings(code)

    async def aclose(self) -> None:
        """End them."""
        await asyncio.gather(self._short.aclose(), self._long.aclose())


class _Worker:
    def __init__(self, rules: RuleSet, limit_s: float) -> None:
        told = {"documents": list(rules.documents), "limit_s": limit_s}
        self._first_line = _line(told)
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._asking: set[asyncio.Task[dict[str, Any]]] = set()

    async def findings(self, code: Code) -> Sequence[Finding]:
        # A caller that leaves takes no answer along that belongs to nobody else.
        asking = asyncio.create_task(self._ask(_line(asdict(code))))
        self._asking.add(asking)
        asking.add_done_callback(self._asked)
        answer = await asyncio.shield(asking)
        if "unchecked" in answer:
            raise UncheckedError(answer["unchecked"])
        return [Finding(**{**it, "action": Action(it["action"])}) for it in answer["findings"]]

    async def aclose(self) -> None:
        for asking in self._asking:
            asking.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._end()

    def _asked(self, asking: asyncio.Task[dict[str, Any]]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # A caller that left does not ask.

    async def _ask(self, line: bytes) -> dict[str, Any]:
        async with self._turn:
            process = await self._running()
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("the policy's process was started without pipes")
            try:
                process.stdin.write(line)
                await process.stdin.drain()
                answer = await process.stdout.readline()
            except OSError:
                answer = b""
            if answer:
                told: dict[str, Any] = json.loads(answer)
                return told
            code = await process.wait()
            self._process = None
            late = code == -signal.SIGALRM
            _log.warning("policy.process_ended", exit_code=code, late=late)
            return {"unchecked": "it takes too long" if late else "the parser failed"}

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "sandbox_service.app.policy_worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # A panic would print strangers' code.
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
                start_new_session=True,  # A Ctrl-C is for us alone.
                limit=MIB,
            )
        except OSError as error:
            _log.error("policy.process_failed", message=str(error))
            raise UncheckedError("no process can be started for it") from error
        if process.stdin is not None:
            process.stdin.write(self._first_line)
        self._process = process
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.kill()  # It holds nothing that could be lost.
        await process.wait()


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
