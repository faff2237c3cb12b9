"""What the control plane refuses, in the form and with the classes that clients know."""

from __future__ import annotations

import json
from pathlib import Path

import e2b
import pytest

from tests.unit.e2b_local import sdk_interface

CALLS = sorted(json.loads(Path(sdk_interface.COMMITTED).read_text())["rest"])


async def test_an_unknown_sandbox_has_its_own_class_in_each_call(sdk):
    """A caller that sweeps must know what is gone from what is broken."""
    unknown = {"sandbox_id": "ixxxxxxxxxxxxxxxxxxxx", **sdk.options}
    for call in (
        sdk.cls.get_info(**unknown),
        sdk.cls.connect(**unknown),
        sdk.cls.set_timeout(timeout=5, **unknown),
        sdk.cls.pause(**unknown),
        sdk.cls.fork(**unknown),
        sdk.cls.update_network(network={}, **unknown),
        sdk.cls.get_metrics(**unknown),
        sdk.cls.create_snapshot(**unknown),
    ):
        with pytest.raises(e2b.SandboxNotFoundException):
            await call
    assert await sdk.cls.kill(**unknown) is False


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("GET", "/sandboxes/{}", None),
        ("DELETE", "/sandboxes/{}", None),
        ("POST", "/sandboxes/{}/connect", {"timeout": 5}),
        ("POST", "/v2/sandboxes/{}/connect", {}),
        ("POST", "/sandboxes/{}/timeout", {"timeout": 5}),
        ("POST", "/sandboxes/{}/refreshes", {}),
        ("POST", "/sandboxes/{}/pause", {}),
        ("POST", "/sandboxes/{}/resume", {}),
        ("POST", "/sandboxes/{}/fork", {}),
        ("POST", "/sandboxes/{}/snapshots", {}),
        ("PUT", "/sandboxes/{}/network", {}),
        ("GET", "/sandboxes/{}/metrics", None),
    ],
)
async def test_an_unknown_sandbox_is_told_as_a_document(wire, method, path, document):
    """A text body would be a JSON error deep in the client."""
    response = await wire.api(method, path.format("inotthere"), json=document)

    assert response.status_code == 404
    assert response.headers["content-type"].startswith("application/json")
    assert response.json() == {
        "code": 404,
        "message": "Sandbox \"inotthere\" doesn't exist or you don't have access to it",
    }


async def test_a_wrong_key_is_no_outage(sdk):
    """And no `SandboxException`: nothing of it is about a sandbox."""
    wrong = {**sdk.options, "api_key": "e2b_" + "1" * 40}
    with pytest.raises(e2b.AuthenticationException):
        await sdk.cls.create("base", **wrong)
    with pytest.raises(e2b.AuthenticationException):
        await sdk.cls.get_info("ixxxxxxxxxxxxxxxxxxxx", **wrong)


@pytest.mark.parametrize("key", [None, "e2b_" + "1" * 40, ""])
async def test_a_missing_or_wrong_key_is_told_as_a_document(wire, key):
    """Before anything is said of what is there."""
    for path in ("/v2/sandboxes", "/sandboxes/inotthere"):
        response = await wire.api("GET", path, headers={"x-api-key": key})

        assert response.status_code == 401
        assert response.json()["code"] == 401


async def test_an_unknown_template_is_named(sdk):
    """A typo is found by reading."""
    with pytest.raises(e2b.SandboxException, match="no-such-template") as caught:
        await sdk.create("no-such-template")
    assert caught.value.status_code in {403, 404}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"base"',
        b"{}",
        b'{"templateID":7}',
        b'{"templateID":"base","timeout":"soon"}',
        b'{"templateID":"base","timeout":-1}',
        b'{"templateID":"base","metadata":{"a":1}}',
        b'{"templateID":"base","envVars":[]}',
    ],
)
async def test_a_document_that_is_none_is_refused(wire, body):
    """With 400, not with a traceback or a sandbox."""
    response = await wire.api(
        "POST", "/v2/sandboxes", content=body, headers={"content-type": "application/json"}
    )

    assert response.status_code == 400
    assert response.json()["code"] == 400
    assert response.json()["message"]


async def test_a_typo_in_a_path_is_told_as_a_document(wire):
    """As everything else."""
    response = await wire.api("GET", "/sandboxs")

    assert response.status_code in {400, 404}
    assert response.json()["code"] == response.status_code


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_of_the_sdk_is_known(wire, call):
    """Served, or refused in words; never a path that nobody has heard of."""
    method, _, path = call.partition(" ")
    for name in ("sandbox_id", "secret_id", "volume_id", "template_id", "build_id"):
        path = path.replace(f"{{{name}}}", "inotthere")
    for name in ("alias", "hash_", "tag"):
        path = path.replace(f"{{{name}}}", "none")
    typo = (await wire.api("GET", "/sandboxs")).json()["message"]
    sent = None if method in {"GET", "DELETE"} else {}
    response = await wire.api(method, path, json=sent)

    assert response.status_code != 405
    if response.is_error:
        assert response.json()["code"] == response.status_code
        assert response.json()["message"] != typo.replace("/sandboxs", path)


async def test_health_of_the_control_plane_needs_no_key(wire):
    """Load balancers have none."""
    response = await wire.api("GET", "/health", headers={"x-api-key": None})

    assert response.status_code in {200, 204}
