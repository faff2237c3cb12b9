"""One port serves everything, so a wrong turn would reach another tenant's sandbox."""

from __future__ import annotations

import pytest

from sandbox_service.e2b_local.gateway import RoutingError, Target, route
from sandbox_service.e2b_local.http1 import Headers

ID = "i0123456789abcdefghij"


def headers(**fields: str) -> Headers:
    return Headers([(n.replace("_", "-").encode(), v.encode()) for n, v in fields.items()])


@pytest.mark.parametrize(
    ("host", "port"),
    [
        (f"3000-{ID}.sbx.localhost:8123", 3000),
        (f"3000-{ID}.e2b.app", 3000),
        (f"49983-{ID}-client01.anything.at.all", 49983),
        (f"3000-{ID.upper()}.SBX.localhost", 3000),
    ],
)
def test_a_sandbox_host_names_port_and_sandbox_below_any_domain(host, port):
    """Browsers and the SDK's own domains reach a sandbox by its name alone."""
    assert route(headers(Host=host)) == Target(ID, port)


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost", "api.e2b.app", "", "sandbox.x"])
def test_other_hosts_without_headers_are_the_control_plane(host):
    """What names no sandbox must never be sent into one."""
    assert route(headers(Host=host)) is None


def test_headers_name_port_and_sandbox_on_a_shared_host():
    """The SDK with one sandbox URL for all sandboxes routes by header."""
    fields = headers(Host="127.0.0.1:1", E2b_Sandbox_Id=ID, E2b_Sandbox_Port="49983")

    assert route(fields) == Target(ID, 49983)


@pytest.mark.parametrize(
    "fields",
    [
        {"E2b_Sandbox_Id": ID},
        {"E2b_Sandbox_Port": "80"},
        {"E2b_Sandbox_Id": ID, "E2b_Sandbox_Port": "0"},
        {"E2b_Sandbox_Id": ID, "E2b_Sandbox_Port": "65536"},
        {"E2b_Sandbox_Id": ID, "E2b_Sandbox_Port": "٣"},
        {"E2b_Sandbox_Id": "../../etc", "E2b_Sandbox_Port": "80"},
        {"Host": f"99999-{ID}.sbx.localhost"},
    ],
)
def test_half_a_route_is_refused_and_not_guessed(fields):
    """Falling through to the control plane would answer a question nobody asked."""
    with pytest.raises(RoutingError):
        route(headers(**fields))


def test_a_sandbox_host_beats_the_headers():
    """A page inside one sandbox may set headers, but not the host it was opened under."""
    fields = headers(Host=f"3000-{ID}.sbx.x", E2b_Sandbox_Id="iother", E2b_Sandbox_Port="1")

    assert route(fields) == Target(ID, 3000)
