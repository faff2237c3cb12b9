"""`sandbox-service sync` as a process, called as a person does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.service import command_line, environment


@dataclass(frozen=True, slots=True)
class SyncCommand:
    """The command, for one tenant.

    Attributes:
        address: Of the service.
        tenant: Whose sandboxes it finds.
        cache: Its user's cache folder.
    """

    address: str
    tenant: str
    cache: Path

    @asynccontextmanager
    async def started(self, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start it; it is killed if the test leaves before its end."""
        process = await asyncio.create_subprocess_exec(
            *command_line("sync", *map(str, arguments)),
            env=environment(
                {
                    "SANDBOX_GRPC": self.address,
                    "SANDBOX_TENANT": self.tenant,
                    "XDG_CACHE_HOME": str(self.cache),
                }
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def run(self, *arguments: object) -> tuple[int | None, str, str]:
        """Call it to its end; returns its exit code, and what it wrote."""
        async with self.started(*arguments) as process:
            out, err = await process.communicate()
            return process.returncode, out.decode(), err.decode()
