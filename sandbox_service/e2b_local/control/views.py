"""Sandboxes as the control plane's JSON shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sandbox_service.e2b_local.control.network import shown_network

if TYPE_CHECKING:
    from sandbox_service.e2b_local.fleet.snapshots import Snapshot
    from sandbox_service.e2b_local.fleet.store import SandboxRecord

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
        "envdVersion": ENVD_VERSION,
        "domain": domain,
    }
    if record.alias is not None:
        shown["alias"] = record.alias
    if record.access_token is not None:
        shown["envdAccessToken"] = record.access_token
    if record.traffic_token is not None:
        shown["trafficAccessToken"] = record.traffic_token
    return shown


def listed(record: SandboxRecord) -> dict[str, Any]:
    """Show a sandbox in a list."""
    shown: dict[str, Any] = {
        "templateID": record.template.template_id,
        "sandboxID": record.sandbox_id,
        "clientID": _CLIENT_ID,
        "startedAt": time_of(record.started_at),
        "endAt": time_of(record.end_at),
        "cpuCount": record.template.cpu_count,
        "memoryMB": record.template.memory_mib,
        "diskSizeMB": record.template.disk_mib,
        "state": record.state,
        "metadata": dict(record.metadata),
        "envdVersion": ENVD_VERSION,
    }
    if record.alias is not None:
        shown["alias"] = record.alias
    if record.state == "paused" and record.unresponsive_at_pause:
        shown["envdUnresponsiveAtPause"] = True
    return shown


def detailed(record: SandboxRecord, domain: str) -> dict[str, Any]:
    """Show everything about a sandbox but the token of its ports.

    `allowInternetAccess` says what its creator asked for. There is a way out of a
    sandbox only where the server's owner opened one.
    """
    shown = {
        **listed(record),
        **created(record, domain),
        "allowInternetAccess": record.allow_internet_access,
        "network": shown_network(record.network),
        "lifecycle": {"autoResume": record.auto_resume, "onTimeout": record.on_timeout},
    }
    shown.pop("trafficAccessToken", None)
    if record.pause_mode is not None:
        shown["pauseMode"] = record.pause_mode
    return shown


def snapshot(kept: Snapshot) -> dict[str, Any]:
    """Show a snapshot."""
    return {"snapshotID": kept.snapshot_id, "names": list(kept.names)}
