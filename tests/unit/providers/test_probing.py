"""Whose answer it is that comes from a sandbox's port: the app's, or the edge's."""

from __future__ import annotations

import json

import pytest

from sandbox_service.domain.sandboxes import PortSeen, PreviewState
from sandbox_service.providers.e2b.probing import port_seen

SANDBOX = "i1abc"
CLOSED = "The sandbox is running but port is not open"
GONE = "The sandbox was not found"
UNKNOWN = PortSeen(PreviewState.UNKNOWN)


def error(status: int, message: str, sandbox_id: str = SANDBOX) -> bytes:
    return json.dumps({"sandboxId": sandbox_id, "message": message, "code": status}).encode()


@pytest.mark.parametrize(
    ("status", "message", "seen"),
    [
        (502, CLOSED, PortSeen(PreviewState.NOT_LISTENING)),
        (502, GONE, UNKNOWN),
        (502, "The program closed the connection without an answer", UNKNOWN),
        (403, "Sandbox is secured with traffic access token.", UNKNOWN),
        (409, "The sandbox is still transitioning. Try again in a moment.", UNKNOWN),
        (429, "The sandbox has too many concurrent incoming connections (limit: 9)", UNKNOWN),
    ],
)
def test_what_the_edge_says_is_no_answer_of_the_app(status, message, seen):
    """Only a closed port is known from it; the rest says nothing about the app."""
    assert port_seen(status, error(status, message), SANDBOX) == seen
    assert port_seen(status, error(status, message), f"{SANDBOX}-client") == seen


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, error(200, CLOSED)),
        (404, error(404, CLOSED)),
        (502, b"Bad Gateway"),
        (502, b""),
        (502, b"\xff{"),
        (502, b'"port is not open"'),
        (502, json.dumps({"message": CLOSED}).encode()),
        (502, error(502, CLOSED, "i1other")),
        (502, error(503, CLOSED)),
        (502, json.dumps({"sandboxId": SANDBOX, "message": None, "code": 502}).encode()),
        (403, b'{"message": "Forbidden"}'),
    ],
)
def test_any_other_answer_is_the_apps(status, body):
    """Also an error that looks like the edge's and is about something else."""
    assert port_seen(status, body, SANDBOX) == PortSeen(PreviewState.LISTENING, status)
