"""One port serves everything, so a wrong turn would reach another tenant's sandbox."""

from __future__ import annotations

import pytest

from sandbox_service.e2b_local.gateway.routing import (
    OwnHosts,
    RoutingError,
    Target,
    route,
    split_host,
)
from sandbox_service.e2b_local.http1 import Headers

ID = "i0123456789abcdefghij"
OWN = OwnHosts("sbx.localhost", 8123)


def headers(**fields: str) -> Headers:
    return Headers([(n.replace("_", "-").encode(), v.encode()) for n, v in fields.items()])


def to(host: str, **fields: str) -> Target | None:
    return route(host, headers(**fields), OWN)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        (f"3000-{ID}.sbx.localhost:8123", 3000),
        (f"3000-{ID}.sbx.localhost.", 3000),
        (f"3000-{ID}.e2b.app", 3000),
        (f"49983-{ID}-client01.anything.at.all", 49983),
        (f"49983-{ID}-6532622b.sbx.localhost", 49983),
        (f"3000-{ID.upper()}.SBX.localhost", 3000),
    ],
)
def test_a_sandbox_host_names_port_and_sandbox_below_any_domain(host, port):
    """Browsers and the SDK's own domains reach a sandbox by its name alone."""
    assert to(host) == Target(ID, port)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:8123", "localhost", "[::1]:8123", "", "sandbox.x", "sandbox.sbx.localhost"),
        *("api.e2b.app", "api.sbx.localhost", "api.sbx.localhost:8123", "sbx.localhost"),
        *("e2b-local", "my-machine.lan", "host.docker.internal:8123"),
    ],
)
def test_other_hosts_without_headers_are_the_control_plane(host):
    """What names no sandbox must never be sent into one."""
    assert to(host) is None


@pytest.mark.parametrize(
    "host",
    ["localhost:1", "127.0.0.1", "[::1]:1", "sandbox.e2b.app", "sandbox.sbx.localhost:8123"],
)
def test_headers_name_port_and_sandbox_on_a_shared_host(host):
    """The SDK with one sandbox URL for all sandboxes routes by header."""
    fields = {"E2b_Sandbox_Id": f"{ID}-client", "E2b_Sandbox_Port": "49983"}

    assert to(host, **fields) == Target(ID, 49983)


@pytest.mark.parametrize("host", ["api.sbx.localhost", "e2b.example.com", "sbx.localhost"])
def test_headers_mean_nothing_elsewhere(host):
    """Only hosts that sandboxes share are routed by what a client may set."""
    assert to(host, E2b_Sandbox_Id=ID, E2b_Sandbox_Port="3000") is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"E2b_Sandbox_Id": ID}, "missing header: E2b-Sandbox-Port"),
        ({"E2b_Sandbox_Id": ID, "E2b_Sandbox_Port": ""}, "missing header: E2b-Sandbox-Port"),
        ({"E2b_Sandbox_Port": "80"}, "missing header: E2b-Sandbox-Id"),
        ({"E2b_Sandbox_Id": ID, "E2b_Sandbox_Port": "0"}, "Invalid sandbox port"),
        ({"E2b_Sandbox_Id": ID, "E2b_Sandbox_Port": "65536"}, "Invalid sandbox port"),
        ({"E2b_Sandbox_Id": ID, "E2b_Sandbox_Port": "٣"}, "Invalid sandbox port"),
        ({"E2b_Sandbox_Id": ID, "E2b_Sandbox_Port": "0000019"}, "Invalid sandbox port"),
        ({"E2b_Sandbox_Id": ID, "E2b_Sandbox_Port": "000001" + "9" * 5000}, "Invalid sandbox port"),
        ({"E2b_Sandbox_Id": "../../etc", "E2b_Sandbox_Port": "80"}, "Invalid sandbox ID"),
        ({"E2b_Sandbox_Id": "SBX", "E2b_Sandbox_Port": "80"}, "Invalid sandbox ID"),
    ],
)
def test_half_a_route_is_refused_and_not_guessed(fields, message):
    """Falling through to the control plane would answer a question nobody asked."""
    with pytest.raises(RoutingError, match=message):
        to("127.0.0.1:8123", **fields)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (f"99999-{ID}.sbx.localhost", "Invalid sandbox port"),
        (f"0-{ID}.e2b.app", "Invalid sandbox port"),
        (f"000001999-{ID}.e2b.app", "Invalid sandbox port"),
        (f"3000-{ID}.e2b.app:000001{'9' * 5000}", "Invalid sandbox port"),
        (f"abcd-{ID}.sbx.localhost", "Invalid sandbox port"),
        (f"{ID}.sbx.localhost", "Invalid host"),
        ("3000-.sbx.localhost", "Invalid sandbox ID"),
        ("3000-a_b.sbx.localhost", "Invalid sandbox ID"),
    ],
)
def test_a_host_of_ours_that_names_no_sandbox_is_refused(host, message):
    """A typo in a preview URL must say what is wrong with it."""
    with pytest.raises(RoutingError, match=message):
        to(host)


def test_a_sandbox_host_beats_the_headers():
    """A page inside one sandbox may set headers, but not the host it was opened under."""
    fields = {"E2b_Sandbox_Id": "iother", "E2b_Sandbox_Port": "1"}

    assert to(f"3000-{ID}.sbx.x", **fields) == Target(ID, 3000)


@pytest.mark.parametrize(
    ("host", "port", "served"),
    [
        ("api.sbx.localhost", 443, True),
        (f"3000-{ID}.sbx.localhost", 8123, True),
        ("SBX.localhost.", 1, True),
        ("127.0.0.1", 8123, True),
        ("localhost", 8123, True),
        ("::1", 8123, True),
        ("127.0.0.1", 443, False),
        ("evilsbx.localhost", 443, False),
        ("sbx.localhost.evil.example", 443, False),
        ("e2b.app", 443, False),
    ],
)
def test_a_tunnel_ends_here_only_for_hosts_of_ours(host, port, served):
    """Everything else is somebody else's, and must be connected to them."""
    assert OWN.serve(host, port) is served


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        ("a.b", ("a.b", 80)),
        ("a.b:81", ("a.b", 81)),
        ("[::1]", ("::1", 80)),
        ("[::1]:81", ("::1", 81)),
        ("a.b:", ("a.b", 80)),
    ],
)
def test_a_host_may_carry_a_port(host, parts):
    """The address of the proxy itself is no sandbox's."""
    assert split_host(host, 80) == parts
