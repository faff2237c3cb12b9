"""Finding out which way of isolating works here: the best one that boots a sandbox."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from sandbox_service.e2b_local.machine.model import BootFailedError, IsolationUnavailableError
from sandbox_service.e2b_local.machine.tiers.advice import explain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sandbox_service.e2b_local.machine.tiers.bubblewrap import Candidate
    from sandbox_service.e2b_local.machine.tiers.tier import Tier

FoundT = TypeVar("FoundT")

logger = logging.getLogger(__name__)


async def find_best(
    tiers: Sequence[Tier],
    candidates: Sequence[Candidate],
    attempt: Callable[[Tier, Candidate], Awaitable[FoundT]],
) -> FoundT:
    """Return what comes of the first attempt that succeeds.

    Args:
        tiers: Those that may be used, best first.
        candidates: The bubblewraps of this machine, best first.
        attempt: Boots a sandbox, or raises BootFailedError, OSError or
            IsolationUnavailableError.

    Raises:
        IsolationUnavailableError: None does; says why the best does not, and what to do.
    """
    failures: dict[str, list[tuple[str, str]]] = {}
    for tier in tiers:
        said = failures[tier.name] = []
        for candidate in candidates:
            try:
                found = await attempt(tier, candidate)
            except (BootFailedError, OSError, IsolationUnavailableError) as error:
                said.append((f"{candidate.origin} ({candidate.program})", str(error)))
                continue
            for name in [better.name for better in tiers if better is not tier]:
                if name in failures:
                    _, complaint = failures[name][-1]
                    logger.warning("isolation %s does not work here: %s", name, complaint)
            return found
    best, *others = failures
    raise explain(failures[best], {name: failures[name][-1][1] for name in others if candidates})
