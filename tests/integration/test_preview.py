"""Previews: a real web server inside, opened from outside."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb

from tests.support.calls import events, failure, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVER = "echo hello from inside > index.html; exec python3 -m http.server {port}"


@pytest.fixture
def web():
    """A client that sends what it is told to, and nothing through a proxy."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


async def preview(box, **fields):
    request = pb.GetPreviewRequest(sandbox_id=box.sandbox_id, **fields)
    return await box.client.call("GetPreview", request)


async def serving(box, port=3000):
    """Start a web server that lives as long as the call; returns its preview once it answers."""
    call = box.exec(SERVER.format(port=port))
    await events(call, 1)
    answer = await preview(box, port=port, wait=Duration(seconds=15))
    assert answer.preview_state == pb.PREVIEW_STATE_LISTENING
    return call, answer.preview


async def test_an_apps_page_is_fetched_through_its_preview(client, web):
    """By the direct address with headers, and by the URL as a browser would."""
    box = await client.sandbox()
    _, found = await serving(box)
    direct = await asyncio.to_thread(
        web.get, found.direct_url, headers={**found.headers, **found.direct_headers}
    )
    url = httpx.URL(found.url)
    host = f"{url.host}:{url.port}" if url.port else url.host
    by_name = await asyncio.to_thread(
        web.get,
        url.copy_with(host=httpx.URL(found.direct_url).host),
        headers={"host": host, **found.headers},
    )

    assert (direct.status_code, direct.text) == (200, "hello from inside\n")
    assert (by_name.status_code, by_name.text) == (200, "hello from inside\n")
    assert found.access == pb.PREVIEW_ACCESS_TOKEN
    assert found.port == 3000


async def test_direct_headers_are_every_header_that_the_direct_address_needs(client, web):
    """A caller sends them as they are, and is in."""
    box = await client.sandbox()
    _, found = await serving(box)
    answer = await asyncio.to_thread(web.get, found.direct_url, headers=dict(found.direct_headers))

    assert answer.status_code == 200


async def test_without_its_token_a_preview_is_closed(client, web):
    """Whoever guesses the address is not in."""
    box = await client.sandbox()
    _, found = await serving(box)
    routing = {
        name: value for name, value in found.direct_headers.items() if name not in found.headers
    }
    without = await asyncio.to_thread(web.get, found.direct_url, headers=routing)
    wrong = await asyncio.to_thread(
        web.get, found.direct_url, headers={**routing, **dict.fromkeys(found.headers, "wrong")}
    )

    assert found.headers
    assert without.status_code in (401, 403)
    assert wrong.status_code in (401, 403)
    assert "hello" not in without.text + wrong.text


async def test_a_public_preview_needs_no_header_but_its_address(client, web):
    """Asked for by the caller, told in the answer."""
    box = await client.sandbox(preview={"port": 8123, "access": pb.PREVIEW_ACCESS_PUBLIC})
    _, found = await serving(box, 8123)
    url = httpx.URL(found.url)
    answer = await asyncio.to_thread(
        web.get,
        url.copy_with(host=httpx.URL(found.direct_url).host),
        headers={"host": f"{url.host}:{url.port}"},
    )

    assert found.access == pb.PREVIEW_ACCESS_PUBLIC
    assert dict(found.headers) == {}
    assert (answer.status_code, answer.text) == (200, "hello from inside\n")


async def test_another_port_is_found_too(client, web):
    """An app and its API."""
    box = await client.sandbox()
    await serving(box)
    _, found = await serving(box, 4567)
    answer = await asyncio.to_thread(
        web.get, found.direct_url, headers={**found.headers, **found.direct_headers}
    )

    assert found.port == 4567
    assert answer.status_code == 200


async def test_nothing_that_listens_is_an_answer_and_comes_at_once(box):
    """Not an error."""
    began = time.monotonic()
    answer = await preview(box, port=3999)

    assert answer.preview_state == pb.PREVIEW_STATE_NOT_LISTENING
    assert answer.preview.url
    assert time.monotonic() - began < 2


async def test_a_wait_ends_when_its_time_is_up(box):
    """And says that nothing listens."""
    began = time.monotonic()
    answer = await preview(box, port=3998, wait=Duration(nanos=600_000_000))

    assert answer.preview_state == pb.PREVIEW_STATE_NOT_LISTENING
    assert 0.6 <= time.monotonic() - began < 3


async def test_a_wait_ends_soon_after_something_listens(client):
    """So that a caller need not poll."""
    box = await client.sandbox()
    waiting = asyncio.ensure_future(preview(box, wait=Duration(seconds=20)))
    call = box.exec("sleep 0.3; " + SERVER.format(port=3000))
    await events(call, 1)
    began = time.monotonic()
    answer = await waiting

    assert answer.preview_state == pb.PREVIEW_STATE_LISTENING
    assert time.monotonic() - began < 5


async def test_status_tells_whether_the_app_answers(client):
    """One call for a dashboard."""
    box = await client.sandbox()
    before = await client.status(box.sandbox_id)
    call, _ = await serving(box)

    async def answers():
        status = await client.status(box.sandbox_id)
        return status if status.preview_state == pb.PREVIEW_STATE_LISTENING else None

    after = await until(answers)
    call.cancel()

    assert before.preview_state == pb.PREVIEW_STATE_NOT_LISTENING
    assert after.sandbox.preview.url


async def test_a_preview_ends_with_its_sandbox(client, web):
    """No other sandbox is ever reached at its address."""
    box = await client.sandbox()
    _, found = await serving(box)
    await client.destroy(box.sandbox_id)
    answer = await asyncio.to_thread(
        web.get, found.direct_url, headers={**found.headers, **found.direct_headers}
    )
    error = await failure(preview(box))

    assert answer.status_code >= 400
    assert error.reason == "SANDBOX_ENDED"
