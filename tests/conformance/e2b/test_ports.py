"""The ports of a sandbox's programs, as programs and browsers reach them."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from tests.conformance.e2b.ports import PORT, serving
from tests.support.connect_wire import until
from tests.support.edge_calls import ask, opened, tunnel

TOKEN = "e2b-traffic-access-token"


async def test_a_port_is_reached_whatever_is_sent(own_box):
    """Pages, large ones, slow ones, and bodies of requests."""
    box = own_box
    async with serving(box):
        page = await box.request("GET", "/", port=PORT)
        slow = await box.request("GET", "/slow", port=PORT)
        big = await box.request("GET", "/big", port=PORT)
        body = random.Random(2).randbytes(3_000_000)
        posted = await box.request("POST", "/p", port=PORT, content=body)

    assert page.status_code == 200
    assert slow.text == "first\nsecond\n"
    assert len(big.content) == 50_000_000
    assert posted.text == hashlib.sha256(body).hexdigest()


async def test_an_answer_comes_piece_by_piece(own_box):
    """Events of a server are of no use when they come together."""
    async with serving(own_box):
        url, headers = own_box.to(PORT)
        async with own_box.wire.client.stream("GET", f"{url}/watch", headers=headers) as response:
            assert response.status_code == 200


async def visit(endpoint, client, host):
    """Get the first page of a host."""
    if endpoint.sandbox_url is None:
        return await client.get(f"https://{host}/")
    return await client.get(endpoint.sandbox_url, headers={"host": host})


async def test_a_port_is_found_by_the_name_of_a_host(own_box, endpoint):
    """`{port}-{id}`, and with the client's id after it."""
    client_id = own_box.created["clientID"] or "any"
    async with serving(own_box):
        for name in (f"{PORT}-{own_box.id}", f"{PORT}-{own_box.id}-{client_id}"):
            host = f"{name}.{endpoint.domain}"
            response = await visit(endpoint, own_box.wire.client, host)

            assert response.status_code == 200
            assert response.text == host


async def test_the_sdk_names_the_host_of_a_port(sandbox, endpoint):
    """What users put into browsers."""
    host = sandbox.get_host(PORT)

    assert host == f"{PORT}-{sandbox.sandbox_id}.{endpoint.domain}"


async def test_a_program_learns_that_its_client_has_left(own_box):
    """A server that streams events would otherwise stream to nobody for ever."""
    box = own_box
    async with serving(box):
        url, headers = box.to(PORT)
        async with box.wire.client.stream("GET", f"{url}/watch", headers=headers) as response:
            assert response.status_code == 200

        async def noted():
            return (await box.request("GET", "/files?path=client-left")).is_success

        await until(noted)


async def test_many_requests_at_once_are_all_answered(own_box):
    """A page asks for its parts together."""
    async with serving(own_box):
        answers = await asyncio.gather(*(own_box.request("GET", "/", port=PORT) for _ in range(50)))

    assert {answer.status_code for answer in answers} == {200}


@asynccontextmanager
async def connected(endpoint, host):
    """Open a connection to a host, by whatever leads there."""
    name = host.partition(":")[0]
    way = urlsplit(endpoint.sandbox_url or endpoint.proxy or f"https://{name}:443")
    if endpoint.proxy is None:
        tls = {"ssl": endpoint.trust} if way.scheme == "https" else {}
        async with opened(way.port, host=way.hostname, **tls) as connection:
            yield connection
        return
    async with opened(way.port, host=way.hostname) as (reader, writer):
        head = await tunnel(reader, writer, f"{host}:443")
        assert head.split()[1] == "200", head
        await writer.start_tls(endpoint.trust, server_hostname=name)
        yield reader, writer


async def test_an_upgraded_connection_is_passed_on_byte_by_byte(own_box, endpoint):
    """WebSockets carry the hot reload of every dev server."""
    async with serving(own_box):
        host = f"{PORT}-{own_box.id}.{endpoint.domain}"
        wanted = (
            f"GET /ws HTTP/1.1\r\nHost: {host}\r\n"
            "Connection: Upgrade\r\nUpgrade: echo\r\n\r\nearly".encode()
        )
        async with connected(endpoint, host.partition(":")[0]) as (reader, writer):
            head = await ask(reader, writer, wanted)
            early = await reader.readexactly(5)
            data = random.Random(3).randbytes(2_000_000)
            writer.write(data)
            back = await reader.readexactly(len(data))

    assert head.startswith("HTTP/1.1 101 ")
    assert early == b"early"
    assert back == data


async def test_a_private_port_asks_for_its_token(new_box):
    """Previews may be meant for one person; envd has a token of its own."""
    box = await new_box(network={"allowPublicTraffic": False})
    secret = box.created["trafficAccessToken"]
    async with serving(box):
        missing = await box.request("GET", "/", port=PORT)
        wrong = await box.request("GET", "/", port=PORT, headers={TOKEN: "x"})
        right = await box.request("GET", "/", port=PORT, headers={TOKEN: secret})
        envd = await box.request("GET", "/health")
    secured = "Sandbox is secured with traffic access token."

    assert missing.status_code == wrong.status_code == 403
    assert missing.json()["message"] == f"{secured} Token header '{TOKEN}' is missing"
    assert wrong.json()["message"] == f"{secured} Provided token in header '{TOKEN}' is invalid"
    assert missing.json()["sandboxId"] == box.id
    assert missing.json()["code"] == 403
    assert right.status_code == 200
    assert envd.status_code == 204


async def test_the_sdk_shows_the_token_of_private_ports(sdk):
    """None when everybody may look."""
    private = await sdk.create(network={"allow_public_traffic": False})
    public = await sdk.create()

    assert private.traffic_access_token
    assert public.traffic_access_token is None


async def test_a_mask_hides_the_host(new_box):
    """Frameworks answer only to a host that they know."""
    box = await new_box(network={"maskRequestHost": "localhost:${PORT}"})
    async with serving(box):
        response = await box.request("GET", "/", port=PORT)

    assert response.text == f"localhost:{PORT}"


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
async def test_a_program_may_listen_where_it_likes(own_box, address):
    """Frameworks differ in what is their default."""
    program = f"exec python3 -m http.server 4000 --bind {address}"
    async with own_box.start(program) as events:
        await anext(events)

        async def answers():
            return (await own_box.request("GET", "/", port=4000)).status_code == 200

        await until(answers)
