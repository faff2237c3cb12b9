"""The stream between the service and its backend breaks: nothing is lost, or it is told."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import pytest_asyncio
from miosa.sandbox import v1 as pb

from tests.integration.local_backend import API_KEY, LocalBackend
from tests.support.calls import Box, Client, Ran, events, failure, unlikely
from tests.support.service import Service
from tests.support.silent_way import SilentWay

pytestmark = pytest.mark.asyncio(loop_scope="session")

OUT = "".join(f"line {it}\n" for it in range(1, 201)).encode()
ERR = "".join(f"err {it}\n" for it in range(1, 201)).encode()
NUMBERS = "for i in $(seq 200); do echo line $i; echo err $i >&2; sleep 0.01; done; exit 4"
STREAMS = r"/(Start|Connect)$"


@pytest_asyncio.fixture(loop_scope="session")
async def where(broken: tuple[Box, httpx.AsyncClient]) -> tuple[Box, httpx.AsyncClient]:
    box, _ = broken
    await box.run("true")
    return broken


async def add(client: httpx.AsyncClient, kind: str, match: dict, times: int, **params) -> None:
    document = {"kind": kind, "match": match, "times": times, "params": params}
    (await client.post("/local/faults", json=document)).raise_for_status()


async def test_a_durable_exec_loses_nothing_when_its_stream_breaks(where):
    """Again and again: what was missed is read from the spool."""
    box, faults = where
    await add(faults, "drop", {"path": STREAMS}, 5, after_bytes=1500)
    ran = await box.run(NUMBERS, exec_id="durable", retention=pb.RETENTION_DURABLE)

    assert (ran.stdout, ran.stderr) == (OUT, ERR)
    assert "gap" not in ran.kinds()
    assert ran.outcome == ("EXIT", 4)


async def test_an_exec_that_is_not_durable_says_what_it_may_have_lost(where):
    """And goes on; its end is still its own."""
    box, faults = where
    await add(faults, "drop", {"path": STREAMS}, 1, after_bytes=1500)
    ran = await box.run(NUMBERS)
    gaps = [it.gap for it in ran.events if it.HasField("gap")]

    assert {it.stream for it in gaps} == {pb.OUTPUT_STREAM_STDOUT, pb.OUTPUT_STREAM_STDERR}
    assert {it.cause for it in gaps} == {pb.GAP_CAUSE_DISCONNECTED}
    assert not any(it.HasField("missing_bytes") for it in gaps)
    assert ran.stdout.startswith(b"line 1\n")
    assert ran.stdout.endswith(b"line 200\n")
    assert ran.outcome == ("EXIT", 4)


async def test_while_the_backend_is_away_beats_say_so(where):
    """A reader learns since when; and the limit that it set ends it as the backend's."""
    box, faults = where
    await add(faults, "drop", {"path": "/Start$"}, 1, after_bytes=1500)
    await add(faults, "status", {"path": "/Connect$"}, 10_000, status=503)
    call = box.exec(NUMBERS.replace("200", "10000"), reconnect_limit={"seconds": 2})
    seen = await events(call, 2)
    beats = None
    while not seen[-1].HasField("exited"):
        seen += await events(call, 1)
        if seen[-1].HasField("heartbeat") and beats is None:
            beats = seen[-1].heartbeat
    ran = Ran(seen)

    assert beats.connection == pb.BACKEND_CONNECTION_RECONNECTING
    assert beats.HasField("disconnect_time")
    assert ran.outcome == ("BACKEND", None)
    assert ran.exited.fault == pb.FAULT_INFRA


async def test_a_sandbox_that_vanishes_under_a_program_is_lost_within_seconds(where):
    """The backend says so when it is asked."""
    box, faults = where
    call = box.exec("echo x; sleep 1000")
    seen = await events(call, 2)
    await add(faults, "vanish", {"sandbox_id": box.sandbox_id}, 1)
    await box.client.status(box.sandbox_id)
    seen += await events(call)

    assert Ran(seen).outcome[0] == "SANDBOX_LOST"


async def test_a_sandbox_that_vanishes_behind_a_stream_that_hangs_is_lost_within_seconds(
    faulty: LocalBackend,
):
    """No byte comes and no error either: the service asks by itself."""
    async with SilentWay.to(faulty.url) as way:
        env = {"E2B_API_KEY": API_KEY, "E2B_API_URL": way.url, "E2B_SANDBOX_URL": way.url}
        service = Service.start(env=env)
        try:
            await asyncio.to_thread(service.wait_until_ready)
            async with Client.connected(service.grpc_address) as caller:
                box = await caller.sandbox()
                call = box.exec("echo x; sleep 1000")
                seen = await events(call, 2)
                way.fall_silent()
                # Else it would be told by the housekeeping, after a minute.
                async with asyncio.timeout(30):
                    await killed(faulty, box)
                    seen += await events(call)
        finally:
            # Not on this loop, on which the way is.
            wrong = await asyncio.to_thread(service.close)

    assert wrong == []
    assert Ran(seen).outcome[0] == "SANDBOX_LOST"


async def killed(backend: LocalBackend, box: Box) -> None:
    """End a sandbox without the service's knowledge."""
    async with httpx.AsyncClient(base_url=backend.url, headers={"X-API-Key": API_KEY}) as client:
        (await client.delete(f"/sandboxes/{box.sandbox_id}")).raise_for_status()


async def test_a_program_whose_start_nobody_heard_of_is_ended(where):
    """It runs, and no caller could ever reach it."""
    box, faults = where
    mark = unlikely()
    await add(faults, "drop", {"path": "/Start$"}, 1, after_bytes=0)
    refused = await failure(box.run(f"sleep {mark} & sleep {mark}"))
    await box.gone(mark)

    assert refused.reason in ("BACKEND_UNAVAILABLE", "OUTCOME_UNKNOWN")


async def test_a_durable_program_whose_start_nobody_heard_of_is_found_by_a_retry(where):
    """It has run once, and its output is there."""
    box, faults = where
    how = {"exec_id": "unheard", "retention": pb.RETENTION_DURABLE}
    line = "echo >>/tmp/unheard; echo ran; sleep 0.3; wc -l </tmp/unheard"
    await add(faults, "drop", {"path": "/Start$"}, 1, after_bytes=0)
    await failure(box.run(line, **how))
    ran = await box.run(line, **how)

    assert ran.stdout == b"ran\n1\n"
    assert ran.outcome == ("EXIT", 0)
