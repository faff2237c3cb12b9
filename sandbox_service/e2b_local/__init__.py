"""A backend that speaks E2B's wire on this machine, with real isolation.

It serves E2B's control plane, each sandbox's envd and each sandbox's own ports on
one loopback port, so that the unmodified `e2b` SDK works against it. A sandbox is a
set of Linux namespaces made by bubblewrap; see `machine`.

It runs in a process of its own, under the standard asyncio event loop:

    python -m sandbox_service.e2b_local --port 0 --state-dir DIR

Limits, stated rather than hidden: sandboxes have no way out to the network unless
`--egress proxy` opens one, to the hosts allowed and for programs that use a proxy;
snapshots and forks hold files and no memory; sandboxes and snapshots, paused or not, end
with the process.
"""

from sandbox_service.e2b_local.config import (
    LocalConfig,
    Template,
    default_templates,
    load_templates,
)
from sandbox_service.e2b_local.egress import read_settings
from sandbox_service.e2b_local.errors import ConfigError
from sandbox_service.e2b_local.machine import enter_scope
from sandbox_service.e2b_local.server import EXIT_CANNOT_START, EXIT_OK, run

__all__ = [
    "EXIT_CANNOT_START",
    "EXIT_OK",
    "ConfigError",
    "LocalConfig",
    "Template",
    "default_templates",
    "enter_scope",
    "load_templates",
    "read_settings",
    "run",
]
