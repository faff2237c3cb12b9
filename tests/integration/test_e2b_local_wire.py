"""What the SDK does not show: exact bytes, back-pressure, many streams, the port proxy."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from protobuf import Oneof

from sandbox_service.e2b_local.envd import connect
from sandbox_service.e2b_local.envd.messages import process_pb
from tests.integration.local_backend import API_KEY, LocalBackend

PROTO = connect.Codec("proto")


@pytest.fixture(scope="module")
def backend():
    backend = LocalBackend.start()
    assert backend.status["ready"], backend.status
    yield backend
    assert backend.stop() == 0


@pytest.fixture
async def client(backend):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    headers = {"x-api-key": API_KEY}
    async with httpx.AsyncClient(
        base_url=backend.url, headers=headers, timeout=30, limits=limits
    ) as client:
        yield client


class Box:
    """A sandbox, spoken to without the SDK."""

    def __init__(self, client, created):
        self.client = client
        self.id = created["sandboxID"]
        self.created = created

    def headers(self, port=49983, **more):
        routing = {"e2b-sandbox-id": self.id, "e2b-sandbox-port": str(port)}
        return {**routing, "x-access-token": self.created.get("envdAccessToken", ""), **more}

    async def call(self, method, message, kind):
        response = await self.client.post(
            f"/process.Process/{method}",
            content=PROTO.encode(message),
            headers=self.headers(**{"content-type": "application/proto"}),
        )
        response.raise_for_status()
        return PROTO.decode(kind, response.content)

    @asynccontextmanager
    async def start(self, command, stdin=False, **headers):
        """Run a command and give its events, which nobody reads until they are asked for."""
        config = process_pb.ProcessConfig(cmd="/bin/bash", args=["-c", command])
        request = process_pb.StartRequest(process=config, stdin=stdin)
        async with self.client.stream(
            "POST",
            "/process.Process/Start",
            content=connect.envelope(PROTO.encode(request)),
            headers=self.headers(**{"content-type": "application/connect+proto", **headers}),
        ) as response:
            assert response.headers["content-type"] == "application/connect+proto"
            yield events(response)


async def events(response):
    """Yield a stream's events, and raise what its end says."""
    buffer = bytearray()
    async for part in response.aiter_raw():
        buffer += part
        while len(buffer) >= 5 and len(buffer) >= 5 + int.from_bytes(buffer[1:5], "big"):
            size = 5 + int.from_bytes(buffer[1:5], "big")
            flags, payload = buffer[0], bytes(buffer[5:size])
            del buffer[:size]
            if flags & connect.END_OF_STREAM:
                error = json.loads(payload).get("error")
                if error:
                    raise connect.ConnectError(error["code"], error["message"])
            else:
                yield PROTO.decode(process_pb.StartResponse, payload).event.event


def output_of(event):
    match event:
        case Oneof(field="data", value=data):
            return data.output.value
    return b""


async def until(condition):
    async with asyncio.timeout(15):
        while not await condition():  # noqa: ASYNC110 - only asking again can tell
            await asyncio.sleep(0.02)


async def new_box(client, **document):
    response = await client.post("/v2/sandboxes", json={"templateID": "base", **document})
    assert response.status_code == 201, response.text
    return Box(client, response.json())


@pytest.fixture
async def box(client):
    box = await new_box(client, timeout=60)
    yield box
    await client.delete(f"/sandboxes/{box.id}")


# Streams

# Every byte value, no valid UTF-8, and a size that is no multiple of anything.
NOISE = "import random,sys; sys.stdout.buffer.write(random.Random(1).randbytes(5000017))"


async def test_output_is_exact_bytes_also_for_a_slow_reader(box):
    """Five million random bytes arrive unchanged, and are not dropped while nobody reads."""
    digest, size = hashlib.sha256(), 0
    async with box.start(f'python3 -c "{NOISE}"') as stream:
        async for event in stream:
            data = output_of(event)
            digest.update(data)
            size += len(data)
            if size % 7 == 0:
                await asyncio.sleep(0.005)

    assert size == 5_000_017
    assert digest.digest() == hashlib.sha256(random.Random(1).randbytes(size)).digest()


def resident_bytes(pid):
    return 4096 * int(Path(f"/proc/{pid}/statm").read_text().split()[1])


async def test_a_reader_that_stops_stops_the_program_and_not_the_memory(box, backend):
    """A stalled client must cost neither memory nor its program's output."""
    command = "for i in $(seq 64); do head -c 1048576 /dev/zero; echo $i >> progress; done"
    async with box.start(command) as stream:
        await anext(stream)
        before = resident_bytes(backend.status["pid"])
        seen = ["", "-"]

        async def stalled():
            response = await box.client.get("/files?path=progress", headers=box.headers())
            seen.append(response.text)
            await asyncio.sleep(0.3)
            return seen[-1] == seen[-2]

        await until(stalled)
        grown_bytes = resident_bytes(backend.status["pid"]) - before
        progress = len(seen[-1].split())
        size = sum([len(output_of(event)) async for event in stream])

    assert progress < 20
    assert grown_bytes < 16 * 1024**2
    assert size == 64 * 1024**2


async def test_two_hundred_and_fifty_streams_are_live_at_once(box, backend):
    """Each has its output, and unary calls are not stuck behind them."""
    ready, release = [], asyncio.Event()
    # Several, for the time that httpx takes grows with the square of a pool's size.
    clients = [httpx.AsyncClient(base_url=backend.url, timeout=30) for _ in range(25)]

    async def one(number):
        mine = Box(clients[number % 25], box.created)
        async with mine.start(f"echo {number}; read x; echo $x", stdin=True) as stream:
            pid = (await anext(stream)).value.pid
            assert output_of(await anext(stream)) == b"%d\n" % number
            ready.append(pid)
            await release.wait()
            await mine.call(
                "SendInput",
                process_pb.SendInputRequest(
                    process=process_pb.ProcessSelector(selector=Oneof("pid", pid)),
                    input=process_pb.ProcessInput(input=Oneof("stdin", b"go\n")),
                ),
                process_pb.SendInputResponse,
            )
            return b"".join([output_of(event) async for event in stream])

    async with asyncio.timeout(60):
        tasks = [asyncio.create_task(one(number)) for number in range(250)]

        async def all_ready():
            return len(ready) == 250

        await until(all_ready)
        listed = await box.call("List", process_pb.ListRequest(), process_pb.ListResponse)
        release.set()
        outputs = await asyncio.gather(*tasks)
    for client in clients:
        await client.aclose()

    assert len(listed.processes) == 250
    assert set(outputs) == {b"go\n"}


async def test_a_client_that_leaves_does_not_end_its_program(box):
    """Ending it is the service's decision."""
    async with box.start("sleep 0.2; echo done > left; sleep 60") as stream:
        await anext(stream)

    async def written():
        response = await box.client.get("/files?path=left", headers=box.headers())
        return response.text == "done\n"

    await until(written)
    listed = await box.call("List", process_pb.ListRequest(), process_pb.ListResponse)
    assert len(listed.processes) == 1


async def test_a_silent_stream_is_kept_alive(box):
    """Proxies on the way close what is silent."""
    async with box.start("sleep 60", **{"keepalive-ping-interval": "1"}) as stream:
        await anext(stream)

        assert (await anext(stream)).field == "keepalive"


async def test_input_comes_as_a_stream_too(box):
    """StreamInput: one call, many pieces, one program."""
    async with box.start("cat", stdin=True) as stream:
        pid = (await anext(stream)).value.pid
        kind = process_pb.StreamInputRequest
        selector = process_pb.ProcessSelector(selector=Oneof("pid", pid))

        async def messages():
            yield kind(event=Oneof("start", kind.StartEvent(process=selector)))
            yield kind(event=Oneof("keepalive", kind.KeepAlive()))
            for piece in (b"one ", b"two"):
                given = process_pb.ProcessInput(input=Oneof("stdin", piece))
                yield kind(event=Oneof("data", kind.DataEvent(input=given)))

        async def body():
            async for message in messages():
                yield connect.envelope(PROTO.encode(message))

        headers = box.headers(**{"content-type": "application/connect+proto"})
        response = await box.client.post(
            "/process.Process/StreamInput", content=body(), headers=headers
        )
        await box.call(
            "CloseStdin",
            process_pb.CloseStdinRequest(process=selector),
            process_pb.CloseStdinResponse,
        )
        output = b"".join([output_of(event) async for event in stream])

    assert response.content == connect.envelope(b"") + connect.end_of_stream()
    assert output == b"one two"


async def test_a_fork_bomb_is_one_sandboxs_trouble_and_can_be_killed(box):
    """Others go on at once, and a signal still reaches its leader."""
    bomb = "ulimit -u 40; :(){ :|:& };: ; sleep 60"
    async with box.start(bomb) as stream:
        pid = (await anext(stream)).value.pid
        other = await new_box(box.client, timeout=30)
        async with other.start("echo fine") as other_stream:
            others_output = b"".join([output_of(event) async for event in other_stream])
        await box.client.delete(f"/sandboxes/{other.id}")
        await box.call(
            "SendSignal",
            process_pb.SendSignalRequest(
                process=process_pb.ProcessSelector(selector=Oneof("pid", pid)),
                signal=process_pb.Signal.SIGKILL,
            ),
            process_pb.SendSignalResponse,
        )
        last = [event async for event in stream][-1]

    assert others_output == b"fine\n"
    assert last.value.status == "signal: killed"


# Who may


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_envd_answers_only_who_has_the_token(box, token):
    """One sandbox's token is worth nothing in another."""
    headers = box.headers()
    headers.pop("x-access-token")
    if token:
        headers["x-access-token"] = token
    for path in ("/process.Process/List", "/filesystem.Filesystem/Stat", "/files", "/envs"):
        response = await box.client.post(path, headers=headers, json={})
        assert response.status_code == 401, path
        assert response.json()["code"] == 401
    assert (await box.client.get("/health", headers=headers)).status_code == 204


async def test_an_old_style_create_may_leave_envd_open(client):
    """`POST /sandboxes` without `secure` has no token, as E2B has it."""
    response = await client.post("/sandboxes", json={"templateID": "base", "timeout": 30})
    created = response.json()
    box = Box(client, created)
    listed = await box.call("List", process_pb.ListRequest(), process_pb.ListResponse)
    await client.delete(f"/sandboxes/{box.id}")

    assert "envdAccessToken" not in created
    assert listed.processes == []


async def test_a_repeated_create_with_a_key_makes_one_sandbox(client):
    """The answer to the first was lost; its sandbox was not."""
    document = {"templateID": "base", "timeout": 30, "metadata": {"once": "1"}}
    headers = {"idempotency-key": "k1"}
    answers = await asyncio.gather(
        *(client.post("/v2/sandboxes", json=document, headers=headers) for _ in range(3))
    )
    other = await client.post("/v2/sandboxes", json={**document, "timeout": 31}, headers=headers)
    listed = await client.get("/v2/sandboxes", params={"metadata": "once=1"})
    ids = {answer.json()["sandboxID"] for answer in answers}
    for sandbox_id in ids:
        await client.delete(f"/sandboxes/{sandbox_id}")

    assert len(ids) == 1
    assert other.status_code == 409
    assert len(listed.json()) == 1


async def test_what_is_not_there_says_so_as_json(client, box):
    """Pausing is not built; an unknown path is a typo; both must be clear."""
    paused = await client.post(f"/sandboxes/{box.id}/pause")
    typo = await client.get("/sandboxs")
    watch = await client.post(
        "/filesystem.Filesystem/CreateWatcher", headers=box.headers(), json={"path": "/"}
    )

    assert (paused.status_code, paused.json()["code"]) == (501, 501)
    assert (typo.status_code, typo.json()["code"]) == (404, 404)
    assert watch.json()["code"] == "unimplemented"


# Ports

SERVER = (Path(__file__).parent / "programs" / "port_server.py").read_bytes()


@asynccontextmanager
async def serving(client, **network):
    """A sandbox with a program that listens on its port 3000."""
    box = await new_box(client, timeout=60, network=network)
    await client.post(
        "/files?path=serve.py",
        content=SERVER,
        headers=box.headers(**{"content-type": "application/octet-stream"}),
    )
    async with box.start("exec python3 serve.py") as stream:
        await anext(stream)

        async def open_():
            extra = {"e2b-traffic-access-token": box.created.get("trafficAccessToken", "")}
            response = await client.get("/", headers=box.headers(3000, **extra))
            return response.status_code == 200

        await until(open_)
        yield box
    await client.delete(f"/sandboxes/{box.id}")


async def test_a_programs_port_is_reached_by_header_and_by_host(client, backend):
    """Programs and browsers see the same page."""
    async with serving(client) as box:
        by_header = await client.get("/", headers=box.headers(3000))
        host = f"3000-{box.id}.{backend.status['domain']}"
        by_host = await client.get("/", headers={"host": host})
        slow = await client.get("/slow", headers=box.headers(3000))
        big = await client.get("/big", headers=box.headers(3000))
        body = random.Random(2).randbytes(3_000_000)
        posted = await client.post("/p", headers=box.headers(3000), content=body)
        silent = await client.get("/silent", headers=box.headers(3000))
        closed = await client.get("/", headers=box.headers(3001))

    assert by_header.status_code == by_host.status_code == 200
    assert by_host.text == host
    assert slow.text == "first\nsecond\n"
    assert len(big.content) == 50_000_000
    assert posted.text == hashlib.sha256(body).hexdigest()
    assert silent.status_code == 502
    assert closed.status_code == 502
    assert closed.json() == {
        "sandboxId": box.id,
        "message": "The sandbox is running but port is not open",
        "port": 3001,
        "code": 502,
    }


async def test_a_program_learns_that_its_client_has_left(client):
    """A server that streams events would otherwise stream to nobody for ever."""
    async with serving(client) as box:
        async with client.stream("GET", "/watch", headers=box.headers(3000)) as response:
            assert response.status_code == 200

        async def noted():
            return (await client.get("/files?path=client-left", headers=box.headers())).is_success

        await until(noted)


async def test_an_upgraded_connection_is_passed_on_byte_by_byte(client, backend):
    """WebSockets carry the hot reload of every dev server."""
    async with serving(client) as box:
        reader, writer = await asyncio.open_connection("127.0.0.1", backend.status["port"])
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: 3000-{box.id}.sbx.test\r\n"
            "Connection: Upgrade\r\nUpgrade: echo\r\n\r\nearly".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        early = await reader.readexactly(5)
        data = random.Random(3).randbytes(2_000_000)
        writer.write(data)
        back = await reader.readexactly(len(data))
        writer.close()
        await writer.wait_closed()

    assert head.startswith(b"HTTP/1.1 101 ")
    assert early == b"early"
    assert back == data


async def test_a_private_port_asks_for_its_token_and_a_mask_hides_the_host(client):
    """Previews may be meant for one person, and frameworks check their host."""
    network = {"allowPublicTraffic": False, "maskRequestHost": "localhost:${PORT}"}
    async with serving(client, **network) as box:
        missing = await client.get("/", headers=box.headers(3000))
        wrong = await client.get(
            "/", headers=box.headers(3000, **{"e2b-traffic-access-token": "x"})
        )
        token = box.created["trafficAccessToken"]
        right = await client.get(
            "/", headers=box.headers(3000, **{"e2b-traffic-access-token": token})
        )

    assert missing.status_code == wrong.status_code == 403
    assert "is missing" in missing.json()["message"]
    assert "is invalid" in wrong.json()["message"]
    assert right.text == "localhost:3000"


async def test_a_sandbox_that_is_gone_is_not_found_on_every_port(client):
    """The SDK reads this text to tell a dead sandbox from a busy one."""
    box = await new_box(client, timeout=30)
    await client.delete(f"/sandboxes/{box.id}")
    for port in (49983, 3000):
        response = await client.get("/health", headers=box.headers(port))

        assert response.status_code == 502
        assert response.json()["message"] == "The sandbox was not found"
