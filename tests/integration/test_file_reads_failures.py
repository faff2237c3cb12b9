"""Reading when the backend fails: told as it is, and to be repeated without harm."""

from __future__ import annotations

import grpc
import httpx
import pytest
import pytest_asyncio

from tests.support.calls import Box, failure, until
from tests.support.reads import download, listed, opened, page, read

pytestmark = pytest.mark.asyncio(loop_scope="session")

START = r"/Start$"


@pytest_asyncio.fixture(loop_scope="session")
async def where(broken: tuple[Box, httpx.AsyncClient]) -> tuple[Box, httpx.AsyncClient]:
    box, _ = broken
    await box.run("mkdir it && truncate -s 32M it/large && touch it/small")
    return broken


async def cut(client: httpx.AsyncClient, after_bytes: int) -> None:
    """Cut the connection of the next program that is started."""
    document = {
        "kind": "drop",
        "match": {"path": START},
        "times": 1,
        "params": {"after_bytes": after_bytes},
    }
    (await client.post("/local/faults", json=document)).raise_for_status()


@pytest.mark.parametrize(
    ("work", "after_bytes"),
    [
        (read, 0),
        (read, 200),
        (read, 2_000_000),
        (page, 0),
        (page, 200),
        (download, 0),
        (download, 200),
        (download, 2_000_000),
    ],
)
async def test_a_connection_that_is_cut_is_unavailable_and_the_call_can_be_repeated(
    where, work, after_bytes
):
    """Never a shorter file, list or tree than there is; and nothing is left running."""
    box, faults = where
    path = "it/large" if work is read else "it"
    await cut(faults, after_bytes)
    failed = await failure(work(box, path))
    again = await work(box, path)

    assert failed.seen == ("UNAVAILABLE", "BACKEND_UNAVAILABLE")
    assert failed.details["RetryInfo"].retry_delay.ToMilliseconds() > 0
    assert again

    async def gone():
        found = await box.run("pgrep -c '^(dd|tar|find|sha256sum)$'")
        return int(found.text) == 0

    await until(gone)


async def test_a_sandbox_that_ends_on_the_way_is_told_as_ended(where):
    """Also when somebody else has ended it, behind the service's back."""
    box, backend = where
    call = opened(box, "it/large")
    await call.read()
    (await backend.delete(f"/sandboxes/{box.sandbox_id}")).raise_for_status()

    async def rest():
        while await call.read() is not grpc.aio.EOF:
            pass
        assert await call.code() is grpc.StatusCode.OK

    assert (await failure(rest())).seen == ("FAILED_PRECONDITION", "SANDBOX_ENDED")


async def test_a_paused_sandbox_is_not_woken_up(where):
    """It is refused; the caller resumes it first."""
    box, backend = where
    (await backend.post(f"/sandboxes/{box.sandbox_id}/pause", json={})).raise_for_status()
    seen = [(await failure(work(box, "it"))).seen for work in (read, page, download, listed)]
    told = (await backend.get(f"/sandboxes/{box.sandbox_id}")).json()

    assert seen == [("FAILED_PRECONDITION", "SANDBOX_PAUSED")] * 4
    assert told["state"] == "paused"
