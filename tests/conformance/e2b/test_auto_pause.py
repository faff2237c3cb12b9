"""The end of a lifetime may be a pause, which a call or a visitor ends."""

from __future__ import annotations

from datetime import UTC, datetime

import e2b
import pytest

from tests.conformance.e2b.ports import PORT, serving
from tests.support.connect_wire import until

PAUSE = {"on_timeout": "pause"}
PAUSE_AND_RESUME = {"on_timeout": "pause", "auto_resume": True}


async def paused(sandbox):
    """Let the lifetime end now, and wait for the pause."""
    await sandbox.set_timeout(0)

    async def is_paused():
        return (await sandbox.get_info()).state == e2b.SandboxState.PAUSED

    await until(is_paused)


async def paused_box(wire, box):
    await wire.api("POST", f"/sandboxes/{box.id}/timeout", json={"timeout": 0})

    async def is_paused():
        return (await wire.api("GET", f"/sandboxes/{box.id}")).json()["state"] == "paused"

    await until(is_paused)


async def test_a_lifetime_may_end_in_a_pause(sdk):
    """Nothing is lost, and what ran goes on."""
    sandbox = await sdk.create(lifecycle=PAUSE, timeout=1)
    await sandbox.files.write("kept", "yes")
    handle = await sandbox.commands.run("sleep 600", background=True, timeout=0)

    async def is_paused():
        return (await sandbox.get_info()).state == e2b.SandboxState.PAUSED

    await until(is_paused)
    again = await sdk.connect(sandbox.sandbox_id)

    assert await again.files.read("kept") == "yes"
    assert handle.pid in [process.pid for process in await again.commands.list()]


async def test_a_lifetime_may_end_in_a_pause_without_memory(sdk):
    """Cheaper, and processes are gone."""
    pause = {"action": "pause", "mode": "filesystem"}
    sandbox = await sdk.create(lifecycle={"on_timeout": pause})
    await sandbox.files.write("kept", "yes")
    await sandbox.commands.run("sleep 600", background=True, timeout=0)
    await paused(sandbox)
    again = await sdk.connect(sandbox.sandbox_id)

    assert await again.files.read("kept") == "yes"
    assert await again.commands.list() == []


async def test_it_pauses_again_after_it_was_resumed(sdk):
    """The lifecycle is the sandbox's, not one lifetime's."""
    sandbox = await sdk.create(lifecycle=PAUSE)
    for _ in range(2):
        await paused(sandbox)
        sandbox = await sdk.connect(sandbox.sandbox_id)

    assert (await sandbox.commands.run("echo fine")).stdout == "fine\n"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (PAUSE, {"on_timeout": "pause", "auto_resume": False}),
        (PAUSE_AND_RESUME, {"on_timeout": "pause", "auto_resume": True}),
        ({"on_timeout": "kill"}, {"on_timeout": "kill", "auto_resume": False}),
    ],
)
async def test_the_lifecycle_is_told(sdk, asked, told):
    """As it was asked for."""
    sandbox = await sdk.create(lifecycle=asked)

    assert (await sandbox.get_info()).lifecycle == told


async def test_without_auto_resume_it_stays_paused(sdk):
    """A visitor does not cost anybody anything."""
    sandbox = await sdk.create(lifecycle=PAUSE)
    await paused(sandbox)

    with pytest.raises(e2b.SandboxNotRunningException):
        await sandbox.commands.run("true")
    assert (await sandbox.get_info()).state == e2b.SandboxState.PAUSED


async def test_a_call_of_the_sdk_resumes(sdk):
    """The caller need not know that it was paused."""
    sandbox = await sdk.create(lifecycle=PAUSE_AND_RESUME)
    await sandbox.files.write("kept", "yes")
    await paused(sandbox)

    assert (await sandbox.commands.run("cat kept")).stdout == "yes"
    assert (await sandbox.get_info()).state == e2b.SandboxState.RUNNING


async def test_a_visitor_of_a_port_resumes(wire, new_box):
    """And is answered by the program that was there before."""
    box = await new_box(autoPause=True, autoResume={"enabled": True})
    async with serving(box):
        pass
    await paused_box(wire, box)
    response = await box.request("GET", "/", port=PORT)
    detail = (await wire.api("GET", f"/sandboxes/{box.id}")).json()

    assert response.status_code == 200
    assert detail["state"] == "running"


@pytest.mark.parametrize(("asked", "given"), [(60, 300), (600, 600)])
async def test_a_visitor_gives_the_first_lifetime_and_five_minutes_at_least(
    wire, new_box, asked, given
):
    """Long enough not to be paused between two requests of one page."""
    box = await new_box(timeout=asked, autoPause=True, autoResume={"enabled": True})
    await paused_box(wire, box)
    health = await box.request("GET", "/health")
    detail = (await wire.api("GET", f"/sandboxes/{box.id}")).json()
    left = (datetime.fromisoformat(detail["endAt"]) - datetime.now(UTC)).total_seconds()

    assert health.status_code == 204
    assert given - 15 < left <= given + 1


@pytest.mark.parametrize("port", [49983, PORT])
async def test_a_stranger_does_not_resume(wire, new_box, port):
    """Whoever could not use it shall not make it cost anything."""
    box = await new_box(
        autoPause=True, autoResume={"enabled": True}, network={"allowPublicTraffic": False}
    )
    await wire.api("POST", f"/sandboxes/{box.id}/pause")
    response = await box.request("GET", "/envs", port=port, token="wrong")
    detail = (await wire.api("GET", f"/sandboxes/{box.id}")).json()

    assert response.status_code == 403
    assert response.json()["code"] == 403
    assert detail["state"] == "paused"


async def test_what_no_visitor_could_end_is_refused(wire):
    """A pause without memory cannot be left by a request."""
    document = {
        "templateID": wire.endpoint.template,
        "autoPause": True,
        "autoPauseMemory": False,
        "autoResume": {"enabled": True},
    }
    response = await wire.api("POST", "/v2/sandboxes", json=document)

    assert (response.status_code, response.json()["code"]) == (400, 400)


async def test_a_pause_by_hand_is_also_ended_by_a_visitor(wire, new_box):
    """What counts is that it is paused, not how it came to be."""
    box = await new_box(autoPause=True, autoResume={"enabled": True})
    await wire.api("POST", f"/sandboxes/{box.id}/pause")

    assert await box.run("echo fine") == "fine\n"
