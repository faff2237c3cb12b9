"""What a sandbox may use by its template, and what its log tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine import Limits

if TYPE_CHECKING:
    from sandbox_service.e2b_local.config import Template
    from sandbox_service.e2b_local.fleet.activity import Activity
    from sandbox_service.e2b_local.machine import DiskAlarm, Guest, OomKill

_MIB: Final = 1024**2


def limits_of(template: Template) -> Limits:
    """Return what sandboxes of a template may use."""
    return Limits(
        memory_bytes=template.memory_mib * _MIB,
        cpu_count=template.cpu_count,
        disk_bytes=template.disk_mib * _MIB,
    )


def tell_limits(guest: Guest, activity: Activity) -> None:
    """Let a sandbox's log tell of programs that were killed because of its limits."""

    def tell_oom(kill: OomKill) -> None:
        number = f" {kill.pid}" if kill.pid else ""
        name = f" ({kill.program!r})" if kill.program else ""
        fields = {"pid": kill.pid} if kill.pid else {}
        activity.record("error", f"Out of memory: program{number}{name} was killed", **fields)

    def tell_disk(alarm: DiskAlarm) -> None:
        used = f"{alarm.used_bytes // _MIB} MiB"
        if alarm.limit_bytes is None:
            cause = f"The host's disk is nearly full, and this sandbox has {used} of it"
        else:
            cause = f"Out of disk: {used} are used of {alarm.limit_bytes // _MIB}"
        activity.record("error", f"{cause}; its programs were killed", used=alarm.used_bytes)

    guest.on_oom = tell_oom
    guest.on_disk_alarm = tell_disk
