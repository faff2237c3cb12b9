"""The killers of a sandbox: one for each user that runs programs in it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from sandbox_service.providers.e2b import envd
from sandbox_service.providers.e2b.killer import TreeKiller

if TYPE_CHECKING:
    from sandbox_service.providers.e2b.connection import Connection

_TIMEOUT_S: Final = 20.0


def killer_of(connection: Connection, user: str) -> TreeKiller:
    """Return what ends processes of a user: the same for all who ask."""
    killer = connection.killers.get(user)
    if killer is None:
        run = partial(envd.run_bash, connection, user=user, timeout_s=_TIMEOUT_S)
        killer = connection.killers[user] = TreeKiller(run)
    return killer
