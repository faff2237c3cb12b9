"""The kernel's own limits for a sandbox as a whole: memory, processes, CPU.

Where control groups can be had (`find_control_groups`) they are hard limits, and they
tell what was used and whether memory ran out. Where they cannot, `machine.limits`
looks after the sandboxes as well as it can from outside.
"""

from sandbox_service.e2b_local.machine.cgroups.delegation import enter_scope
from sandbox_service.e2b_local.machine.cgroups.discovery import find_control_groups
from sandbox_service.e2b_local.machine.cgroups.model import (
    ControlGroups,
    Group,
    GroupLimits,
    GroupUsage,
)

__all__ = [
    "ControlGroups",
    "Group",
    "GroupLimits",
    "GroupUsage",
    "enter_scope",
    "find_control_groups",
]
