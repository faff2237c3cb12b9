"""One port that speaks plain HTTP, TLS and CONNECT, to clients of every kind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.integration.e2b_wire import connected, new_box
from tests.integration.local_backend import API_KEY, REPOSITORY
from tests.support.edge_calls import HEALTH, ask, opened, tunnel


@pytest.fixture(scope="module")
def info(backend):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{backend.url}/local/info") as answer:
        return json.load(answer)


@pytest.fixture
async def client(backend):
    async with connected(backend) as client:
        yield client


def test_what_a_client_must_know_is_told_to_anybody(info, backend):
    """No key is needed to learn which key is needed."""
    assert info["url"] == backend.url
    assert info["domain"] == backend.status["domain"]
    assert info["tier"] == backend.status["tier"]
    assert info["api_key_required"] is True
    assert info["faults"] is False
    assert API_KEY not in json.dumps(info)
    assert Path(info["ca"]).read_text() in Path(info["ca_bundle"]).read_text()


SCENARIO = """
import asyncio, time, urllib.request
import e2b, httpx

def page(get):
    for _ in range(200):
        status, body = get()
        if status == 200:
            return body
        time.sleep(0.05)
    raise AssertionError((status, body))

def by_httpx(url):
    answer = httpx.get(url)
    return answer.status_code, answer.text

sandbox = e2b.Sandbox.create(timeout=60)
assert sandbox.commands.run("echo hi").stdout == "hi\\n"
sandbox.files.write("page.txt", "a page" * 1000)
assert sandbox.files.read("page.txt") == "a page" * 1000
with urllib.request.urlopen(sandbox.download_url("page.txt")) as answer:
    assert answer.read() == b"a page" * 1000
sandbox.commands.run("exec python3 -m http.server 3000", background=True)
url = f"https://{sandbox.get_host(3000)}/page.txt"
assert page(lambda: by_httpx(url)) == "a page" * 1000
with urllib.request.urlopen(url) as answer:
    assert answer.read() == b"a page" * 1000

async def main():
    same = await e2b.AsyncSandbox.connect(sandbox.sandbox_id)
    results = await asyncio.gather(*(same.commands.run(f"echo {n}") for n in range(20)))
    assert [result.stdout for result in results] == [f"{n}\\n" for n in range(20)]
    assert await same.kill()
    assert not await same.is_running()

asyncio.run(main())
assert httpx.get(url).json()["message"] == "The sandbox was not found"
print("done")
"""


def test_the_unmodified_sdk_needs_a_domain_a_proxy_and_a_certificate(info):
    """The program below knows nothing of us: it would run against E2B's cloud as it is."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {
        **inherited,
        "E2B_DOMAIN": info["domain"],
        "E2B_API_KEY": API_KEY,
        "HTTPS_PROXY": info["url"],
        "SSL_CERT_FILE": info["ca_bundle"],
    }
    ran = subprocess.run(
        [sys.executable, "-c", SCENARIO],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert ran.stdout == "done\n", ran.stderr


async def test_tls_without_a_proxy_is_served_too(backend, info, client):
    """A browser resolves `*.localhost` by itself and comes straight here."""
    trusting = ssl.create_default_context(cafile=info["ca_bundle"])
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    port = backend.status["port"]
    box = await new_box(client, timeout=60)
    host = f"49983-{box.id}.sbx.localhost"
    data = random.Random(4).randbytes(20_000_000)
    async with opened(port, ssl=trusting, server_hostname=host) as (reader, writer):
        spoken = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        token = f"X-Access-Token: {box.created['envdAccessToken']}"
        head = f"POST /files?path=big HTTP/1.1\r\nHost: {host}\r\n{token}\r\n"
        kind = "Content-Type: application/octet-stream"
        writer.write(f"{head}{kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        written = await reader.readuntil(b"\r\n\r\n")
        length = int(written.lower().partition(b"content-length: ")[2].split()[0])
        await reader.readexactly(length)
        request = f"GET /files?path=big HTTP/1.1\r\nHost: {host}\r\n{token}\r\n\r\n"
        await ask(reader, writer, request.encode())
        back = await reader.readexactly(len(data))
    await client.delete(f"/sandboxes/{box.id}")

    assert spoken == "http/1.1"
    assert written.startswith(b"HTTP/1.1 200 ")
    assert back == data


@pytest.mark.parametrize(
    "place",
    ["api.sbx.localhost:443", "api.sbx.localhost:80", "127.0.0.1:{port}", "SBX.localhost:1"],
)
async def test_a_tunnel_to_a_host_of_ours_ends_here(backend, info, place):
    """Whatever port the URL had: nobody listens on 443 here, and nobody has to."""
    port = backend.status["port"]
    trusting = ssl.create_default_context(cafile=info["ca_bundle"])
    async with opened(port) as (reader, writer):
        established = await tunnel(reader, writer, place.format(port=port))
        plain = await ask(reader, writer, HEALTH)
    async with opened(port) as (reader, writer):
        await tunnel(reader, writer, place.format(port=port))
        await writer.start_tls(trusting, server_hostname="api.sbx.localhost")
        secret = await ask(reader, writer, HEALTH)

    assert established.startswith("HTTP/1.1 200 ")
    assert plain.startswith("HTTP/1.1 204 ")
    assert secret.startswith("HTTP/1.1 204 ")


async def test_a_tunnel_to_elsewhere_is_passed_on(backend):
    """A program that sends all its traffic here must still reach the rest of the world."""

    async def digest(reader, writer):
        writer.write(hashlib.sha256(await reader.read()).hexdigest().encode())
        await writer.drain()
        writer.close()

    data = random.Random(5).randbytes(5_000_000)
    async with await asyncio.start_server(digest, "127.0.0.1", 0) as elsewhere:
        place = f"127.0.0.1:{elsewhere.sockets[0].getsockname()[1]}"
        async with opened(backend.status["port"]) as (reader, writer):
            established = await tunnel(reader, writer, place)
            writer.write(data)
            # The far side answers only when it has seen this end.
            writer.write_eof()
            answer = await reader.read()

    assert established.startswith("HTTP/1.1 200 ")
    assert answer.decode() == hashlib.sha256(data).hexdigest()


async def test_a_tunnel_that_cannot_be_is_refused_in_words(backend):
    """A proxy that just hangs up looks like a network that is down."""
    free = socket.create_server(("127.0.0.1", 0))
    closed = f"127.0.0.1:{free.getsockname()[1]}"
    free.close()
    answers = {}
    for place in (closed, "nowhere", "a b:1", "sbx.localhost:0"):
        async with opened(backend.status["port"]) as (reader, writer):
            head = await tunnel(reader, writer, place)
            answers[place] = head, (await reader.read()).decode()
    async with opened(backend.status["port"]) as (reader, writer):
        await tunnel(reader, writer, "api.sbx.localhost:443")
        nested = await tunnel(reader, writer, "api.sbx.localhost:443")
    async with opened(backend.status["port"]) as (reader, writer):
        endless = await ask(reader, writer, b"CONNECT a:1 HTTP/1.1\r\nx: " + b"x" * 100_000)

    assert answers[closed][0].startswith("HTTP/1.1 502 ")
    assert closed in answers[closed][1]
    for place in ("nowhere", "a b:1", "sbx.localhost:0"):
        assert answers[place][0].startswith("HTTP/1.1 400 "), place
    assert nested.startswith("HTTP/1.1 400 ")
    assert endless.startswith("HTTP/1.1 400 ")


async def test_plain_requests_by_whole_url_are_served_for_our_hosts(backend, client):
    """With HTTP_PROXY set, a client sends a whole URL, and its host is what counts."""
    box = await new_box(client, timeout=30)
    url = f"http://49983-{box.id}.sbx.localhost"
    async with opened(backend.status["port"]) as (reader, writer):
        ours = await ask(
            reader, writer, f"GET {url}/health HTTP/1.1\r\nHost: api.sbx.localhost\r\n\r\n".encode()
        )
        request = "GET http://other.example/ HTTP/1.1\r\nHost: api.sbx.localhost\r\n\r\n"
        theirs = await ask(reader, writer, request.encode())
    await client.delete(f"/sandboxes/{box.id}")
    async with opened(backend.status["port"]) as (reader, writer):
        gone = await ask(reader, writer, f"GET {url}/health HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    assert ours.startswith("HTTP/1.1 204 ")
    assert "text/plain" in theirs
    assert theirs.startswith("HTTP/1.1 403 ")
    assert gone.startswith("HTTP/1.1 502 ")


async def test_a_browser_sees_a_page(client):
    """A person who opens a preview too late is told so in words."""
    browser = {
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0",
        "host": "3000-inobody.sbx.localhost",
    }
    page = await client.get("/", headers=browser)
    asked = await client.get("/", headers={**browser, "accept": "application/json"})

    assert page.status_code == asked.status_code == 502
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "inobody" in page.text
    assert asked.json()["sandboxId"] == "inobody"
