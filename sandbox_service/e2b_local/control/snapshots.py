"""Snapshots: files of sandboxes that others are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.control import requests, views
from sandbox_service.e2b_local.control.routing import ApiError, Route
from sandbox_service.e2b_local.fleet.paging import PageTokenError
from sandbox_service.e2b_local.fleet.snapshots import (
    DEFAULT_TAG,
    NAMESPACE,
    InvalidNameError,
    Reference,
)
from sandbox_service.e2b_local.http1 import send_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox_service.e2b_local.config import Template
    from sandbox_service.e2b_local.control.plane import ControlPlane
    from sandbox_service.e2b_local.control.routing import Match
    from sandbox_service.e2b_local.http1 import Exchange


@dataclass(frozen=True, slots=True)
class Origin:
    """What a sandbox is made of.

    Attributes:
        template: What it is said to be.
        alias: Name of that. None: it has none.
        env: Variables of its programs, besides the template's.
        archive: Its first files. None: it has none.
    """

    template: Template
    alias: str | None
    env: Mapping[str, str]
    archive: Path | None


def origin_of(plane: ControlPlane, name: str) -> Origin:
    """Find the template or snapshot that a client names.

    A snapshot gives its files and the variables of the sandbox it was taken of. It
    holds no memory, so the programs of that sandbox do not run in the new one.

    Raises:
        ApiError: 400: it is no name. 404: there is none of that name.
    """
    template = plane.config.templates.get(name)
    if template is not None:
        return Origin(template, template.template_id, {}, None)
    try:
        reference = Reference.parse(name)
    except InvalidNameError as error:
        raise ApiError(400, f"Invalid template reference: {error}") from None
    template = plane.config.templates.get(reference.name)
    if template is not None and reference.namespace is None:
        if reference.tag != DEFAULT_TAG:
            message = f"template '{reference.name}' with tag '{reference.tag}' not found"
            raise ApiError(404, message)
        return Origin(template, template.template_id, {}, None)
    snapshot = plane.fleet.snapshots.find(reference)
    if snapshot is None:
        raise ApiError(404, f"template '{name}' not found")
    template = replace(snapshot.template, template_id=snapshot.template_id)
    return Origin(template, snapshot.name, snapshot.env, snapshot.path)


async def take(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `POST /sandboxes/{id}/snapshots`: keep the files that it has now.

    The memory of its programs is never kept, whatever `memory` says: that is taken
    and means nothing here.
    """
    sandbox_id = requests.sandbox_id_of(match)
    document = await requests.json_object(exchange)
    requests.flag_of(document, "memory", default=True)
    name = _name_of(document.get("name"))
    snapshot = await plane.fleet.snapshot(sandbox_id, name)
    send_json(exchange, 201, views.snapshot(snapshot))


def _name_of(name: object) -> Reference | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise ApiError(400, "name must be a string")
    try:
        reference = Reference.parse(name)
    except InvalidNameError as error:
        raise ApiError(400, f"Invalid name: {error}") from None
    if reference.namespace not in {None, NAMESPACE}:
        message = f"namespace '{reference.namespace}' must match your team '{NAMESPACE}'"
        raise ApiError(400, message)
    return reference


async def list_page(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `GET /snapshots`: by page, the newest first."""
    del match
    query = requests.query_of(exchange)
    name = None
    if query.get("name"):
        try:
            name = Reference.parse(query["name"])
        except InvalidNameError as error:
            raise ApiError(400, f"Invalid name: {error}") from None
    try:
        page = plane.fleet.snapshots.page(
            sandbox_id=(query.get("sandboxID") or "").partition("-")[0] or None,
            name=name,
            limit=requests.limit_of(query),
            token=query.get("nextToken") or None,
        )
    except PageTokenError:
        raise ApiError(400, "Invalid next token") from None
    headers = () if page.next_token is None else (("x-next-token", page.next_token),)
    send_json(exchange, 200, [views.snapshot(one) for one in page.items], headers)


async def delete(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """Answer `DELETE /templates/{id}`: a snapshot, and with it all tags of its name.

    The templates themselves are settings of this backend and cannot be deleted.
    """
    text = match["id"]
    try:
        reference = Reference.parse(text)
    except InvalidNameError:
        raise ApiError(400, f"Invalid template ID: {text}") from None
    if plane.fleet.snapshots.remove(reference):
        exchange.respond(204)
        return
    if text in plane.config.templates or reference.name in plane.config.templates:
        raise ApiError(403, f"You don't have access to sandbox template '{text}'")
    raise ApiError(404, f"Template '{text}' not found or you don't have access to it")


ROUTES: Final = (
    Route("POST", "/sandboxes/{id}/snapshots", take),
    Route("GET", "/snapshots", list_page),
    Route("DELETE", "/templates/{id}", delete),
)
