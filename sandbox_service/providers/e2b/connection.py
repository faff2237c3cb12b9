"""What is needed to talk to one sandbox."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox_service.providers.e2b.sdk import acheck_sandbox_health

if TYPE_CHECKING:
    import httpx

    from sandbox_service.providers.e2b.killer import TreeKiller
    from sandbox_service.providers.e2b.sdk import AsyncSandbox, ProcessClient


@dataclass(frozen=True, slots=True)
class Connection:
    """What is needed to talk to one sandbox.

    Attributes:
        killers: What ends processes in it, for each user that runs some; see `killer_of`.
        spooled: How many execs whose output is spooled were started there.
    """

    sandbox: AsyncSandbox
    processes: ProcessClient
    health: httpx.AsyncClient
    killers: dict[str, TreeKiller] = field(default_factory=dict)
    spooled: Counter[str] = field(default_factory=Counter)

    async def check_health(self) -> bool | None:
        """Ask the sandbox for a sign of life. False: it is gone. None: cannot tell."""
        return await acheck_sandbox_health(self.health)
