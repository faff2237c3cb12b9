"""E2B's API and envd, spoken to without the SDK."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx
from protobuf import Oneof

from sandbox_service.e2b_local.envd import connect
from sandbox_service.e2b_local.envd.messages import process_pb
from tests.integration.local_backend import API_KEY

PROTO = connect.Codec("proto")


@asynccontextmanager
async def connected(backend):
    """A client with as many connections as it wants."""
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
