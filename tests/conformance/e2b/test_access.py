"""Who may call: access tokens, signed URLs, users."""

from __future__ import annotations

import base64
import hashlib
import time

import httpx
import pytest
from e2b.envd.process import process_pb

from tests.conformance.e2b.wire import Box

UNAUTHORIZED = (
    "unauthorized access, please provide a valid access token or method signing if supported"
)
OCTETS = {"content-type": "application/octet-stream"}


def signature(box, path, operation, user="", expiration=None):
    """Sign as the SDK does."""
    parts = [path, operation, user, box.token, *([str(expiration)] if expiration else [])]
    digest = hashlib.sha256(":".join(parts).encode()).digest()
    return "v1_" + base64.b64encode(digest).decode().rstrip("=")


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_envd_answers_only_who_has_the_token(box, token):
    """One sandbox's token is worth nothing in another."""
    for path in ("/process.Process/List", "/filesystem.Filesystem/Stat"):
        response = await box.request("POST", path, token=token, json={})

        assert response.status_code == 401, path
        assert response.json() == {"code": 401, "message": UNAUTHORIZED}
    for path in ("/envs", "/metrics"):
        assert (await box.request("GET", path, token=token)).status_code == 401, path
    assert (await box.request("GET", "/health", token=token)).status_code == 204


@pytest.mark.parametrize("token", ["own", "wrong"])
async def test_a_page_in_a_browser_may_read_the_answer(box, token):
    """The JavaScript SDK runs there too; it is the token that keeps others out."""
    given = {} if token == "own" else {"token": token}
    response = await box.request("POST", "/process.Process/List", json={}, **given)

    assert response.status_code == (200 if token == "own" else 401)
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "missing signature query parameter"),
        ("wrong", "access token present in header but does not match"),
    ],
)
async def test_files_say_what_they_miss(box, token, message):
    """A token, or a signature."""
    for method in ("GET", "POST"):
        response = await box.request(method, "/files", token=token, params={"path": "x"})

        assert response.status_code == 401
        assert response.json()["code"] == 401
        assert message in response.json()["message"]


async def test_a_token_of_another_sandbox_is_wrong(box, own_box):
    """Each has its own."""
    response = await own_box.request("GET", "/envs", token=box.token)

    assert response.status_code == 401


async def test_an_old_style_sandbox_is_open(new_box):
    """The first version of create leaves envd without a token unless asked."""
    box: Box = await new_box("/sandboxes")

    assert box.token is None
    assert await box.run("echo open") == "open\n"
    written = await box.request("POST", "/files?path=x", content=b"x", headers=OCTETS)
    assert written.status_code == 200


# Signed URLs


@pytest.fixture
async def browser(endpoint):
    """A client without any header of ours."""
    async with endpoint.client() as client:
        yield client


async def test_a_signed_url_works_without_any_header(sandbox, browser, name):
    """A browser has neither the token nor the sandbox's id."""
    await sandbox.files.write(name, "signed")
    download = sandbox.download_url(name, use_signature_expiration=60)
    upload = sandbox.upload_url(f"{name}-2")
    read = await browser.get(download)
    written = await browser.post(upload, files={"file": ("whatever", b"loaded")})

    assert read.text == "signed"
    assert written.status_code == 200
    assert await sandbox.files.read(f"{name}-2") == "loaded"


async def test_a_signed_url_names_a_user(sandbox, browser, name):
    """Who is part of what is signed."""
    await sandbox.files.write(name, "mine")
    url = httpx.URL(sandbox.download_url(name, user="user"))

    assert (await browser.get(url)).text == "mine"
    assert (await browser.get(url.copy_set_param("username", "root"))).status_code == 401


@pytest.mark.parametrize("change", ["path", "operation", "expiration", "token"])
async def test_a_signature_is_for_what_was_signed(box, change):
    """One file, one way, one time, one sandbox."""
    soon = int(time.time()) + 60
    query = {
        "path": "a",
        "signature": signature(box, "a", "read", expiration=soon),
        "signature_expiration": str(soon),
    }
    if change == "path":
        query["path"] = "b"
    elif change == "expiration":
        query["signature_expiration"] = str(soon + 1)
    elif change == "token":
        query["signature"] = "v1_" + "A" * 43
    method = "POST" if change == "operation" else "GET"
    response = await box.request(method, "/files", token=None, params=query)

    assert response.status_code == 401
    assert response.json()["message"] == "invalid signature"


async def test_a_signature_ends(box):
    """At the time that is in it."""
    past = int(time.time()) - 5
    query = {
        "path": "a",
        "signature": signature(box, "a", "read", expiration=past),
        "signature_expiration": str(past),
    }
    response = await box.request("GET", "/files", token=None, params=query)

    assert response.status_code == 401
    assert response.json()["message"] == "signature is already expired"


# Users


async def test_a_name_may_be_given_by_basic_authorization(box):
    """As the SDK's `user` option becomes."""
    for user, expected in (("root", "root /root\n"), ("user", "user /home/user\n")):
        basic = base64.b64encode(f"{user}:".encode()).decode()
        config = process_pb.ProcessConfig(cmd="/bin/sh", args=["-c", "echo $USER $HOME"])
        request = process_pb.StartRequest(process=config)
        async with box.stream(
            "/process.Process/Start",
            request,
            process_pb.StartResponse,
            authorization=f"Basic {basic}",
        ) as stream:
            output = b"".join(
                [
                    message.event.event.value.output.value
                    async for message in stream
                    if message.event.event.field == "data"
                ]
            )

        assert output.decode() == expected


async def test_an_unknown_name_is_unauthenticated(box):
    """In the protocol's terms."""
    basic = base64.b64encode(b"bob:").decode()
    response = await box.request(
        "POST",
        "/filesystem.Filesystem/Stat",
        json={"path": "~"},
        headers={"authorization": f"Basic {basic}"},
    )

    assert response.status_code == 401
    assert response.json() == {"code": "unauthenticated", "message": "invalid username: 'bob'"}


# What is not for callers


@pytest.mark.parametrize("path", ["/init", "/freeze", "/unfreeze", "/upgrade"])
async def test_what_is_the_control_planes_is_nobody_elses(box, path):
    """Whatever token is sent."""
    response = await box.request("POST", path, json={})

    assert response.status_code == 404
    assert response.json()["code"] == 404
    assert "reserved for the E2B control plane" in response.json()["message"]
