"""Sandboxes as the control plane's JSON shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sandbox_service.e2b_local.fleet import Sample
    from sandbox_service.e2b_local.store import SandboxRecord

# The envd whose behaviour this backend has; clients branch on it.
ENVD_VERSION: Final = "0.6.13"
_CLIENT_ID: Final = "local"


def time_of(seconds: float) -> str:
    """Write seconds since 1970 as RFC 3339."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def created(record: SandboxRecord, domain: str) -> dict[str, Any]:
    """Show a sandbox to whoever may use it, with its tokens."""
    shown: dict[str, Any] = {
        "templateID": record.template.template_id,
        "sandboxID": record.sandbox_id,
        "clientID": _CLIENT_ID,
        "alias": record.template.template_id,
        "envdVersion": ENVD_VERSION,
        "domain": domain,
    }
    if record.access_token is not None:
        shown["envdAccessToken"] = record.access_token
    if record.traffic_token is not None:
        shown["trafficAccessToken"] = record.traffic_token
    return shown


def listed(record: SandboxRecord) -> dict[str, Any]:
    """Show a sandbox in a list."""
    return {
        "templateID": record.template.template_id,
        "sandboxID": record.sandbox_id,
        "clientID": _CLIENT_ID,
        "alias": record.template.template_id,
        "startedAt": time_of(record.started_at),
        "endAt": time_of(record.end_at),
        "cpuCount": record.template.cpu_count,
        "memoryMB": record.template.memory_mib,
        "diskSizeMB": record.template.disk_mib,
        "state": "running",
        "metadata": dict(record.metadata),
        "envdVersion": ENVD_VERSION,
    }


def detailed(record: SandboxRecord, domain: str) -> dict[str, Any]:
    """Show everything about a sandbox."""
    shown = {
        **listed(record),
        **created(record, domain),
        # Whatever was asked for: there is no way out of a sandbox here.
        "allowInternetAccess": False,
        "lifecycle": {"autoResume": False, "onTimeout": "kill"},
    }
    if record.network is not None:
        shown["network"] = dict(record.network)
    return shown


def metric(sample: Sample, record: SandboxRecord) -> dict[str, Any]:
    """Show what a sandbox used at one time."""
    usage = sample.usage
    return {
        "timestamp": time_of(sample.taken_at),
        "timestampUnix": int(sample.taken_at),
        "cpuCount": record.template.cpu_count,
        "cpuUsedPct": sample.cpu_percent,
        "memUsed": usage.memory_rss_bytes,
        "memTotal": record.template.memory_mib * 1024**2,
        "memCache": 0,
        "diskUsed": usage.disk_used_bytes,
        "diskTotal": usage.disk_total_bytes,
    }
