"""What sandboxes use, and what happened to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sandbox_service.e2b_local.control import requests
from sandbox_service.e2b_local.control.refusals import unknown_sandbox
from sandbox_service.e2b_local.control.routing import ApiError, Route
from sandbox_service.e2b_local.control.views import time_of
from sandbox_service.e2b_local.fleet.activity import ENTRY_LIMIT, LEVELS
from sandbox_service.e2b_local.http1 import send_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox_service.e2b_local.config import Template
    from sandbox_service.e2b_local.control.plane import ControlPlane
    from sandbox_service.e2b_local.control.routing import Match
    from sandbox_service.e2b_local.fleet.activity import Activity, Entry
    from sandbox_service.e2b_local.fleet.metering import Sample
    from sandbox_service.e2b_local.http1 import Exchange

_IDS_LIMIT: Final = 100
_SEARCH_LIMIT: Final = 256


# Metrics


async def metrics(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /sandboxes/{id}/metrics`: what it used in a time, in steps of 5 s."""
    sandbox_id = requests.sandbox_id_of(match)
    record, meter = plane.fleet.store.get(sandbox_id), plane.fleet.meter(sandbox_id)
    if record is None or meter is None:
        raise unknown_sandbox(sandbox_id)
    query = requests.query_of(exchange)
    start, end = _seconds(query, "start"), _seconds(query, "end")
    if start is not None and end is not None and start > end:
        raise ApiError(400, "Invalid time range for metrics")
    # Clients cut their times to whole seconds, so the end's whole second belongs to it.
    before = None if end is None else end + 1
    now = plane.fleet.store.now()
    if (start is None or start <= now) and (before is None or before >= now):
        await meter.refresh()
    samples = meter.between(start, before)
    send_json(exchange, 200, [shown_metric(sample, record.template) for sample in samples])


async def latest_metrics(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /sandboxes/metrics`: the newest sample of each of those named."""
    del match
    given = requests.query_of(exchange).get("sandbox_ids")
    if given is None:
        raise ApiError(400, "sandbox_ids is required")
    ids = [part for part in given.split(",") if part]
    if len(ids) > _IDS_LIMIT:
        raise ApiError(400, f"Too many sandboxes requested, maximum is {_IDS_LIMIT}")
    found: dict[str, Any] = {}
    for sandbox_id in ids:
        record = plane.fleet.store.get(sandbox_id)
        meter = plane.fleet.meter(sandbox_id)
        if record is not None and meter is not None and meter.latest is not None:
            found[sandbox_id] = shown_metric(meter.latest, record.template)
    send_json(exchange, 200, {"sandboxes": found})


def _seconds(query: Mapping[str, str], name: str) -> int | None:
    return requests.integer_of(query, name, default=0) if query.get(name) else None


def shown_metric(sample: Sample, template: Template) -> dict[str, Any]:
    """Show what a sandbox used at one time."""
    usage = sample.usage
    return {
        "timestamp": time_of(sample.taken_at),
        "timestampUnix": int(sample.taken_at),
        "cpuCount": template.cpu_count,
        "cpuUsedPct": sample.cpu_percent,
        "memUsed": usage.memory_rss_bytes,
        "memTotal": template.memory_mib * 1024**2,
        "memCache": usage.memory_cache_bytes,
        "diskUsed": usage.disk_used_bytes,
        "diskTotal": usage.disk_total_bytes,
    }


# Logs


async def logs_v1(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /sandboxes/{id}/logs`: what happened since `start`, the oldest first."""
    activity = _activity(plane, match)
    query = requests.query_of(exchange)
    entries = activity.select(
        start_ms=requests.integer_of(query, "start", default=0),
        limit=requests.integer_of(query, "limit", default=ENTRY_LIMIT),
    )
    document = {
        "logs": [{"timestamp": _time(entry), "line": _line(entry)} for entry in entries],
        "logEntries": [_shown_entry(entry) for entry in entries],
    }
    send_json(exchange, 200, document)


async def logs_v2(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /v2/sandboxes/{id}/logs`: what happened from `cursor` on, or before it."""
    activity = _activity(plane, match)
    query = requests.query_of(exchange)
    level = query.get("level") or "debug"
    if level not in LEVELS:
        raise ApiError(400, f"level must be one of {', '.join(LEVELS)}")
    direction = query.get("direction") or "forward"
    if direction not in {"forward", "backward"}:
        raise ApiError(400, "direction must be forward or backward")
    search = query.get("search") or ""
    if len(search) > _SEARCH_LIMIT:
        raise ApiError(400, f"search must have {_SEARCH_LIMIT} characters at most")
    cursor = requests.integer_of(query, "cursor", default=0) if query.get("cursor") else None
    backward = direction == "backward"
    entries = activity.select(
        start_ms=None if backward else cursor,
        end_ms=cursor if backward else None,
        newest_first=backward,
        limit=requests.integer_of(query, "limit", default=ENTRY_LIMIT, most=ENTRY_LIMIT),
        level=level,
        search=search,
    )
    send_json(exchange, 200, {"logs": [_shown_entry(entry) for entry in entries]})


def _activity(plane: ControlPlane, match: Match) -> Activity:
    sandbox_id = requests.sandbox_id_of(match)
    activity = plane.fleet.activities.get(sandbox_id)
    if activity is None:
        raise unknown_sandbox(sandbox_id)
    return activity


def _time(entry: Entry) -> str:
    return time_of(entry.time_ms / 1000)


def _line(entry: Entry) -> str:
    return json.dumps({"level": entry.level, "message": entry.message, **entry.fields})


def _shown_entry(entry: Entry) -> dict[str, Any]:
    return {
        "timestamp": _time(entry),
        "level": entry.level,
        "message": entry.message,
        "fields": dict(entry.fields),
    }


ROUTES: Final = (
    Route("GET", "/sandboxes/metrics", latest_metrics),
    Route("GET", "/sandboxes/{id}/metrics", metrics),
    Route("GET", "/sandboxes/{id}/logs", logs_v1),
    Route("GET", "/v2/sandboxes/{id}/logs", logs_v2),
)
