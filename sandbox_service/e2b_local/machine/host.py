"""What this process needs of its host before there can be a sandbox."""

from __future__ import annotations

import contextlib
import platform
import resource
import sys

from sandbox_service.e2b_local.machine.model import IsolationUnavailableError
from sandbox_service.e2b_local.machine.tiers import seccomp


def raise_open_files_limit() -> tuple[int, int]:
    """Raise the soft limit of open files to the hard one; the limits before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


def check_platform() -> None:
    """Make sure that this is a Linux on a processor that there is a filter for.

    Raises:
        IsolationUnavailableError: It is not.
    """
    if sys.platform != "linux":
        raise IsolationUnavailableError(
            f"Sandboxes are made of Linux namespaces, and this is {sys.platform}.",
            "Use a Linux machine, WSL 2 or a virtual machine, or set E2B_API_KEY.",
        )
    if platform.machine() not in seccomp.ARCHITECTURES:
        raise IsolationUnavailableError(
            f"There is no system call filter for the processor {platform.machine()}.",
            f"Use one of {', '.join(seccomp.ARCHITECTURES)}, or set E2B_API_KEY.",
        )
