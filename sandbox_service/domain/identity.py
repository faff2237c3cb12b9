"""Who is calling."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant and user that a call is made for.

    Attributes:
        tenant: Whose sandboxes the call may see. Never empty.
        user: Who within the tenant. Empty when the caller did not say.
        fleet: Whether the caller may see every tenant's sandboxes.
        request_id: The correlation id of this call, for logs and for the
            sandbox's record.
        forwarded: Whether another instance passes the call on; it is not passed
            on again.
    """

    tenant: str
    user: str = ""
    fleet: bool = False
    request_id: str = ""
    forwarded: bool = False

    def may_see(self, tenant: str) -> bool:
        """Return whether something that belongs to `tenant` is visible to this caller."""
        return self.fleet or self.tenant == tenant
