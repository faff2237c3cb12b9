"""`/local/faults`: the rules, looked at and changed while the backend runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.control.routing import ApiError, Route
from sandbox_service.e2b_local.faults.errors import RuleExistsError, RulesError
from sandbox_service.e2b_local.http1 import BodyTooLargeError, send_json

if TYPE_CHECKING:
    from sandbox_service.e2b_local.control.plane import ControlPlane
    from sandbox_service.e2b_local.control.routing import Match
    from sandbox_service.e2b_local.faults.injector import FaultInjector
    from sandbox_service.e2b_local.http1 import Exchange

_BODY_LIMIT_BYTES: Final = 1024**2


async def list_rules(plane: ControlPlane, exchange: Exchange, _: Match) -> None:
    """`GET /local/faults`: all rules, each with how often it has happened."""
    send_json(exchange, 200, _injector(plane).views())


async def add_rules(plane: ControlPlane, exchange: Exchange, _: Match) -> None:
    """`POST /local/faults`: one more rule, or a list of them: all or none."""
    injector = _injector(plane)
    try:
        body = await exchange.read(_BODY_LIMIT_BYTES)
        added = injector.add_json(body)
    except BodyTooLargeError:
        raise ApiError(413, "the request body is too large") from None
    except RuleExistsError as error:
        raise ApiError(409, str(error)) from None
    except RulesError as error:
        document = {"code": 400, "message": str(error), "fields": error.problems}
        send_json(exchange, 400, document)
        return
    send_json(exchange, 201, added if body.lstrip().startswith(b"[") else added[0])


async def remove_rules(plane: ControlPlane, exchange: Exchange, _: Match) -> None:
    """`DELETE /local/faults`: no rules any more."""
    _injector(plane).clear()
    exchange.respond(204)


async def remove_rule(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
    """`DELETE /local/faults/{id}`: one rule less."""
    if not _injector(plane).remove(match["id"]):
        raise ApiError(404, f"there is no rule {match['id']!r}")
    exchange.respond(204)


def _injector(plane: ControlPlane) -> FaultInjector:
    if plane.faults is None:
        message = "fault injection is not enabled: start the backend with --faults"
        raise ApiError(404, message)
    return plane.faults


ROUTES: Final = (
    Route("GET", "/local/faults", list_rules),
    Route("POST", "/local/faults", add_rules),
    Route("DELETE", "/local/faults", remove_rules),
    Route("DELETE", "/local/faults/{id}", remove_rule),
)
