"""The ways out of sandboxes: a proxy for each, where the server's owner allows any."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.egress import (
    PROXY_PORT,
    ConnectionQuota,
    EgressProxy,
    EgressRules,
)
from sandbox_service.e2b_local.machine import BootFailedError, GuestLostError

if TYPE_CHECKING:
    from sandbox_service.e2b_local.egress import EgressSettings
    from sandbox_service.e2b_local.fleet.store import SandboxRecord
    from sandbox_service.e2b_local.machine import Guest

_CONNECTIONS_LIMIT: Final = 4096
# A connection takes two open files; no more than a quarter of them all shall be such.
_OPEN_FILES_PER_CONNECTION: Final = 8


class WaysOut:
    """Makes the proxy of each sandbox.

    Args:
        settings: What the server's owner allows. None: there is no way out.
    """

    def __init__(self, settings: EgressSettings | None) -> None:
        self._settings = settings
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if open_files == resource.RLIM_INFINITY:
            open_files = _CONNECTIONS_LIMIT * _OPEN_FILES_PER_CONNECTION
        size = min(_CONNECTIONS_LIMIT, open_files // _OPEN_FILES_PER_CONNECTION)
        self._quota = ConnectionQuota(size)

    def make(self, record: SandboxRecord) -> EgressProxy | None:
        """Make a sandbox's proxy, which listens nowhere yet. None: it gets none."""
        if self._settings is None:
            return None
        return EgressProxy(self._settings, rules_of(record), self._quota)


def rules_of(record: SandboxRecord) -> EgressRules:
    """Return what a sandbox's creator wants of the way out."""
    return EgressRules.read(record.network, allow_internet_access=record.allow_internet_access)


async def lead_out(guest: Guest, egress: EgressProxy | None) -> None:
    """Let the programs of a sandbox that has just booted reach its proxy.

    Raises:
        BootFailedError: It cannot be. The sandbox still runs, unless it has died.
    """
    if egress is None:
        return
    try:
        egress.listen(await guest.listen(PROXY_PORT))
    except (OSError, GuestLostError) as error:
        raise BootFailedError(f"its way out could not be opened: {error}") from error
