"""Which templates there are. None can be built, changed or tagged here.

Each has one build, ready since the server's start, and the one tag `default`.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from sandbox_service.e2b_local.control import requests
from sandbox_service.e2b_local.control.routing import ApiError, Route
from sandbox_service.e2b_local.control.snapshots import origin_of
from sandbox_service.e2b_local.control.views import ENVD_VERSION, time_of
from sandbox_service.e2b_local.fleet.paging import PageTokenError, cut_page
from sandbox_service.e2b_local.fleet.snapshots import DEFAULT_TAG
from sandbox_service.e2b_local.http1 import send_json

if TYPE_CHECKING:
    from sandbox_service.e2b_local.config import Template
    from sandbox_service.e2b_local.control.plane import ControlPlane
    from sandbox_service.e2b_local.control.routing import Match
    from sandbox_service.e2b_local.http1 import Exchange

# Ids of builds and tags are made from names: the same before and after a restart.
_IDS: Final = uuid.UUID("5f0c2d3a-6b1e-5c0a-9a53-1d6f6f0a7b42")
_NAMES_SHOWN: Final = 8


def _find(plane: ControlPlane, name: str) -> Template:
    """Find a template by `name` or `name:tag`.

    Raises:
        ApiError: 400: it is no name. 404: it names no template.
    """
    origin = origin_of(plane, name)
    if origin.archive is not None:
        raise ApiError(404, f"template '{name}' not found")
    return origin.template


def _build_id(template: Template) -> str:
    return str(uuid.uuid5(_IDS, template.template_id))


def _shown(plane: ControlPlane, template: Template) -> dict[str, Any]:
    since = time_of(plane.started_at)
    return {
        "templateID": template.template_id,
        "buildID": _build_id(template),
        "cpuCount": template.cpu_count,
        "memoryMB": template.memory_mib,
        "diskSizeMB": template.disk_mib,
        "public": True,
        "aliases": [template.template_id],
        "names": [template.template_id],
        "createdAt": since,
        "updatedAt": since,
        # As E2B shows templates that belong to nobody in particular.
        "isDefault": True,
        "createdBy": None,
        "lastSpawnedAt": None,
        "spawnCount": 0,
        "buildCount": 0,
        "envdVersion": ENVD_VERSION,
        "buildStatus": "ready",
    }


async def find_alias(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /templates/aliases/{alias}`: whether there is such a template or snapshot."""
    origin = origin_of(plane, match["alias"])
    document = {"templateID": origin.template.template_id, "public": origin.archive is None}
    send_json(exchange, 200, document)


async def list_all(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /templates` and `GET /default-templates`, which are the same here."""
    del match
    templates = plane.config.templates.values()
    send_json(exchange, 200, [_shown(plane, template) for template in templates])


async def list_page(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /v2/templates`: by page, in the order of their names."""
    del match
    query = requests.query_of(exchange)
    try:
        page = cut_page(
            plane.config.templates.values(),
            lambda template: (0.0, template.template_id),
            order="asc",
            limit=requests.limit_of(query),
            token=query.get("nextToken") or None,
        )
    except PageTokenError:
        raise ApiError(400, "Invalid next token") from None
    headers = () if page.next_token is None else (("x-next-token", page.next_token),)
    send_json(exchange, 200, [_shown(plane, template) for template in page.items], headers)


async def get(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /templates/{id}`: a template and its one build."""
    template = _find(plane, match["id"])
    since = time_of(plane.started_at)
    build = {
        "buildID": _build_id(template),
        "status": "ready",
        "createdAt": since,
        "updatedAt": since,
        "finishedAt": since,
        "cpuCount": template.cpu_count,
        "memoryMB": template.memory_mib,
        "diskSizeMB": template.disk_mib,
        "envdVersion": ENVD_VERSION,
    }
    send_json(exchange, 200, {**_shown(plane, template), "builds": [build]})


# Builds


def _known_build(plane: ControlPlane, match: Match) -> Template:
    template = _find(plane, match["id"])
    if match["build"] != _build_id(template):
        raise ApiError(404, f"Build '{match['build']}' not found")
    return template


async def build_status(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /templates/{id}/builds/{build}/status`: it has always been ready."""
    template = _known_build(plane, match)
    document = {
        "templateID": template.template_id,
        "buildID": match["build"],
        "status": "ready",
        "logs": [],
        "logEntries": [],
    }
    send_json(exchange, 200, document)


async def build_logs(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /templates/{id}/builds/{build}/logs`: nothing was ever built."""
    _known_build(plane, match)
    send_json(exchange, 200, {"logs": []})


# Tags


async def list_tags(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /templates/{id}/tags`."""
    template = _find(plane, match["id"])
    since = time_of(plane.started_at)
    shown = {"tag": DEFAULT_TAG, "buildID": _build_id(template), "createdAt": since}
    send_json(exchange, 200, [shown])


async def count_tags(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /templates/{id}/tags/count`."""
    _find(plane, match["id"])
    send_json(exchange, 200, {"total": 1})


async def tag_exists(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /templates/{id}/tags/exists`."""
    _find(plane, match["id"])
    tag = (requests.query_of(exchange).get("tag") or "").strip().lower()
    if not tag:
        raise ApiError(400, "tag is required")
    send_json(exchange, 200, {"exists": tag == DEFAULT_TAG, "normalizedTag": tag})


async def group_tags(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /templates/{id}/tags/groups`."""
    template = _find(plane, match["id"])
    search = requests.query_of(exchange).get("search") or ""
    groups = []
    if search in DEFAULT_TAG:
        assignments = [_assignment(plane, template)]
        groups.append({"tag": DEFAULT_TAG, "assignments": assignments, "hasMore": False})
    send_json(exchange, 200, {"tags": groups, "nextCursor": None})


async def list_assignments(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /templates/{id}/tags/{tag}/assignments`."""
    template = _find(plane, match["id"])
    assignments = [_assignment(plane, template)] if match["tag"] == DEFAULT_TAG else []
    send_json(exchange, 200, {"data": assignments, "nextCursor": None})


def _assignment(plane: ControlPlane, template: Template) -> dict[str, Any]:
    since = time_of(plane.started_at)
    return {
        "assignmentId": str(uuid.uuid5(_IDS, f"{template.template_id}:{DEFAULT_TAG}")),
        "buildId": _build_id(template),
        "assignedAt": since,
        "buildCreatedAt": since,
        "buildFinishedAt": since,
    }


# What would change a template. 501 is not repeated by clients, as 503 would be.


async def refuse_build(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer whatever would build a template."""
    del exchange, match
    names = sorted(plane.config.templates)
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    raise ApiError(
        501,
        "Building templates is not supported by the local backend: its templates"
        f" ({', '.join(names[:_NAMES_SHOWN])}{more}) are set when it starts."
        " Create a sandbox of one of them, install in it what you need,"
        " and keep it as a snapshot.",
    )


async def refuse_change(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer whatever would change a template or its tags."""
    del plane, exchange, match
    raise ApiError(
        501,
        "Changing templates and their tags is not supported by the local backend:"
        " its templates are set when it starts, and each has the one tag 'default'.",
    )


ROUTES: Final = (
    Route("GET", "/templates/aliases/{alias}", find_alias),
    Route("GET", "/templates", list_all),
    Route("GET", "/default-templates", list_all),
    Route("GET", "/v2/templates", list_page),
    Route("GET", "/templates/{id}", get),
    Route("GET", "/templates/{id}/builds/{build}/status", build_status),
    Route("GET", "/templates/{id}/builds/{build}/logs", build_logs),
    Route("GET", "/templates/{id}/tags", list_tags),
    Route("GET", "/templates/{id}/tags/count", count_tags),
    Route("GET", "/templates/{id}/tags/exists", tag_exists),
    Route("GET", "/templates/{id}/tags/groups", group_tags),
    Route("GET", "/templates/{id}/tags/{tag}/assignments", list_assignments),
    # Three generations of the same calls.
    Route("POST", "/templates", refuse_build),
    Route("POST", "/v2/templates", refuse_build),
    Route("POST", "/v3/templates", refuse_build),
    Route("POST", "/templates/{id}", refuse_build),
    Route("POST", "/templates/{id}/builds/{build}", refuse_build),
    Route("POST", "/v2/templates/{id}/builds/{build}", refuse_build),
    Route("GET", "/templates/{id}/files/{hash}", refuse_build),
    Route("PATCH", "/templates/{id}", refuse_change),
    Route("PATCH", "/v2/templates/{id}", refuse_change),
    Route("POST", "/templates/tags", refuse_change),
    Route("DELETE", "/templates/tags", refuse_change),
)
