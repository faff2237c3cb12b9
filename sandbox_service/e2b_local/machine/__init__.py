"""What a sandbox is on this machine, and everything one can do with it.

One sandbox is a bubblewrap namespace whose pid 1 is a small agent. Server and agent
share one socket pair: questions go in, answers and file descriptors come out. Bytes of
programs and files never pass through the agent.
"""

from __future__ import annotations

from sandbox_service.e2b_local.machine.archives import create as create_archive
from sandbox_service.e2b_local.machine.cgroups import enter_scope
from sandbox_service.e2b_local.machine.diagnosis import diagnose
from sandbox_service.e2b_local.machine.guest import Guest
from sandbox_service.e2b_local.machine.machine import Machine
from sandbox_service.e2b_local.machine.model import (
    HOME,
    ISOLATION_MODES,
    USERS,
    WORKSPACE,
    BootFailedError,
    BootSpec,
    DiskAlarm,
    FileEntry,
    Finding,
    GuestFrozenError,
    GuestLostError,
    GuestOSError,
    Image,
    IsolationMode,
    IsolationUnavailableError,
    Limits,
    LimitsMode,
    MachineConfig,
    OomKill,
    PtySize,
    SpawnRefusedError,
    SpawnSpec,
    Strength,
    Usage,
)
from sandbox_service.e2b_local.machine.programs import GuestProcess

__all__ = [
    "HOME",
    "ISOLATION_MODES",
    "USERS",
    "WORKSPACE",
    "BootFailedError",
    "BootSpec",
    "DiskAlarm",
    "FileEntry",
    "Finding",
    "Guest",
    "GuestFrozenError",
    "GuestLostError",
    "GuestOSError",
    "GuestProcess",
    "Image",
    "IsolationMode",
    "IsolationUnavailableError",
    "Limits",
    "LimitsMode",
    "Machine",
    "MachineConfig",
    "OomKill",
    "PtySize",
    "SpawnRefusedError",
    "SpawnSpec",
    "Strength",
    "Usage",
    "create_archive",
    "diagnose",
    "enter_scope",
]
