"""What E2B's API has and this backend has not: refused in words.

501 is what clients do not repeat, and what none of them takes for "not found".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.control.routing import ApiError, Route

if TYPE_CHECKING:
    from sandbox_service.e2b_local.control.plane import ControlPlane
    from sandbox_service.e2b_local.control.routing import Endpoint, Match
    from sandbox_service.e2b_local.http1 import Exchange


def _refuse(what: str, instead: str) -> Endpoint:
    message = f"{what} not supported by the local backend: {instead}"

    async def refuse(plane: ControlPlane, exchange: Exchange, match: Match) -> None:
        del plane, exchange, match
        raise ApiError(501, message)

    return refuse


_volumes = _refuse("Volumes are", "keep files in a sandbox, or copy them in and out.")
_secrets = _refuse("Secrets are", "pass variables to a sandbox or to a command.")
_teams = _refuse("Teams are", "whoever may use it may use all its sandboxes.")
_keys = _refuse("Making keys is", "the one API key it asks for, if any, is a setting of it.")

_VOLUME_CONTENT: Final = tuple(
    Route(method, f"/volumecontent/{{id}}/{part}", _volumes)
    for part, methods in {
        "path": ("GET", "PATCH", "DELETE"),
        "dir": ("GET", "POST"),
        "file": ("GET", "PUT"),
    }.items()
    for method in methods
)

ROUTES: Final = (
    Route("GET", "/volumes", _volumes),
    Route("POST", "/volumes", _volumes),
    Route("GET", "/volumes/{id}", _volumes),
    Route("DELETE", "/volumes/{id}", _volumes),
    *_VOLUME_CONTENT,
    Route("GET", "/secrets", _secrets),
    Route("POST", "/secrets", _secrets),
    Route("GET", "/secrets/{id}", _secrets),
    Route("POST", "/secrets/{id}", _secrets),
    Route("DELETE", "/secrets/{id}", _secrets),
    Route("GET", "/teams", _teams),
    Route("GET", "/teams/{id}/metrics", _teams),
    Route("GET", "/api-keys", _keys),
    Route("POST", "/api-keys", _keys),
    Route("POST", "/access-tokens", _keys),
)
