"""Faults on purpose, and what the unmodified SDK makes of them."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import e2b
import httpx
import pytest
from e2b import AsyncSandbox, SandboxQuery

from tests.integration.local_backend import API_KEY, LocalBackend

START = {"plane": "envd", "path": "^/process.Process/Start$"}
FLOOD = "head -c 8000000 /dev/zero | tr '\\0' x"


class Faults:
    """`/local/faults`, as tests use it."""

    def __init__(self, client):
        self.client = client

    async def post(self, document):
        return await self.client.post("/local/faults", json=document)

    async def add(self, kind, match=None, times=None, **params):
        """Add a rule; returns its id."""
        rule = {"kind": kind, "match": match or {}, "params": params}
        response = await self.post({**rule, **({"times": times} if times else {})})
        assert response.status_code == 201, response.text
        return response.json()["id"]

    async def fired(self, rule_id):
        shown = (await self.client.get("/local/faults")).json()
        return next(one["fired"] for one in shown if one["id"] == rule_id)


@pytest.fixture(scope="module")
def backend():
    backend = LocalBackend.start("--faults")
    assert backend.status["ready"], backend.status
    yield backend
    assert backend.stop() == 0


@asynccontextmanager
async def asking(url, key=API_KEY):
    async with httpx.AsyncClient(base_url=url, headers={"x-api-key": key}) as client:
        yield client


@pytest.fixture
async def faults(backend):
    async with asking(backend.url) as client:
        yield Faults(client)
        (await client.delete("/local/faults")).raise_for_status()


@asynccontextmanager
async def new_sandbox(backend, **options):
    sandbox = await AsyncSandbox.create("base", timeout=60, **backend.sdk, **options)
    try:
        yield sandbox
    finally:
        await sandbox.kill()


@pytest.fixture
async def sandbox(backend):
    async with new_sandbox(backend) as sandbox:
        yield sandbox


@pytest.fixture
async def neighbour(backend):
    """Nothing ever happens to it."""
    async with new_sandbox(backend) as sandbox:
        yield sandbox
        assert (await sandbox.commands.run("echo well")).stdout == "well\n"


async def run_flood(sandbox):
    """Return how many bytes of the flood came, and how it ended."""
    received = 0

    def count(text):
        nonlocal received
        received += len(text)

    try:
        await sandbox.commands.run(FLOOD, on_stdout=count)
    except Exception as error:
        return received, error
    return received, None


# What the SDK makes of them


async def test_a_stream_is_dropped_once(faults, sandbox, neighbour):
    """The SDK must learn that output is missing; what is tried again works."""
    match = {**START, "sandbox_id": sandbox.sandbox_id}
    rule = await faults.add("drop", match, times=1, after_bytes=1_000_000)
    whole, theirs = await run_flood(neighbour)
    dropped, error = await run_flood(sandbox)
    again, ours = await run_flood(sandbox)

    assert isinstance(error, e2b.SandboxException), error
    assert 0 < dropped < 1_000_000
    assert (whole, theirs, again, ours) == (8_000_000, None, 8_000_000, None)
    assert await faults.fired(rule) == 1


async def test_an_answer_is_lost_after_the_work_was_done(faults, sandbox):
    """Whoever hears nothing must not believe that nothing has happened."""
    await faults.add("drop", {"path": "/MakeDir$"}, times=1)
    with pytest.raises(e2b.SandboxException):
        await sandbox.files.make_dir("/home/user/made")

    assert await sandbox.files.exists("/home/user/made")


async def test_a_stalled_stream_loses_nothing(faults, sandbox):
    """A network that hangs for a moment is no error."""
    rule = await faults.add("stall", START, times=1, after_bytes=100_000, seconds=0.3)

    assert await run_flood(sandbox) == (8_000_000, None)
    assert await faults.fired(rule) == 1


async def test_too_many_requests_are_retried_and_then_told(faults, sandbox, neighbour):
    """The SDK retries calls of the control plane, and nothing that reached a sandbox."""
    match = {"plane": "control", "sandbox_id": sandbox.sandbox_id}
    always = await faults.add("status", match, status=429, retry_after_seconds=0)
    with pytest.raises(e2b.RateLimitException):
        await sandbox.get_info()
    refused = await faults.fired(always)
    await faults.client.delete(f"/local/faults/{always}")
    twice = await faults.add("status", match, times=2, status=429, retry_after_seconds=0)
    info = await sandbox.get_info()
    once = await faults.add("status", START, times=1, status=429)
    with pytest.raises(e2b.RateLimitException):
        await sandbox.commands.run("true")
    await sandbox.commands.run("true")

    assert refused == 4
    assert info.sandbox_id == sandbox.sandbox_id
    assert (await faults.fired(twice), await faults.fired(once)) == (2, 1)


async def test_a_busy_service_says_whether_to_retry(faults, backend):
    """A refusal that will stay must not be asked for again."""
    create = {"methods": ["POST"], "path": "/sandboxes$"}
    rule = await faults.add("status", create, times=1, status=503, should_retry=False)
    with pytest.raises(e2b.ServiceBusyException):
        await AsyncSandbox.create("base", **backend.sdk)
    retried = await faults.add("status", create, times=1, status=503, should_retry=True)
    async with new_sandbox(backend) as sandbox:
        assert await sandbox.is_running()

    assert (await faults.fired(rule), await faults.fired(retried)) == (1, 1)


async def test_a_delay_is_longer_than_who_waits(faults, sandbox, neighbour):
    """The call ends by its own timeout, and nobody else waits."""
    match = {"sandbox_id": sandbox.sandbox_id, "plane": "envd"}
    await faults.add("delay", match, times=1, seconds=600, jitter_seconds=1)
    with pytest.raises(e2b.TimeoutException):
        await sandbox.files.exists("/home/user", request_timeout=0.3)

    assert await neighbour.files.exists("/home/user")
    assert await sandbox.files.exists("/home/user")


async def test_a_list_lacks_the_youngest(faults, backend, sandbox):
    """A list may be behind; a sandbox can be found by its id all the same."""

    async def listed():
        pages = AsyncSandbox.list(
            query=SandboxQuery(), api_key=backend.sdk["api_key"], api_url=backend.url
        )
        return [one.sandbox_id for one in await pages.next_items()]

    await faults.add("late_list", times=1, seconds=3600)

    assert await listed() == []
    assert await listed() == [sandbox.sandbox_id]
    assert (await sandbox.get_info()).sandbox_id == sandbox.sandbox_id


async def test_a_sandbox_vanishes_under_a_command(faults, sandbox, neighbour):
    """As if its host had died: whoever follows a program in it is told so."""
    rule = await faults.add("vanish", START, times=1, after_seconds=0.2)

    with pytest.raises(e2b.TimeoutException, match="killed or reached its end of life"):
        await sandbox.commands.run("sleep 60")
    assert not await sandbox.is_running()
    assert await faults.fired(rule) == 1


async def test_a_sandbox_is_gone_before_it_is_asked(faults, sandbox):
    """Without a delay not even the request that it happens to finds it."""
    await faults.add("vanish", {"sandbox_id": sandbox.sandbox_id}, times=1)

    with pytest.raises(e2b.SandboxNotFoundException):
        await sandbox.get_info()


async def test_a_sandbox_dies_during_an_upload(faults, sandbox, neighbour):
    """Half a file is on its way when it happens."""
    match = {"sandbox_id": sandbox.sandbox_id}
    rule = await faults.add("kill_during_upload", match, after_bytes=1_000_000)
    await sandbox.files.write("/home/user/small", "x" * 1000)
    survived = await sandbox.is_running()
    large = b"x" * 30_000_000

    with pytest.raises(e2b.TimeoutException, match="killed or reached its end of life"):
        await sandbox.files.write("/home/user/large", large)
    await neighbour.files.write("/home/user/large", large)
    assert survived
    assert not await sandbox.is_running()
    assert await faults.fired(rule) == 1


# The rules, over HTTP


async def test_rules_are_refused_field_by_field(faults):
    """A test's author sees what to correct, and nothing of a bad list is taken."""
    bad = await faults.post(
        [{"kind": "drop"}, {"kind": "delay", "params": {"seconds": -1}, "matches": {}}]
    )
    shown = (await faults.client.get("/local/faults")).json()

    assert bad.status_code == 400
    assert set(bad.json()) == {"code", "message", "fields"}
    assert set(bad.json()["fields"]) == {"1.params.seconds", "1.matches"}
    assert "1.params.seconds: Input should be greater" in bad.json()["message"]
    assert shown == []


async def test_rules_are_added_by_list_and_taken_back_by_name(faults):
    """The answers are what the next call needs."""
    many = await faults.post([{"kind": "drop", "id": "a"}, {"kind": "vanish"}])
    taken = await faults.post({"kind": "drop", "id": "a"})
    gone = await faults.client.delete("/local/faults/a")
    unknown = await faults.client.delete("/local/faults/a")
    left = (await faults.client.get("/local/faults")).json()

    assert many.status_code == 201
    assert [one["kind"] for one in many.json()] == ["drop", "vanish"]
    assert (taken.status_code, gone.status_code, unknown.status_code) == (409, 204, 404)
    assert [one["kind"] for one in left] == ["vanish"]


async def test_the_rules_are_for_who_has_the_key(backend, faults):
    """Whoever may not use the backend may not break it either."""
    async with asking(backend.url, "e2b_" + "1" * 40) as client:
        refused = await client.post("/local/faults", json={"kind": "drop"})

    assert refused.status_code == 401
    assert (await faults.client.get("/local/faults")).json() == []


# The start


async def test_rules_can_be_there_from_the_start(tmp_path):
    """A file of rules turns faults on, and they hold for the first request."""
    file = tmp_path / "faults.json"
    file.write_text(json.dumps({"kind": "status", "params": {"status": 429}, "id": "early"}))
    backend = LocalBackend.start("--faults-file", str(file))
    try:
        async with asking(backend.url) as client:
            refused = await client.get("/v2/sandboxes")
            shown = (await client.get("/local/faults")).json()
    finally:
        code = await asyncio.to_thread(backend.stop)

    assert refused.status_code == 429
    assert [(one["id"], one["fired"]) for one in shown] == [("early", 1)]
    assert code == 0


def test_a_file_that_holds_no_rules_refuses_the_start(tmp_path):
    """A start without the faults that were asked for would prove nothing."""
    file = tmp_path / "faults.json"
    file.write_text('{"kind": "explode"}')
    backend = LocalBackend.start("--faults-file", str(file))
    code = backend.stop()

    assert backend.status["ready"] is False
    assert "kind: Input should be one of drop" in backend.status["cause"]
    assert code == 2


async def test_faults_are_off_unless_they_are_asked_for():
    """Nobody breaks a backend that was not started to be broken."""
    backend = LocalBackend.start()
    try:
        async with asking(backend.url) as client:
            refused = await client.post("/local/faults", json={"kind": "drop"})
    finally:
        await asyncio.to_thread(backend.stop)

    assert refused.status_code == 404
    assert "--faults" in refused.json()["message"]
