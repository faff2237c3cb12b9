"""The proxy to a sandbox's ports, with programs whose answers are hard to pass on."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import os
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest

from tests.integration.e2b_wire import connected, new_box, until

SERVER = (Path(__file__).parent / "programs" / "odd_server.py").read_bytes()


@pytest.fixture
async def client(backend):
    async with connected(backend) as client:
        yield client


@asynccontextmanager
async def running(client, command, path="/"):
    """A sandbox in which a command serves port 3000."""
    box = await new_box(client, timeout=60)
    upload = box.headers(**{"content-type": "application/octet-stream"})
    await client.post("/files?path=serve.py", content=SERVER, headers=upload)
    async with box.start(command) as stream:
        await anext(stream)

        async def open_():
            return (await client.get(path, headers=box.headers(3000))).status_code == 200

        await until(open_)
        yield box
    await client.delete(f"/sandboxes/{box.id}")


@pytest.fixture
async def box(client):
    async with running(client, "exec python3 serve.py") as box:
        yield box


def frame(opcode, data):
    """Make a WebSocket frame as clients send it."""
    mask = os.urandom(4)
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
    return bytes([0x80 | opcode]) + size + mask + masked


async def test_pythons_own_server_and_its_folder(client):
    """The server that everybody starts first speaks HTTP/1.0."""
    async with running(client, "exec python3 -m http.server 3000", "/serve.py") as box:
        page = await client.get("/serve.py", headers=box.headers(3000))
        missing = await client.get("/missing", headers=box.headers(3000))
        head = await client.head("/serve.py", headers=box.headers(3000))

    assert page.content == SERVER
    assert missing.status_code == 404
    assert int(head.headers["content-length"]) == len(SERVER)


async def test_an_event_is_heard_before_the_next_is_sent(client, box):
    """An event that waits for company is no event."""
    headers = box.headers(3000)
    async with asyncio.timeout(20), client.stream("GET", "/events", headers=headers) as response:
        parts = response.aiter_text()
        first = await anext(parts)
        await client.get("/heard", headers=headers)
        second = await anext(parts)

    assert first == "data: one\n\n"
    assert second == "data: two\n\n"


async def test_an_answer_streams_while_its_question_still_does(backend, box):
    """Both directions at once, over one exchange: the second part follows the first answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", backend.status["port"])
    head = f"POST /echo HTTP/1.1\r\nHost: 3000-{box.id}.sbx.test\r\nTransfer-Encoding: chunked"
    writer.write(f"{head}\r\nExpect: 100-continue\r\n\r\n".encode())
    async with asyncio.timeout(20):
        continued = await reader.readuntil(b"\r\n\r\n")
        answered = await reader.readuntil(b"\r\n\r\n")
        heard = []
        for part in (b"one", b"two"):
            writer.write(b"3\r\n" + part + b"\r\n")
            heard.append(await reader.readexactly(8))
        writer.write(b"0\r\n\r\n")
        rest = await reader.readexactly(5)
    writer.close()
    await writer.wait_closed()

    assert continued.startswith((b"HTTP/1.1 100 ", b"HTTP/1.1 200 "))
    assert b"200 OK" in continued + answered
    assert heard == [b"3\r\none\r\n", b"3\r\ntwo\r\n"]
    assert rest == b"0\r\n\r\n"


async def test_a_refused_upload_still_hears_why(backend, box):
    """The program answers and closes; the client is still sending."""

    def upload():
        connection = http.client.HTTPConnection("127.0.0.1", backend.status["port"], timeout=20)
        with closing(connection):
            connection.putrequest("POST", "/early", skip_host=True)
            connection.putheader("Host", f"3000-{box.id}.sbx.test")
            connection.putheader("Content-Length", "30000000")
            connection.endheaders()
            connection.send(b"x" * 30_000_000)
            response = connection.getresponse()
            return response.status, response.read()

    assert await asyncio.to_thread(upload) == (413, b"too much")


async def test_answers_without_a_body_end_at_once(client, box):
    """A proxy that waits for the body of a 304 waits for ever."""
    headers = box.headers(3000)
    async with asyncio.timeout(20):
        head = await client.head("/", headers=headers)
        none = await client.get("/none", headers=headers)
        same = await client.get("/same", headers=headers)
        kept = await client.get("/keep", headers=headers)
        old = await client.get("/old", headers=headers)

    assert head.headers["content-length"] == "12345"
    assert (none.status_code, same.status_code) == (204, 304)
    assert kept.text == "kept"
    assert old.text == "old but good"


async def test_fields_after_the_body_arrive(backend, box):
    """Trailers carry digests, and gRPC's very status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", backend.status["port"])
    writer.write(f"GET /trailers HTTP/1.1\r\nHost: 3000-{box.id}.sbx.test\r\n\r\n".encode())
    async with asyncio.timeout(20):
        answer = await reader.readuntil(b"X-Digest: abc\r\n\r\n")
    writer.close()
    await writer.wait_closed()

    assert b"Transfer-Encoding: chunked" in answer
    assert b"4\r\nbody\r\n0\r\n" in answer


async def test_one_connection_serves_many_requests(backend, box):
    """A page of a hundred parts over TLS would otherwise shake hands a hundred times."""
    connection = http.client.HTTPConnection("127.0.0.1", backend.status["port"], timeout=20)
    headers = box.headers(3000)

    def ask(path):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(), connection.sock

    def run():
        return [ask(path) for path in ("/a", "/trailers", "/none", "/b")]

    answers = await asyncio.to_thread(run)
    sockets = {id(sock) for *_, sock in answers}
    counted = [int(body.split()[0]) for _, body, _ in (answers[0], answers[3])]
    connection.close()

    assert len(sockets) == 1
    assert [status for status, *_ in answers] == [200, 200, 204, 200]
    # Inside, each request has a connection of its own: programs restart unseen.
    assert counted[1] - counted[0] == 3


async def test_a_broken_promise_is_seen(client, box):
    """A truncated answer must not look like a whole one."""
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/short", headers=box.headers(3000))


async def test_a_websocket_echoes(backend, box):
    """Short messages, long ones, and a proper goodbye."""
    reader, writer = await asyncio.open_connection("127.0.0.1", backend.status["port"])
    key = base64.b64encode(os.urandom(16))
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: 3000-{box.id}.sbx.test\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".encode()
        + b"Sec-WebSocket-Key: "
        + key
        + b"\r\n\r\n"
    )
    long = os.urandom(30_000)
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(1, b"hello"))
        short_back = await reader.readexactly(7)
        writer.write(frame(2, long))
        long_back = await reader.readexactly(4 + len(long))
        writer.write(frame(8, b"\x03\xe8"))
        goodbye = await reader.read()
    writer.close()
    await writer.wait_closed()

    accept = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    assert base64.b64encode(accept) in head
    assert short_back == b"\x81\x05hello"
    assert long_back[4:] == long
    assert goodbye == b"\x88\x02\x03\xe8"
