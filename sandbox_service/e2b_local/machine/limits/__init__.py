"""What a sandbox may use, and how that is kept: by the kernel, or by a look now and then.

`Limiter` finds out what this machine can do. A `Confinement` is one sandbox's part of it.
"""

from sandbox_service.e2b_local.machine.limits.confinement import AgentLimits, Confinement
from sandbox_service.e2b_local.machine.limits.limiter import CGROUP_PATH, Limiter

__all__ = ["CGROUP_PATH", "AgentLimits", "Confinement", "Limiter"]
