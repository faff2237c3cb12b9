"""Previews of apps that answer oddly or not over HTTP, and waits that end early."""

from __future__ import annotations

import asyncio
import json
import secrets
import time

import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb

from tests.support.calls import Client, events, failure, first_output, source, until
from tests.support.local import backend
from tests.support.service import served
from tests.support.trees import File, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

LISTENER = """
import socket, sys, time
family = socket.AF_INET6 if ":" in {host!r} else socket.AF_INET
listening = socket.create_server(({host!r}, {port}), family=family)
print("ready", flush=True)
while True:
    app, _ = listening.accept()
    {deed}
"""
SILENT = "kept = globals().setdefault('kept', []); kept.append(app)"
BANNER = "app.sendall(b'220 mail ready\\r\\n'); app.recv(4096); app.close()"
CLOSES = "app.close()"


def answers(status: str, body: str) -> str:
    """Return a deed that answers every request with the same words."""
    fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
    answer = f"HTTP/1.1 {status}\r\n{fields}\r\nConnection: close\r\n\r\n{body}"
    return f"app.recv(4096); app.sendall({answer.encode()!r}); app.close()"


def edge_error(sandbox_id: str, port: int) -> str:
    """Return what E2B's edge says of a closed port."""
    message = "The sandbox is running but port is not open"
    return json.dumps({"sandboxId": sandbox_id, "message": message, "port": port, "code": 502})


async def preview(box, **fields):
    request = pb.GetPreviewRequest(sandbox_id=box.sandbox_id, **fields)
    return await box.client.call("GetPreview", request)


async def listening(box, port, deed, host="127.0.0.1"):
    """Start an app that does the same to every visitor; it lives as long as the call."""
    call = box.exec(source("python", LISTENER.format(port=port, deed=deed, host=host)))
    assert (await first_output(call)).output.data == b"ready\n"
    return call


def told(answer):
    status = answer.http_status if answer.HasField("http_status") else None
    return pb.PreviewState.Name(answer.preview_state).removeprefix("PREVIEW_STATE_"), status


@pytest.mark.parametrize("deed", [SILENT, BANNER, CLOSES], ids=["silent", "banner", "closes"])
async def test_an_app_that_speaks_no_http_listens_and_has_no_status(box, deed):
    """A database, a mail server, a port that only WebSockets may use."""
    port = 5000 + secrets.randbelow(1000)
    call = await listening(box, port, deed)
    once = await preview(box, port=port)
    waited = await preview(box, port=port, wait=Duration(seconds=30))
    call.cancel()

    assert told(once) == ("LISTENING", None)
    assert told(waited) == ("LISTENING", None)


@pytest.mark.parametrize(
    "body",
    ["bad gateway", json.dumps({"message": "port is not open"}), "port is not open"],
    ids=["plain", "json", "words"],
)
async def test_an_apps_own_502_is_not_taken_for_a_closed_port(box, body):
    """A gateway whose upstream is down listens; it may even use the edge's words."""
    port = 6000 + secrets.randbelow(1000)
    call = await listening(box, port, answers("502 Bad Gateway", body))
    answer = await preview(box, port=port)
    call.cancel()

    assert told(answer) == ("LISTENING", 502)


async def test_an_app_that_forges_the_edges_answer_still_listens(box):
    """Word for word; the sandbox's list of sockets knows better."""
    port = 7000 + secrets.randbelow(1000)
    deed = answers("502 Bad Gateway", edge_error(box.sandbox_id, port))
    call = await listening(box, port, deed)
    answer = await preview(box, port=port)
    call.cancel()

    assert told(answer) == ("LISTENING", None)


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "403 Forbidden", "500 Oh"])
async def test_the_status_is_the_apps_own(box, status):
    """Whatever it is: an app that refuses `/` listens."""
    port = 8000 + secrets.randbelow(1000)
    call = await listening(box, port, answers(status, "{}"))
    answer = await preview(box, port=port)
    call.cancel()

    assert told(answer) == ("LISTENING", int(status[:3]))


async def test_status_and_a_receipt_tell_of_such_an_app_too(client):
    """One truth, whoever asks; and a receipt without a reload action says so."""
    box = await client.sandbox()
    call = await listening(box, 3000, SILENT)
    tree = {"a": File(b"a")}
    receipt = await client.sync([header(box.sandbox_id, "app"), *parts(tree)])
    status = await client.status(box.sandbox_id)
    call.cancel()

    assert status.preview_state == pb.PREVIEW_STATE_LISTENING
    assert receipt.preview_state == pb.PREVIEW_STATE_LISTENING
    assert not receipt.HasField("reload")


LATE = """
import socket, time
time.sleep(0.7)
listening = socket.create_server(("127.0.0.1", {port}))
print(time.clock_gettime(time.CLOCK_MONOTONIC), flush=True)
app, _ = listening.accept()
app.recv(4096)
app.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
time.sleep(60)
"""


async def test_a_wait_finds_a_port_between_two_looks(client):
    """The sandbox itself watches, so that no pause between looks is waited out."""
    box = await client.sandbox()
    late = []
    for port in (3001, 3002, 3003):
        call = box.exec(source("python", LATE.format(port=port)))
        await events(call, 1)
        answer = await preview(box, port=port, wait=Duration(seconds=60))
        seen = time.clock_gettime(time.CLOCK_MONOTONIC)
        opened = float((await first_output(call)).output.data)
        call.cancel()
        assert told(answer) == ("LISTENING", 200)
        late.append(f"{(seen - opened) * 1e3:.0f} ms")
    print("found after", ", ".join(late))


async def test_a_wait_ends_at_once_when_its_sandbox_is_destroyed(client):
    """Nobody waits ten minutes for an app that cannot come any more."""
    box = await client.sandbox()
    waiting = asyncio.ensure_future(preview(box, wait=Duration(seconds=600)))
    await watched(box)
    began = time.monotonic()
    await client.destroy(box.sandbox_id)
    error = await failure(waiting)

    assert error.reason == "SANDBOX_ENDED"
    assert time.monotonic() - began < 20


async def watched(box):
    """Wait until a GetPreview waits inside the sandbox."""

    async def looks():
        return (await box.run("pgrep -fc '[l]istening .* [0-9]{4,}$'")).text.strip() != "0"

    await until(looks)


async def test_a_wait_leaves_nothing_in_the_sandbox_when_its_caller_leaves(client):
    """What watches for it is ended."""
    box = await client.sandbox()
    call = client.call(
        "GetPreview",
        pb.GetPreviewRequest(sandbox_id=box.sandbox_id, wait=Duration(seconds=600)),
    )
    await watched(box)
    call.cancel()

    async def gone():
        return (await box.run("pgrep -fc '[l]istening .* [0-9]{4,}$'")).text.strip() == "0"

    await until(gone)


async def test_a_wait_ends_at_once_when_its_sandbox_is_paused():
    """By whoever: here behind the service's back."""
    with backend() as env, served(env=env) as service:
        async with Client.connected(service.grpc_address) as client:
            box = await client.sandbox()
            waiting = asyncio.ensure_future(preview(box, wait=Duration(seconds=600)))
            await watched(box)
            began = time.monotonic()
            async with httpx.AsyncClient(
                base_url=env["E2B_API_URL"], headers={"x-api-key": env["E2B_API_KEY"]}
            ) as web:
                paused = await web.post(f"/sandboxes/{box.sandbox_id}/pause")
            error = await failure(waiting)
            took = time.monotonic() - began
            await client.destroy(box.sandbox_id)

    assert paused.status_code == 204
    assert error.seen == ("FAILED_PRECONDITION", "SANDBOX_PAUSED")
    assert took < 20
