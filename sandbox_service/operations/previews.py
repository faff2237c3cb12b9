"""Where a sandbox's app is found, and whether it answers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sandbox_service.domain import lifecycle
from sandbox_service.domain.errors import SandboxEndedError, SandboxError
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.sandboxes import (
    PortSeen,
    Preview,
    PreviewState,
    SandboxRecord,
)
from sandbox_service.domain.scripts import script
from sandbox_service.operations.commands import run_command
from sandbox_service.operations.sandboxes import Sandboxes

_WATCH_S: Final = 30.0
"""How long one command in the sandbox watches a port; then another one does."""

_SLACK_S: Final = 10.0
_RETRY_S: Final = 0.5

_FORWARDED_S: Final = 1.5
"""How long the edge may call a port closed on which a program has begun to listen."""

_FORWARDING_PAUSE_S: Final = 0.05


class Previews:
    """Finds previews, and waits for them.

    A port is looked at twice: over HTTP from outside, as its visitors will, and
    when that tells nothing, or that the port is closed, in the sandbox's own list
    of sockets. So an app that speaks no HTTP, or takes long to answer, is not
    taken for one that is not there.
    """

    def __init__(self, provider: SandboxProvider, sandboxes: Sandboxes) -> None:
        self._provider = provider
        self._sandboxes = sandboxes

    async def get(
        self, caller: Caller, sandbox_id: str, port: int | None, wait: timedelta
    ) -> tuple[SandboxRecord, Preview]:
        """Return where a port is found; wait at most `wait` until something listens there.

        Not listening in time is a result, not an error.

        Raises:
            SandboxNotFoundError, SandboxEndedError, SandboxPausedError: Not this
                one, or not now; also while it waits.
        """
        async with self._sandboxes.using(caller, sandbox_id) as record:
            preview = self.locate(record, port)
            return record, replace(preview, seen=await self.wait(record, preview.port, wait))

    def locate(self, record: SandboxRecord, port: int | None = None) -> Preview:
        """Return where a port is found, without looking. None: the sandbox's own."""
        return self._provider.preview(record, port or record.preview.port)

    async def look(self, record: SandboxRecord, port: int) -> PortSeen:
        """Look at a port once.

        Raises:
            SandboxEndedError, SandboxPausedError: The sandbox does not run.
        """
        outside = await self._provider.probe(record, port)
        if outside.state is PreviewState.LISTENING:
            return outside
        inside = await self._watch(record, port, 0.0)
        return outside if inside is PreviewState.UNKNOWN else PortSeen(inside)

    async def wait(self, record: SandboxRecord, port: int, limit: timedelta) -> PortSeen:
        """Look at a port until something listens there or time is up.

        Raises:
            SandboxEndedError, SandboxPausedError: The sandbox does not run any more.
        """
        deadline = time.monotonic() + limit.total_seconds()
        seen = await self.look(record, port)
        while seen.state is not PreviewState.LISTENING:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            state = await self._watch(record, port, min(left, _WATCH_S))
            if state is PreviewState.LISTENING:
                return await self._answer(record, port, deadline)
            if state is PreviewState.UNKNOWN:
                await asyncio.sleep(max(0.0, min(_RETRY_S, deadline - time.monotonic())))
            seen = PortSeen(state)
        return seen

    async def _answer(self, record: SandboxRecord, port: int, deadline: float) -> PortSeen:
        """Ask a port on which a program has just begun to listen for its HTTP status."""
        deadline = min(deadline, time.monotonic() + _FORWARDED_S)
        while True:
            outside = await self._provider.probe(record, port)
            if outside.state is PreviewState.LISTENING:
                return outside
            if outside.state is PreviewState.UNKNOWN or time.monotonic() >= deadline:
                return await self.look(record, port)
            await asyncio.sleep(_FORWARDING_PAUSE_S)

    async def _watch(self, record: SandboxRecord, port: int, limit_s: float) -> PreviewState:
        """Wait inside the sandbox until a program listens on a port.

        Returns:
            UNKNOWN when the sandbox runs and cannot be asked.
        """
        argv = (
            "/bin/bash",
            "-c",
            script(__package__, "listening.sh"),
            "listening",
            str(port),
            str(round(limit_s * 1000)),
        )
        try:
            result = await run_command(
                self._provider,
                record.sandbox_id,
                argv,
                timeout=timedelta(seconds=limit_s + _SLACK_S),
            )
        except SandboxEndedError:
            raise
        except SandboxError:
            await self._require_running(record)
            return PreviewState.UNKNOWN
        match result.stdout:
            case b"listening\n":
                return PreviewState.LISTENING
            case b"closed\n":
                return PreviewState.NOT_LISTENING
            case _:
                return PreviewState.UNKNOWN

    async def _require_running(self, record: SandboxRecord) -> None:
        """Find out whether contact was lost because the sandbox does not run."""
        try:
            record = await self._sandboxes.refreshed(record)
        except SandboxError:
            return  # Nobody can tell.
        lifecycle.require_running(record)
