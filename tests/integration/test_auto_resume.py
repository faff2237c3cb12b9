"""`auto_resume`: a sandbox that somebody paused runs again for the call that asks for it.

It is paused by the SDK directly, as anyone with the account's key can.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from e2b import AsyncSandbox
from miosa.sandbox import v1 as pb

from tests.support.calls import Box, Client, failure, source
from tests.support.local import backend
from tests.support.plans import entry, plan
from tests.support.reads import download, page, read
from tests.support.service import Service, served
from tests.support.trees import data, file_header, header

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    with backend() as env:
        yield env


@pytest.fixture(scope="module")
def beside(env: dict[str, str]) -> Iterator[Service]:
    """A service on a backend that the test can reach too."""
    with served(env=env) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def own(beside: Service) -> AsyncIterator[Box]:
    async with Client.connected(beside.grpc_address) as client:
        yield await client.sandbox(lifetime={"seconds": 600})
        await client.destroy_all()


@pytest.fixture
def sdk(env: dict[str, str]) -> dict[str, str]:
    return {"api_key": env["E2B_API_KEY"], "api_url": env["E2B_API_URL"]}


async def pause(own: Box, sdk: dict[str, str]) -> None:
    assert await AsyncSandbox.pause(own.sandbox_id, **sdk)


async def test_a_paused_sandbox_is_refused_unless_its_resumption_is_asked_for(own, sdk):
    """With its files and its memory; the sandbox is another generation then."""
    await own.run("echo kept >file")
    before = await own.client.status(own.sandbox_id)
    await pause(own, sdk)

    refused = await failure(own.run("cat file"))
    paused = await own.client.status(own.sandbox_id)
    ran = await own.run("cat file", auto_resume=True)
    after = await own.client.status(own.sandbox_id)

    assert refused.seen == ("FAILED_PRECONDITION", "SANDBOX_PAUSED")
    assert paused.sandbox.state == pb.SANDBOX_STATE_PAUSED
    assert not paused.sandbox.HasField("expire_time")
    assert (ran.text, ran.outcome) == ("kept\n", ("EXIT", 0))
    assert after.sandbox.state == pb.SANDBOX_STATE_RUNNING
    assert after.sandbox.generation == before.sandbox.generation + 1
    assert (await own.run("true")).outcome == ("EXIT", 0)


async def test_it_then_lives_for_as_long_as_it_would_have(own, sdk):
    """No longer than it had left, give or take a moment; and no less."""
    before = (await own.client.status(own.sandbox_id)).lifetime_left.seconds
    await pause(own, sdk)
    await failure(own.run("true"))
    await own.run("true", auto_resume=True)
    after = (await own.client.status(own.sandbox_id)).lifetime_left.seconds

    assert before - 60 <= after <= before + 5


async def test_calls_at_once_resume_it_once(own, sdk):
    """All of them run, in one new generation."""
    before = (await own.client.status(own.sandbox_id)).sandbox.generation
    await pause(own, sdk)
    ran = await asyncio.gather(*(own.run(f"echo {it}", auto_resume=True) for it in range(8)))
    after = (await own.client.status(own.sandbox_id)).sandbox.generation

    assert [it.text for it in ran] == [f"{it}\n" for it in range(8)]
    assert after == before + 1


async def test_a_running_sandbox_just_runs_on(own):
    """It is not a new generation, and lives no longer for it."""
    before = await own.client.status(own.sandbox_id)
    ran = await own.run("true", auto_resume=True)
    after = await own.client.status(own.sandbox_id)

    assert ran.outcome == ("EXIT", 0)
    assert after.sandbox.generation == before.sandbox.generation
    assert abs(after.sandbox.expire_time.seconds - before.sandbox.expire_time.seconds) <= 2


REFUSED = {
    "POLICY_DENIED": {"what": "rm -rf --no-preserve-root /"},
    "LANGUAGE_NOT_SUPPORTED": {"what": source("no-such-language", "1")},
    "EXEC_ID_REUSED": {"what": "echo another", "exec_id": "used"},
    "INVALID_PATH": {"what": "true", "cwd": "a/../../.."},
}


@pytest.mark.parametrize("reason", REFUSED)
async def test_what_is_refused_wakes_no_sandbox(own, sdk, reason):
    """A sandbox that runs costs money."""
    await own.run("echo one", exec_id="used", reader_grace={"seconds": 60})
    await pause(own, sdk)

    refused = await failure(own.run(**REFUSED[reason], auto_resume=True))
    after = await AsyncSandbox.get_info(own.sandbox_id, **sdk)

    assert refused.reason == reason
    assert after.state.value == "paused"


async def test_an_exec_that_is_repeated_is_read_along_after_the_resumption(own, sdk):
    """The same request is no new one: there need be no room for it."""
    first = await own.run("echo one", exec_id="same", reader_grace={"seconds": 60})
    await pause(own, sdk)
    again = await own.run(
        "echo one", exec_id="same", reader_grace={"seconds": 60}, auto_resume=True
    )

    assert again.text == first.text == "one\n"
    assert again.started.reused


async def test_a_paused_sandbox_that_is_gone_is_told_as_ended(own, sdk):
    """Nothing can be resumed of it."""
    await pause(own, sdk)
    await AsyncSandbox.kill(own.sandbox_id, **sdk)
    gone = await failure(own.run("true", auto_resume=True))

    assert gone.seen == ("FAILED_PRECONDITION", "SANDBOX_ENDED")


async def synced(own, *, auto_resume):
    content = b"of a sync"
    parts = [
        header(own.sandbox_id, "app", auto_resume=auto_resume),
        file_header("new", content),
        data(content),
    ]
    return await own.client.stub.SyncFiles(iter(parts), metadata=own.client.metadata)


FILE_CALLS = {
    "PlanSync": lambda own, **how: plan(own, "app", [entry("new")], **how),
    "SyncFiles": synced,
    "ReadFile": lambda own, **how: read(own, "app/old", **how),
    "ListFiles": lambda own, **how: page(own, "app", **how),
    "DownloadTree": lambda own, **how: download(own, "app", **how),
}


@pytest.mark.parametrize("name", FILE_CALLS)
async def test_what_is_done_with_files_resumes_it_too(own, sdk, name):
    """By the same field, and not without it."""
    await own.run("mkdir app && echo kept >app/old")
    await pause(own, sdk)

    refused = await failure(FILE_CALLS[name](own, auto_resume=False))
    await FILE_CALLS[name](own, auto_resume=True)
    after = await own.client.status(own.sandbox_id)

    assert refused.seen == ("FAILED_PRECONDITION", "SANDBOX_PAUSED")
    assert after.sandbox.state == pb.SANDBOX_STATE_RUNNING
