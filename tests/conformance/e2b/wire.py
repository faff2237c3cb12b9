"""E2B's API and envd, spoken to without the SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from e2b.envd.process import process_pb
from protobuf import Message

from tests.conformance.e2b.endpoint import ENVD_PORT, Endpoint
from tests.support.connect_wire import JSON, Codec, enveloped, messages, output_of, process_events

START, CONNECT = "/process.Process/Start", "/process.Process/Connect"
STREAM_INPUT = "/process.Process/StreamInput"


class Box:
    """A sandbox, spoken to without the SDK.

    Attributes:
        created: What the control plane answered when it was made.
    """

    def __init__(self, wire: Wire, created: dict[str, Any]) -> None:
        self.wire = wire
        self.created = created
        self.id: str = created["sandboxID"]
        self.token: str | None = created.get("envdAccessToken")

    async def request(
        self,
        method: str,
        path: str,
        *,
        port: int = ENVD_PORT,
        token: str | None = "",
        **options: Any,
    ) -> httpx.Response:
        """Send a request to a port; `token=None` leaves the access token out."""
        url, headers = self.to(port, token=token, **options.pop("headers", {}))
        return await self.wire.client.request(method, f"{url}{path}", headers=headers, **options)

    def to(
        self, port: int = ENVD_PORT, *, token: str | None = "", **headers: str
    ) -> tuple[str, dict[str, str]]:
        """Return the URL of a port and the headers to send there."""
        url, routing = self.wire.endpoint.address(self.id, port)
        if port == ENVD_PORT and token is not None and (token or self.token):
            routing["x-access-token"] = token or self.token or ""
        return url, {**routing, **{name.replace("_", "-"): it for name, it in headers.items()}}

    async def call(
        self,
        path: str,
        message: Message[Any],
        kind: Any = None,
        codec: Codec = JSON,
        **headers: str,
    ) -> Any:
        """Make a unary call; an error is returned as its document."""
        headers = {"content-type": f"application/{codec.name}", **headers}
        response = await self.request("POST", path, content=codec.encode(message), headers=headers)
        if not response.is_success:
            return {"status": response.status_code, **response.json()}
        assert response.headers["content-type"] == f"application/{codec.name}"
        return codec.decode(kind, response.content) if kind else response.content

    @asynccontextmanager
    async def stream(
        self, path: str, message: Message[Any], kind: Any, codec: Codec = JSON, **headers: str
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Open a server stream and give its messages, which nobody reads until they are asked."""
        content_type = f"application/connect+{codec.name}"
        url, sent = self.to(**{"content_type": content_type, **headers})
        async with self.wire.client.stream(
            "POST", f"{url}{path}", content=enveloped(codec.encode(message)), headers=sent
        ) as response:
            if response.is_success:
                # The SDK compares this value as a whole.
                assert response.headers["content-type"] == content_type
            else:
                await response.aread()
                raise AssertionError((response.status_code, response.text))
            yield messages(response, kind, codec)

    @asynccontextmanager
    async def start(
        self, command: str, *, stdin: bool = False, codec: Codec = JSON, **headers: str
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Run a command in a shell and give its events."""
        config = process_pb.ProcessConfig(cmd="/bin/bash", args=["-c", command])
        request = process_pb.StartRequest(process=config, stdin=stdin)
        async with self.stream(START, request, process_pb.StartResponse, codec, **headers) as it:
            yield process_events(it)

    async def run(self, command: str) -> str:
        """Run a command to its end; returns its output."""
        async with self.start(command) as stream:
            return b"".join([output_of(event) async for event in stream]).decode()

    async def kill(self) -> None:
        """End the sandbox, if it has not ended by itself."""
        await self.wire.api("DELETE", f"/sandboxes/{self.id}")


class Wire:
    """A client of the control plane, and what makes clients of sandboxes."""

    def __init__(self, endpoint: Endpoint, client: httpx.AsyncClient) -> None:
        self.endpoint = endpoint
        self.client = client

    async def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to the control plane, with the API key unless other headers say so."""
        headers = {"x-api-key": self.endpoint.api_key, **options.pop("headers", {})}
        sent = {name: value for name, value in headers.items() if value is not None}
        url = f"{self.endpoint.api_url}{path}"
        return await self.client.request(method, url, headers=sent, **options)
