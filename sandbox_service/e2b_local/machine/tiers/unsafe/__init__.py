"""Sandboxes that are processes of this host, held by Landlock: no boundary.

For hosts where nothing better works, and for code that is trusted. There are no namespaces
here, so a program sees the host's paths, of which few are open to it, and can make no
socket. `keeper` runs apart from the rest, as the agent does.
"""

from sandbox_service.e2b_local.machine.tiers.unsafe.arguments import Keeper
from sandbox_service.e2b_local.machine.tiers.unsafe.paths import MappedChannel, PathMap

__all__ = ["Keeper", "MappedChannel", "PathMap"]
