"""A program that listens, inside a sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.conformance.e2b.wire import Box
from tests.support.connect_wire import until

PORT = 3000
_PROGRAM = (Path(__file__).parents[2] / "integration/programs/port_server.py").read_bytes()


@asynccontextmanager
async def serving(box: Box) -> AsyncIterator[dict[str, str]]:
    """Run a small HTTP server on a sandbox's port 3000; yields the headers that open it.

    It goes on to run when the block ends; it ends with its sandbox.
    """
    octets = {"content-type": "application/octet-stream"}
    uploaded = await box.request("POST", "/files?path=serve.py", content=_PROGRAM, headers=octets)
    assert uploaded.status_code == 200, uploaded.text
    secret = box.created.get("trafficAccessToken")
    opening: dict[str, Any] = {"e2b-traffic-access-token": secret} if secret else {}
    async with box.start("exec python3 serve.py") as events:
        await anext(events)

        async def answers() -> bool:
            response = await box.request("GET", "/", port=PORT, headers=opening)
            return response.status_code == 200

        await until(answers)
        yield opening
