"""Pausing keeps what runs, or only what is on disk; resuming goes on from there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import e2b
import pytest

from tests.support.connect_wire import until

# By renaming, so that nobody reads half of it.
COUNTER = (
    "i=0; while :; do i=$((i+1)); echo $i > /tmp/.count; mv /tmp/.count /tmp/count;"
    " sleep 0.01; done"
)


async def run(sandbox, command):
    return (await sandbox.commands.run(command)).stdout.strip()


async def boot_id(sandbox):
    return await run(sandbox, "cat /proc/sys/kernel/random/boot_id")


async def counting(sandbox):
    """Start what counts, and wait until it does; returns its process id."""
    handle = await sandbox.commands.run(COUNTER, background=True, timeout=0)

    async def begun():
        return await sandbox.files.exists("/tmp/count")

    await until(begun)
    return handle.pid


async def test_a_paused_sandbox_is_there_and_does_not_answer(sdk):
    """Listed, described, and not found by the proxy."""
    sandbox = await sdk.create()
    assert await sandbox.pause() is True
    info = await sandbox.get_info()

    assert info.state == e2b.SandboxState.PAUSED
    assert not await sandbox.is_running()
    assert await sandbox.pause() is False
    with pytest.raises(e2b.SandboxNotRunningException, match="was not found"):
        await sandbox.commands.run("true")


async def test_what_ran_runs_on_after_a_pause(sdk):
    """Same processes, same memory, same boot; only its time stood still."""
    sandbox = await sdk.create()
    pid = await counting(sandbox)
    before = await boot_id(sandbox)
    await sandbox.pause()
    again = await sdk.connect(sandbox.sandbox_id)
    count = int(await again.files.read("/tmp/count"))

    async def goes_on():
        return int(await again.files.read("/tmp/count")) > count

    await until(goes_on)
    assert await boot_id(again) == before
    assert pid in [process.pid for process in await again.commands.list()]
    assert await again.commands.kill(pid)


async def test_nothing_moves_while_paused(sdk):
    """A pause that let programs go on would lose what they write."""
    sandbox = await sdk.create()
    await counting(sandbox)
    await sandbox.commands.run(
        "date +%s%N > /tmp/clock;"
        " (while :; do date +%s%N > /tmp/.clock; mv /tmp/.clock /tmp/clock; sleep 0.01; done)"
        " >/dev/null 2>&1 &"
    )
    await sandbox.pause()
    paused_at = datetime.now(UTC).timestamp()
    await asyncio.sleep(0.5)  # Long enough to be told apart from the time a pause takes.
    resumed_at = datetime.now(UTC).timestamp()
    again = await sdk.connect(sandbox.sandbox_id)

    async def ticks():
        text = (await again.files.read("/tmp/clock")).strip()
        return text and int(text) / 1e9 > paused_at

    await until(ticks)
    first = int((await again.files.read("/tmp/clock")).strip()) / 1e9
    assert first > resumed_at - 0.05


async def test_streams_are_cut_and_taken_up_again(sdk):
    """The reader learns of the pause at once, and goes on by pid afterwards."""
    sandbox = await sdk.create()
    handle = await sandbox.commands.run(
        "read line; echo got $line", background=True, stdin=True, timeout=0
    )
    waiting = asyncio.ensure_future(handle.wait())
    await sandbox.pause()
    with pytest.raises(e2b.TimeoutException):
        await waiting
    again = await sdk.connect(sandbox.sandbox_id)
    reader = await again.commands.connect(handle.pid)
    await again.commands.send_stdin(handle.pid, "it\n")

    assert (await reader.wait()).stdout == "got it\n"


async def test_resuming_answers_201_and_gives_a_new_lifetime(wire, own_box):
    """By either version of connect, and by the call of that name."""
    for path, body in (
        ("/sandboxes/{}/connect", {"timeout": 200}),
        ("/v2/sandboxes/{}/connect", {"timeout": 200}),
        ("/sandboxes/{}/resume", {"timeout": 200}),
    ):
        paused = await wire.api("POST", f"/sandboxes/{own_box.id}/pause")
        again = await wire.api("POST", f"/sandboxes/{own_box.id}/pause")
        resumed = await wire.api("POST", path.format(own_box.id), json=body)
        detail = (await wire.api("GET", f"/sandboxes/{own_box.id}")).json()
        left = datetime.fromisoformat(detail["endAt"]) - datetime.now(UTC)

        assert (paused.status_code, again.status_code) == (204, 409)
        assert resumed.status_code == 201, path
        assert resumed.json()["sandboxID"] == own_box.id
        assert resumed.json()["envdAccessToken"] == own_box.token
        assert detail["state"] == "running"
        assert 150 < left.total_seconds() <= 201


async def test_resuming_what_runs_is_a_conflict(wire, own_box):
    """Somebody else was faster."""
    response = await wire.api("POST", f"/sandboxes/{own_box.id}/resume", json={})

    assert response.status_code == 409
    assert own_box.id in response.json()["message"]


async def test_an_id_with_its_client_is_the_same_sandbox(wire, own_box):
    """Old clients put both together."""
    full = f"{own_box.id}-{own_box.created['clientID']}"
    await wire.api("POST", f"/sandboxes/{own_box.id}/pause")
    resumed = await wire.api("POST", f"/sandboxes/{full}/resume", json={})
    found = await wire.api("GET", f"/sandboxes/{full}")

    assert resumed.status_code == 201
    assert found.json()["sandboxID"] == own_box.id


# Only what is on disk


async def test_a_pause_without_memory_keeps_files_and_ends_processes(sdk):
    """The sandbox is started anew: another boot, the same disk."""
    sandbox = await sdk.create(envs={"KEPT": "still"})
    await sandbox.files.write("kept.txt", "here")
    pid = await counting(sandbox)
    before = await boot_id(sandbox)
    assert await sandbox.pause(mode="filesystem") is True
    again = await sdk.connect(sandbox.sandbox_id)

    assert await again.files.read("kept.txt") == "here"
    assert await boot_id(again) != before
    assert pid not in [process.pid for process in await again.commands.list()]
    assert await run(again, "pgrep -f '[c]ount; sleep' || echo none") == "none"
    assert await run(again, "echo $KEPT; whoami; pwd") == "still\nuser\n/home/user"


async def test_a_full_pause_may_be_left_by_a_reboot(sdk):
    """The way out when memory is what is broken."""
    sandbox = await sdk.create()
    await sandbox.files.write("kept.txt", "here")
    pid = await counting(sandbox)
    before = await boot_id(sandbox)
    await sandbox.pause()
    again = await sdk.connect(sandbox.sandbox_id, on_resume="reboot")

    assert await again.files.read("kept.txt") == "here"
    assert await boot_id(again) != before
    assert pid not in [process.pid for process in await again.commands.list()]


@pytest.mark.parametrize(("mode", "memory"), [("full", True), ("filesystem", False)])
async def test_the_kind_of_a_pause_is_told(wire, own_box, mode, memory):
    """`pauseMode` of the description."""
    response = await wire.api("POST", f"/sandboxes/{own_box.id}/pause", json={"memory": memory})
    detail = (await wire.api("GET", f"/sandboxes/{own_box.id}")).json()

    assert response.status_code == 204
    assert detail["state"] == "paused"
    assert detail.get("pauseMode", mode) == mode


# And then


async def test_a_paused_sandbox_can_be_killed(sdk):
    """It is one that is there."""
    sandbox = await sdk.create()
    await sandbox.pause()

    assert await sandbox.kill() is True
    assert await sandbox.kill() is False
    with pytest.raises(e2b.SandboxNotFoundException):
        await sdk.connect(sandbox.sandbox_id)


async def test_many_pauses_in_a_row_lose_nothing(sdk):
    """An agent's day."""
    sandbox = await sdk.create()
    for number in range(5):
        await sandbox.files.write(f"file{number}", str(number))
        await sandbox.pause(mode="filesystem" if number % 2 else "full")
        sandbox = await sdk.connect(sandbox.sandbox_id)

    assert await run(sandbox, "cat file*") == "01234"


async def test_connects_at_once_to_a_paused_one_all_succeed(wire, own_box):
    """One resumes it, and the others find it running."""
    await wire.api("POST", f"/sandboxes/{own_box.id}/pause")
    path = f"/v2/sandboxes/{own_box.id}/connect"
    answers = await asyncio.gather(*(wire.api("POST", path, json={}) for _ in range(5)))

    assert {answer.status_code for answer in answers} <= {200, 201}
    assert [answer.status_code for answer in answers].count(201) == 1
    assert await own_box.run("echo fine") == "fine\n"
