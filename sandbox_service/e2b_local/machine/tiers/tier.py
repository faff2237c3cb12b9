"""The ways to keep sandboxes apart, best first, and what each is worth.

Which of them works depends on the host, and is found out by booting a sandbox. The first
that works is taken. One that is no boundary is never among those that are tried: it has
to be asked for by name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sandbox_service.e2b_local.machine.model import IsolationUnavailableError

if TYPE_CHECKING:
    from sandbox_service.e2b_local.machine.model import IsolationMode, TierName

SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
"""Where programs of the host are looked for that some tiers need."""

UserNamespace = Literal["own", "given", "none"]
"""Where a sandbox's user namespace comes from. `own`: bubblewrap makes it, as whoever the
sandbox is for the host. `given`: root makes it and bubblewrap joins. `none`: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One way to isolate.

    Attributes:
        name: As it is asked for and reported.
        worth: What it is, in a few words for people.
        as_root: Whether the server is root, and gives each sandbox a host uid of its own.
            None: it may be or not.
        userns: Where user namespaces come from.
        boundary: Whether it can be trusted to keep hostile code in.
    """

    name: TierName
    worth: str
    as_root: bool | None
    userns: UserNamespace
    boundary: bool = True

    @property
    def carries_images(self) -> bool:
        """Whether sandboxes can have a root filesystem of their own."""
        return self.userns != "none"


OWN_USER: Final = Tier(
    name="bwrap-userns",
    worth="bubblewrap in user namespaces, under the server's own user",
    as_root=False,
    userns="own",
)
HOST_UID: Final = Tier(
    name="bwrap-host-uid",
    worth="bubblewrap in user namespaces, each sandbox under a host user of its own",
    as_root=True,
    userns="own",
)
GIVEN_USERNS: Final = Tier(
    name="bwrap-given-userns",
    worth="bubblewrap in user namespaces that root makes, each sandbox under a host user of"
    " its own",
    as_root=True,
    userns="given",
)
NO_USERNS: Final = Tier(
    name="bwrap-no-userns",
    worth="bubblewrap without user namespaces, each sandbox under a host user of its own;"
    " root filesystems of templates are refused",
    as_root=True,
    userns="none",
)

UNSAFE: Final = Tier(
    name="process-unsafe",
    worth="NO BOUNDARY, only for code that is trusted: processes of this host, held by Landlock,"
    " a filter of system calls and limits, which see the host's processes; no sockets, so no"
    " network and no previews; no snapshots; /home/user is a folder elsewhere",
    as_root=None,
    userns="none",
    boundary=False,
)

_BEST_FIRST: Final = (OWN_USER, HOST_UID, GIVEN_USERNS, NO_USERNS, UNSAFE)


def tiers_to_try(mode: IsolationMode, *, root: bool | None = None) -> tuple[Tier, ...]:
    """List what may be used, best first.

    Args:
        mode: A tier's name, or `auto`.
        root: Whether this process is root. None: find out.

    Raises:
        IsolationUnavailableError: The one that was named is not for this user.
    """
    as_root = os.geteuid() == 0 if root is None else root
    if mode == "auto":
        return tuple(tier for tier in _BEST_FIRST if tier.as_root == as_root and tier.boundary)
    (named,) = (tier for tier in _BEST_FIRST if tier.name == mode)
    if named.as_root not in (as_root, None):
        whom, other = ("root", "does not") if named.as_root else ("an ordinary user", "is root")
        raise IsolationUnavailableError(
            f"The isolation {mode} is for a server that runs as {whom}; this one {other}.",
            "Leave the choice to the server (SANDBOX_LOCAL_ISOLATION=auto), or name another one.",
        )
    return (named,)
