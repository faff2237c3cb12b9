"""Which endpoint a path leads to, and what is said where none is."""

from __future__ import annotations

import pytest

from sandbox_service.e2b_local.control import api
from sandbox_service.e2b_local.control.routing import ApiError, Route, Router


async def endpoint(plane, exchange, match):
    """Never called here."""


ROUTER = Router(
    [
        Route("GET", "/boxes", endpoint),
        Route("GET", "/boxes/metrics", endpoint),
        Route("GET", "/boxes/{id}", endpoint),
        Route("DELETE", "/boxes/{id}", endpoint),
        Route("POST", "/v2/boxes/{id}/parts/{part}", endpoint),
    ]
)


def test_a_segment_in_words_wins_over_one_in_braces():
    """`metrics` would else be taken for somebody's id."""
    assert ROUTER.match("GET", "/boxes/metrics").route.path == "/boxes/metrics"
    assert ROUTER.match("GET", "/boxes/a")["id"] == "a"


def test_parameters_are_decoded_after_the_path_was_cut():
    """Names of snapshots hold a slash, which clients encode."""
    match = ROUTER.match("POST", "/v2/boxes/team%2Fname%3Av1/parts/a%20b")

    assert match.parameters == {"id": "team/name:v1", "part": "a b"}


@pytest.mark.parametrize(
    "path", ["/", "/box", "/boxes/", "/boxes/a/", "/boxes/a/b", "/v2/boxes/a", "/v3/boxes", "x"]
)
def test_a_path_without_an_endpoint_is_404(path):
    """Clients branch on the status, and read JSON."""
    with pytest.raises(ApiError) as caught:
        ROUTER.match("GET", path)

    assert caught.value.document == {"code": 404, "message": "no matching operation was found"}


def test_a_wrong_method_is_405_and_names_the_right_ones():
    """404 would say that the sandbox is not there."""
    with pytest.raises(ApiError) as caught:
        ROUTER.match("PUT", "/boxes/a")

    assert caught.value.status == 405
    assert caught.value.headers == (("allow", "DELETE, GET"),)


def test_two_routes_for_the_same_are_refused():
    """One of them would never be called."""
    with pytest.raises(ValueError, match="two routes"):
        Router([Route("GET", "/a/{b}", endpoint), Route("GET", "/a/{c}", endpoint)])


def test_an_error_code_is_shown_where_there_is_one():
    """The SDK branches on it."""
    shown = ApiError(409, "no", "sandbox_snapshot_guest_agent_unresponsive").document

    assert shown["error_code"] == "sandbox_snapshot_guest_agent_unresponsive"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/sandboxes"),
        ("POST", "/sandboxes"),
        ("GET", "/v2/sandboxes"),
        ("GET", "/sandboxes"),
        ("POST", "/v2/sandboxes/i/connect"),
        ("POST", "/sandboxes/i/connect"),
        ("POST", "/sandboxes/i/pause"),
        ("POST", "/sandboxes/i/resume"),
        ("POST", "/sandboxes/i/fork"),
        ("POST", "/sandboxes/i/snapshots"),
        ("PUT", "/sandboxes/i/network"),
        ("GET", "/snapshots"),
        ("DELETE", "/templates/local%2Fname%3Adefault"),
        ("GET", "/sandboxes/metrics"),
    ],
)
def test_every_endpoint_of_sandbox_life_is_there(method, path):
    """Both generations of paths are in use."""
    assert api._ROUTER.match(method, path).route.method == method
