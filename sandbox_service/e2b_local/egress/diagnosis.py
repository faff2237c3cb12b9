"""Finds what would keep sandboxes from where their server's owner lets them go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.egress.lookup import look_up
from sandbox_service.e2b_local.egress.policy import DeniedError, EgressRules, pick_address
from sandbox_service.e2b_local.egress.settings import read_settings
from sandbox_service.e2b_local.errors import ConfigError
from sandbox_service.e2b_local.machine import Finding

if TYPE_CHECKING:
    from sandbox_service.e2b_local.egress.policy import EgressSettings

_NAME: Final = "egress"
_LOOK_UP_SECONDS: Final = 5.0
_FOREIGN_BINDING: Final = (Path("/proc/sys/net/ipv4/ip_nonlocal_bind"), "net.ipv4.ip_nonlocal_bind")


async def examine_egress(mode: str, allow: str, ports: str, private: str) -> list[Finding]:
    """Look at the settings of `read_settings`, and at where the names in them lead.

    Returns:
        A finding, and one more for each name that cannot be reached as they are.
    """
    try:
        settings = read_settings(mode, allow, ports, private)
    except ConfigError as error:
        return [Finding(_NAME, ok=False, detail=error.cause, fix=error.fix)]
    if settings is None:
        return [Finding(_NAME, ok=True, detail="none: sandboxes reach no network")]
    names = sorted(name for name in settings.allow.hosts if "*" not in name)
    wrong = [_binding(), *await asyncio.gather(*(_examine_name(settings, it) for it in names))]
    shown = sorted([*settings.allow.hosts, *map(str, settings.allow.networks)])
    detail = f"proxy: to {', '.join(shown)}, ports {', '.join(map(str, sorted(settings.ports)))}"
    return [Finding(_NAME, ok=True, detail=detail), *(it for it in wrong if it is not None)]


async def _examine_name(settings: EgressSettings, name: str) -> Finding | None:
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            found = await look_up(name)
    except (OSError, UnicodeError) as error:
        return Finding(
            _NAME,
            ok=False,
            detail=f"{name} has no address here: {error or 'no answer in time'}",
            fix="Check this machine's name service, or leave the name out.",
        )
    try:
        pick_address(settings, EgressRules(), name, found)
    except DeniedError as error:
        return Finding(
            _NAME,
            ok=False,
            detail=f"{error}: {', '.join(map(str, found))}",
            fix="Name its network in SANDBOX_LOCAL_EGRESS_PRIVATE if that is right.",
        )
    return None


def _binding() -> Finding | None:
    path, name = _FOREIGN_BINDING
    try:
        off = path.read_text().strip() == "0"
    except OSError:
        return None
    if off:
        return None
    detail = f"{name} is on, so every address is taken for this machine's own"
    return Finding(_NAME, ok=False, detail=detail, fix=f"Set {name} to 0.")
