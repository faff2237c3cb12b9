"""Where a sandbox's app is found, and whether it answers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sandbox_service.domain.identity import Caller
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.sandboxes import Preview, PreviewState, SandboxRecord
from sandbox_service.operations.sandboxes import Sandboxes

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


class Previews:
    """Finds previews, and waits for them."""

    def __init__(self, provider: SandboxProvider, sandboxes: Sandboxes) -> None:
        self._provider = provider
        self._sandboxes = sandboxes

    async def get(
        self, caller: Caller, sandbox_id: str, port: int | None, wait: timedelta
    ) -> tuple[SandboxRecord, Preview]:
        """Return where a port is found; wait at most `wait` until something answers there.

        Not answering in time is a result, not an error.

        Raises:
            SandboxNotFoundError, SandboxEndedError, SandboxPausedError: Not this
                one, or not now.
        """
        async with self._sandboxes.using(caller, sandbox_id) as record:
            preview = self.locate(record, port)
            return record, replace(preview, state=await self.wait(record, preview.port, wait))

    def locate(self, record: SandboxRecord, port: int | None = None) -> Preview:
        """Return where a port is found, without looking. None: the sandbox's own."""
        return self._provider.preview(record, port or record.preview.port)

    async def wait(self, record: SandboxRecord, port: int, limit: timedelta) -> PreviewState:
        """Look at a port until something answers there or time is up."""
        deadline = time.monotonic() + limit.total_seconds()
        pause = _FIRST_PAUSE_S
        while True:
            state = await self._provider.probe(record, port)
            left = deadline - time.monotonic()
            if state is PreviewState.LISTENING or left <= 0:
                return state
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)
