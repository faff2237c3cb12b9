"""A local backend's API and envd at their one address, spoken to without the SDK."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx
from e2b.envd.process import process_pb

from tests.integration.local_backend import API_KEY
from tests.support.connect_wire import (
    PROTO,
    enveloped,
    messages,
    output_of,
    process_events,
    until,
)

__all__ = ["PROTO", "Box", "connected", "new_box", "output_of", "until"]


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
            content=enveloped(PROTO.encode(request)),
            headers=self.headers(**{"content-type": "application/connect+proto", **headers}),
        ) as response:
            assert response.headers["content-type"] == "application/connect+proto"
            yield process_events(messages(response, process_pb.StartResponse, PROTO))


async def new_box(client, **document):
    response = await client.post("/v2/sandboxes", json={"templateID": "base", **document})
    assert response.status_code == 201, response.text
    return Box(client, response.json())
