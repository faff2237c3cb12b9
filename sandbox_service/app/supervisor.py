"""Owns the processes beside this one, and knows nothing of gRPC.

The embedded backend runs in a process of its own and dies with this one: it
holds the other end of its standard input, and asks the kernel for a signal.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from sandbox_service.app.errors import StartError

_STOP_S: Final = 10.0
_PAUSE_FIRST_S: Final = 0.2
_PAUSE_LONGEST_S: Final = 10.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BackendReady:
    """A backend that serves.

    Attributes:
        url: Where, for the SDK: both its API and its sandboxes.
        tier: What separates its sandboxes from one another.
        tier_detail: What that is worth, for people.
        limits: How well their limits hold here, and why, for people.
        api_key: What it asks its clients for. A secret.
    """

    url: str
    port: int
    domain: str
    tier: str
    tier_detail: str
    limits: str
    api_key: str = field(repr=False)


class EmbeddedBackend:
    """The embedded backend's process: started, watched, started again, stopped.

    Args:
        state_dir: Its own folder.
        domain: Of preview URLs.
        port: To listen on; 0 for any free one.
        isolation: What keeps sandboxes apart: a tier's name, or `auto`.
        limits: How the sizes of templates are kept: `auto`, `watch` or `off`.
        warm: How many sandboxes are kept booted for those who will ask.
        bwrap: The bubblewrap to use, if not the first that works.
        log_level: Of its logs, on standard error.
        templates: A file with the templates that it offers.
        egress: Its flags for the way out of sandboxes.
        images_dir: Folder of their root filesystems.
        start_limit_s: How long it may take to start.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        domain: str,
        port: int,
        isolation: str,
        limits: str,
        warm: int,
        bwrap: Path | None,
        log_level: str,
        templates: Path,
        egress: Sequence[str],
        images_dir: Path,
        start_limit_s: float,
    ) -> None:
        self._start_limit_s = start_limit_s
        self._arguments = ["--state-dir", str(state_dir), "--domain", domain]
        self._arguments += ["--log-level", log_level, "--parent-lifeline", "--limits", limits]
        self._arguments += ["--templates", str(templates), "--images-dir", str(images_dir)]
        self._arguments += ["--warm", str(warm), "--isolation", isolation, *egress]
        if bwrap is not None:
            self._arguments += ["--bwrap", str(bwrap)]
        self._port = port
        # Any program on this machine can reach its port, a page in a browser too.
        self._api_key = f"e2b_{secrets.token_hex(20)}"
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> BackendReady:
        """Start it and wait until it serves.

        Raises:
            StartError: It cannot start; says why and what to do.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sandbox_service.e2b_local",
            "--port",
            str(self._port),
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "SANDBOX_LOCAL_API_KEY": self._api_key},
            start_new_session=True,  # A Ctrl-C is for us alone; we stop it in our order.
        )
        self._process = process
        told = await self._first_line(process)
        if not told.get("ready"):
            await process.wait()
            raise StartError(
                told.get("cause") or "The embedded backend ended as it started.",
                told.get("fix") or "Run `sandbox-service doctor`.",
            )
        self._port = int(told["port"])
        return BackendReady(
            told["url"],
            self._port,
            told["domain"],
            told["tier"],
            told["tier_detail"],
            told["limits_detail"],
            self._api_key,
        )

    def watch(
        self, on_lost: Callable[[], Awaitable[None]], on_back: Callable[[], Awaitable[None]]
    ) -> None:
        """Start it again, at the same port, whenever it ends by itself.

        Args:
            on_lost: Awaited when it has ended: all its sandboxes are gone.
            on_back: Awaited when it serves again.
        """
        self._watch = asyncio.create_task(self._keep_up(on_lost, on_back))

    async def stop(self) -> None:
        """End it and all its sandboxes."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            _log.warning("backend.killed", pid=process.pid)
            process.kill()
            await process.wait()

    async def _keep_up(
        self, on_lost: Callable[[], Awaitable[None]], on_back: Callable[[], Awaitable[None]]
    ) -> None:
        pause = _PAUSE_FIRST_S
        while self._process is not None:
            code = await self._process.wait()
            if self._stopping:
                return
            _log.error("backend.ended", exit_code=code, restart_in_s=pause)
            await on_lost()
            await asyncio.sleep(pause)
            try:
                await self.start()
            except StartError as error:
                _log.error("backend.restart_failed", cause=error.cause, fix=error.fix)
                pause = min(pause * 2, _PAUSE_LONGEST_S)
                continue
            pause = _PAUSE_FIRST_S
            await on_back()
            _log.warning("backend.started_again")

    async def _first_line(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        if process.stdout is None:
            raise RuntimeError("the backend was started without a pipe")
        try:
            line = await asyncio.wait_for(process.stdout.readline(), self._start_limit_s)
        except TimeoutError:
            process.kill()
            limit = f"{self._start_limit_s:g} s"
            return {"cause": f"The embedded backend was not ready within {limit}."}
        try:
            told = json.loads(line)
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}
