"""Sandboxes are made, found, kept alive and ended as E2B does it."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta

import e2b
import pytest
from e2b import AsyncSandbox, Sandbox

from tests.conformance.e2b.sdk import Sdk
from tests.conformance.e2b.wire import Box
from tests.support.connect_wire import until

SANDBOX_FIELDS = {"templateID", "sandboxID", "clientID", "envdVersion"}
DETAIL_FIELDS = {
    "templateID",
    "sandboxID",
    "clientID",
    "startedAt",
    "endAt",
    "cpuCount",
    "memoryMB",
    "diskSizeMB",
    "state",
    "envdVersion",
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def seconds_left(info):
    return (info.end_at - datetime.now(UTC)).total_seconds()


# Made and found


async def test_a_sandbox_lives_from_create_to_kill(sdk):
    """The whole life, as clients see it."""
    metadata = {"owner": "a b&c=d", "naïve": "ü", "n": "1"}
    sandbox = await sdk.create(timeout=60, metadata=metadata, envs={"GIVEN": "x y"})
    info = await sandbox.get_info()
    result = await sandbox.commands.run("echo $GIVEN $E2B_SANDBOX_ID")

    assert info.sandbox_id == sandbox.sandbox_id
    assert info.metadata == metadata
    assert info.state == e2b.SandboxState.RUNNING
    assert 30 < seconds_left(info) <= 61
    assert result.stdout == f"x y {sandbox.sandbox_id}\n"
    assert await sandbox.is_running()
    assert await sandbox.kill() is True
    assert await sandbox.kill() is False
    assert not await sandbox.is_running()


async def test_a_sandbox_ends_with_its_block(endpoint):
    """What `with` opens it closes, in either form of the SDK."""
    async with await AsyncSandbox.create(endpoint.template, **endpoint.sdk) as sandbox:
        assert (await sandbox.commands.run("echo in")).stdout == "in\n"
    assert not await sandbox.is_running()

    def block():
        with Sandbox.create(endpoint.template, **endpoint.sdk) as sandbox:
            assert sandbox.commands.run("echo in").stdout == "in\n"
        return sandbox.is_running()

    assert not await asyncio.to_thread(block)


@pytest.mark.parametrize("path", ["/sandboxes", "/v2/sandboxes"])
async def test_both_versions_of_create_answer_with_a_sandbox(wire, new_box, path):
    """Clients of either generation find what they read, and nothing of the wrong type."""
    box = await new_box(path)
    created = box.created

    assert created.keys() >= SANDBOX_FIELDS
    assert re.fullmatch(r"[a-z0-9]+", created["sandboxID"])
    assert created["envdVersion"].count(".") == 2
    assert (await wire.api("GET", f"/sandboxes/{box.id}")).json().keys() >= DETAIL_FIELDS


async def test_the_second_version_always_has_a_token_and_the_first_when_asked(new_box):
    """`secure` is an option of the first version alone."""
    plain, secure = await new_box("/sandboxes"), await new_box("/sandboxes", secure=True)
    second = await new_box("/v2/sandboxes")

    assert "envdAccessToken" not in plain.created
    assert secure.token
    assert second.token
    assert secure.token != second.token


async def test_what_is_left_out_has_its_default(wire, new_box):
    """300 s for the second version, 15 s for the first."""
    for path, seconds in (("/v2/sandboxes", 300), ("/sandboxes", 15)):
        response = await wire.api("POST", path, json={"templateID": wire.endpoint.template})
        box = Box(wire, response.json())
        detail = (await wire.api("GET", f"/sandboxes/{box.id}")).json()
        await box.kill()
        lifetime = datetime.fromisoformat(detail["endAt"]) - datetime.fromisoformat(
            detail["startedAt"]
        )

        assert lifetime == pytest.approx(timedelta(seconds=seconds), abs=timedelta(seconds=3))
        assert detail.get("metadata", {}) == {}


async def test_details_have_the_forms_that_clients_parse(wire, new_box):
    """Times with a zone, sizes as integers, the lifecycle as two fields."""
    box = await new_box(metadata={"a": "b"})
    detail = (await wire.api("GET", f"/sandboxes/{box.id}")).json()

    assert TIME.fullmatch(detail["startedAt"])
    assert TIME.fullmatch(detail["endAt"])
    assert detail["state"] == "running"
    assert detail["metadata"] == {"a": "b"}
    assert all(type(detail[key]) is int for key in ("cpuCount", "memoryMB", "diskSizeMB"))
    assert detail["lifecycle"] == {"autoResume": False, "onTimeout": "kill"}
    assert detail["envdAccessToken"] == box.token


async def test_a_chunked_document_is_read(wire):
    """The JavaScript SDK sends its JSON without a length."""

    async def body():
        yield b'{"templateID":'
        yield b'"%b"}' % wire.endpoint.template.encode()

    response = await wire.api(
        "POST", "/v2/sandboxes", content=body(), headers={"content-type": "application/json"}
    )

    assert response.status_code == 201
    await Box(wire, response.json()).kill()


# Taken up again


async def test_connect_gives_the_same_sandbox_and_only_adds_to_its_life(sdk):
    """Whoever has the id goes on where somebody else was."""
    sandbox = await sdk.create(timeout=900)
    await sandbox.files.write("here", "it is")
    again = await sdk.connect(sandbox.sandbox_id, timeout=60)
    kept = seconds_left(await again.get_info())
    await again.connect(timeout=1800)
    longer = seconds_left(await again.get_info())

    assert await again.files.read("here") == "it is"
    assert 800 < kept <= 901
    assert 1700 < longer <= 1801


@pytest.mark.parametrize("path", ["/sandboxes/{}/connect", "/v2/sandboxes/{}/connect"])
async def test_both_versions_of_connect_answer_200_for_one_that_runs(wire, own_box, path):
    """201 would say that it was resumed."""
    response = await wire.api("POST", path.format(own_box.id), json={"timeout": 60})

    assert response.status_code == 200
    assert response.json()["envdAccessToken"] == own_box.token
    assert response.json().keys() >= SANDBOX_FIELDS


# Ended in time


async def test_a_timeout_may_lengthen_and_shorten_a_life(sdk):
    """It is counted from now, whatever was before."""
    sandbox = await sdk.create(timeout=60)
    await sandbox.set_timeout(600)
    longer = seconds_left(await sandbox.get_info())
    await sandbox.set_timeout(30)
    shorter = seconds_left(await sandbox.get_info())

    assert 500 < longer <= 601
    assert 0 < shorter <= 31


async def test_a_sandbox_ends_with_its_lifetime(sdk):
    """What nobody ends must not stay."""
    sandbox = await sdk.create(timeout=1)

    async def gone():
        return not await sandbox.is_running()

    await until(gone)
    with pytest.raises(e2b.SandboxNotFoundException):
        await sandbox.get_info()


async def test_a_timeout_of_nothing_ends_it_now(wire, own_box):
    """Zero is a time as any other."""
    response = await wire.api("POST", f"/sandboxes/{own_box.id}/timeout", json={"timeout": 0})

    async def gone():
        return (await wire.api("GET", f"/sandboxes/{own_box.id}")).status_code == 404

    assert response.status_code == 204
    await until(gone)


async def test_a_refresh_only_lengthens(wire, own_box):
    """The generated client's keep-alive."""

    async def end():
        return (await wire.api("GET", f"/sandboxes/{own_box.id}")).json()["endAt"]

    before = await end()
    path = f"/sandboxes/{own_box.id}/refreshes"
    short = await wire.api("POST", path, json={"duration": 1})
    same = await end()
    longer = await wire.api("POST", path, json={"duration": 600})
    after = await end()

    assert short.status_code == longer.status_code == 204
    assert before == same < after


async def test_a_life_beyond_the_limit_is_refused(wire):
    """Nobody reserves a machine for a year."""
    wanted = {"templateID": wire.endpoint.template, "timeout": 10**8}
    response = await wire.api("POST", "/v2/sandboxes", json=wanted)

    assert response.status_code == 400
    assert re.fullmatch(r"Timeout cannot be greater than \d+ hours", response.json()["message"]), (
        response.text
    )


# Once


async def test_a_repeated_create_with_a_key_makes_one_sandbox(wire, name):
    """The answer to the first was lost; its sandbox was not."""
    document = {"templateID": wire.endpoint.template, "timeout": 60, "metadata": {"once": name}}
    headers = {"idempotency-key": name}
    answers = await asyncio.gather(
        *(wire.api("POST", "/v2/sandboxes", json=document, headers=headers) for _ in range(3))
    )
    changed = {**document, "timeout": 61}
    other = await wire.api("POST", "/v2/sandboxes", json=changed, headers=headers)
    listed = await wire.api("GET", "/v2/sandboxes", params={"metadata": f"once={name}"})
    ids = {answer.json()["sandboxID"] for answer in answers}
    for sandbox_id in ids:
        await wire.api("DELETE", f"/sandboxes/{sandbox_id}")

    assert len(ids) == 1
    assert other.status_code in {409, 422}
    assert len(listed.json()) == 1


async def test_the_sdk_may_give_the_key(sdk, name):
    """Its option becomes the header."""
    first = await sdk.create(idempotency_key=name)
    second = await sdk.create(idempotency_key=name)

    assert first.sandbox_id == second.sandbox_id


# Many


async def test_twenty_are_made_and_ended_at_once(async_sdk: Sdk):
    """Agents come in crowds."""
    made = await asyncio.gather(*(async_sdk.create() for _ in range(20)))
    said = await asyncio.gather(*(one.commands.run("echo $E2B_SANDBOX_ID") for one in made))

    assert [one.stdout.strip() for one in said] == [one.sandbox_id for one in made]
    assert await asyncio.gather(*(one.kill() for one in made)) == [True] * 20
