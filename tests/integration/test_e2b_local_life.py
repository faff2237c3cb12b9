"""Sandboxes that are paused, resumed, listed and limited, through the SDK and without it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import e2b
import pytest
from e2b import AsyncSandbox, SandboxQuery, SandboxState

from tests.integration.e2b_wire import connected
from tests.integration.life_calls import api, detail, refusal, sandbox_of, until
from tests.integration.local_backend import LocalBackend


@pytest.fixture
async def client(backend):
    async with connected(backend) as client:
        yield client


# Pauses


async def test_a_program_goes_on_where_it_was_paused(backend, client):
    """What a sandbox holds in memory is mostly why somebody pauses it."""
    async with sandbox_of(backend) as sandbox:
        command = await sandbox.commands.run(
            "n=0; while sleep 0.05; do n=$((n+1)); echo $n > /tmp/count; done", background=True
        )
        await until(lambda: sandbox.files.exists("/tmp/count"))
        boot = await sandbox.files.read("/proc/sys/kernel/random/boot_id")
        token = sandbox._envd_access_token

        assert await sandbox.pause() is True
        assert await sandbox.pause() is False
        paused = await detail(client, sandbox.sandbox_id)
        assert not await sandbox.is_running()
        with pytest.raises(e2b.SandboxException):
            await command.wait()

        again = await AsyncSandbox.connect(sandbox.sandbox_id, timeout=60, **backend.sdk)
        before = int(await again.files.read("/tmp/count"))

        async def has_counted():
            return int((await again.files.read("/tmp/count")).strip() or 0) > before

        await until(has_counted)
        found = await again.commands.connect(command.pid)
        assert again._envd_access_token == token
        assert found.pid == command.pid
        assert await found.kill()
        assert await again.files.read("/proc/sys/kernel/random/boot_id") == boot
        assert (paused["state"], paused["pauseMode"]) == ("paused", "full")


async def test_without_memory_files_are_kept_and_programs_gone(backend, client):
    """The cheap pause: a boot of the same disk."""
    async with sandbox_of(backend) as sandbox:
        for path in ("/home/user/a", "/workspace/b", "/tmp/c"):
            await sandbox.files.write(path, path)
        await sandbox.commands.run("sleep 300", background=True)
        boot = await sandbox.files.read("/proc/sys/kernel/random/boot_id")

        assert await sandbox.pause(mode="filesystem")
        assert (await detail(client, sandbox.sandbox_id))["pauseMode"] == "filesystem"

        await sandbox.connect(timeout=60)
        assert [
            await sandbox.files.read(p) for p in ("/home/user/a", "/workspace/b", "/tmp/c")
        ] == [
            "/home/user/a",
            "/workspace/b",
            "/tmp/c",
        ]
        assert await sandbox.commands.list() == []
        assert await sandbox.files.read("/proc/sys/kernel/random/boot_id") != boot
        assert "pauseMode" not in await detail(client, sandbox.sandbox_id)


async def test_kept_memory_can_be_thrown_away(backend):
    """`on_resume="reboot"`: for programs that hang."""
    async with sandbox_of(backend) as sandbox:
        await sandbox.files.write("a", "kept")
        await sandbox.commands.run("sleep 300", background=True)
        await sandbox.pause()
        await sandbox.connect(on_resume="reboot")

        assert await sandbox.commands.list() == []
        assert await sandbox.files.read("a") == "kept"


async def test_a_paused_sandbox_can_be_killed(backend, client):
    """It costs disk until somebody does."""
    for memory in (True, False):
        sandbox = await AsyncSandbox.create("base", timeout=120, **backend.sdk)
        response = await client.post(
            f"/sandboxes/{sandbox.sandbox_id}/pause", json={"memory": memory}
        )
        assert response.status_code == 204
        assert await sandbox.kill() is True
        assert await sandbox.kill() is False
        with pytest.raises(e2b.SandboxNotFoundException):
            await AsyncSandbox.connect(sandbox.sandbox_id, **backend.sdk)


async def test_what_a_paused_sandbox_answers(backend, client):
    """Statuses and words that clients branch on."""
    async with sandbox_of(backend) as sandbox:
        path = f"/sandboxes/{sandbox.sandbox_id}"
        running = await client.post(f"{path}/resume", json={})
        await client.post(f"{path}/pause")
        paused = await client.post(f"{path}/pause")
        timeout = await client.post(f"{path}/timeout", json={"timeout": 60})
        fork = await client.post(f"{path}/fork", json={})
        missing = await client.post("/sandboxes/inosuchsandbox/pause")
        malformed = await client.post("/sandboxes/No-Such-Box/pause")
        unsaid = await client.post(f"{path}/connect", json={})

        name = sandbox.sandbox_id
        assert await refusal(running) == (409, f"Sandbox {name} is already running")
        assert await refusal(paused) == (
            409,
            f"Error pausing sandbox - sandbox '{name}' is already paused",
        )
        unknown = "Sandbox \"{}\" doesn't exist or you don't have access to it"
        assert await refusal(timeout) == (404, unknown.format(name))
        assert (await refusal(fork))[0] == 409
        assert await refusal(missing) == (404, unknown.format("inosuchsandbox"))
        assert await refusal(malformed) == (400, "Invalid sandbox ID")
        assert (await refusal(unsaid))[0] == 400

        resumed = await client.post(f"{path}/resume", json={"timeout": 60, "autoPause": True})
        assert resumed.status_code == 201
        assert resumed.json()["sandboxID"] == name
        assert (await detail(client, name))["lifecycle"]["onTimeout"] == "pause"
        extended = await client.post(f"/v2{path}/connect", json={})
        assert extended.status_code == 200


# The end of a lifetime


@pytest.mark.parametrize("mode", ["full", "filesystem"])
async def test_a_lifetime_may_end_with_a_pause(backend, client, mode):
    """And what was written is there when somebody comes back."""
    lifecycle = {"on_timeout": {"action": "pause", "mode": mode}}
    async with sandbox_of(backend, lifecycle=lifecycle) as sandbox:
        await sandbox.files.write("a", "kept")
        await sandbox.set_timeout(0)

        async def is_paused():
            return (await detail(client, sandbox.sandbox_id)).get("pauseMode") == mode

        await until(is_paused)
        await sandbox.connect(timeout=60)

        assert await sandbox.files.read("a") == "kept"
        info = await sandbox.get_info()
        assert info.lifecycle == {"on_timeout": "pause", "auto_resume": False}
        assert 50 < (info.end_at - datetime.now(UTC)).total_seconds() <= 60


async def test_a_timeout_of_zero_kills_at_once(backend):
    """Unless the sandbox is to be paused then."""
    async with sandbox_of(backend) as sandbox:
        await sandbox.set_timeout(0)

        async def is_gone():
            return not await sandbox.is_running()

        await until(is_gone)
        assert await sandbox.kill() is False


async def test_traffic_resumes_what_allows_it(backend, client):
    """The SDK's own calls to a paused sandbox just work."""
    lifecycle = {"on_timeout": "pause", "auto_resume": True}
    async with sandbox_of(backend, lifecycle=lifecycle, timeout=10) as sandbox:
        await sandbox.pause()

        assert (await sandbox.commands.run("echo up")).stdout == "up\n"
        info = await sandbox.get_info()
        assert info.state == SandboxState.RUNNING
        # Its creator gave it ten seconds; five minutes are the least.
        assert 290 < (info.end_at - datetime.now(UTC)).total_seconds() <= 300


# Network


async def test_network_settings_are_kept_shown_and_replaced(backend, client):
    """There is no network here, but code that configures one must run."""
    network = {"allow_out": ["8.8.8.8", "example.com"], "deny_out": ["0.0.0.0/0"]}
    async with sandbox_of(backend, network=network, allow_internet_access=True) as sandbox:
        first = await detail(client, sandbox.sandbox_id)
        await sandbox.update_network({"deny_out": ["1.1.1.1"]})
        second = await detail(client, sandbox.sandbox_id)
        wrong = await client.put(
            f"/sandboxes/{sandbox.sandbox_id}/network", json={"denyOut": ["example.com"]}
        )

        assert first["network"] == {
            "allowOut": ["8.8.8.8", "example.com"],
            "denyOut": ["0.0.0.0/0"],
        }
        assert first["allowInternetAccess"] is True
        assert second["network"] == {"denyOut": ["1.1.1.1"]}
        assert second["allowInternetAccess"] is None
        assert await refusal(wrong) == (400, "invalid denied CIDR example.com")
        assert (await detail(client, sandbox.sandbox_id))["network"] == second["network"]


# Lists


async def test_lists_filter_by_state_and_go_on_over_pages(backend, client):
    """Pages show each sandbox once, though others come and go."""
    metadata = {"list": "life"}
    made = [
        await AsyncSandbox.create("base", timeout=120, metadata=metadata, **backend.sdk)
        for _ in range(4)
    ]
    try:
        await made[0].pause()
        for state, wanted in (
            ([SandboxState.PAUSED], made[:1]),
            ([SandboxState.RUNNING], made[1:]),
            (None, made),
        ):
            query = SandboxQuery(metadata=metadata, state=state)
            paginator = AsyncSandbox.list(query=query, limit=2, **api(backend))
            seen = []
            while paginator.has_next:
                seen += [one.sandbox_id for one in await paginator.next_items()]
            assert sorted(seen) == sorted(one.sandbox_id for one in wanted)

        first = await client.get("/v2/sandboxes", params={"metadata": "list=life", "limit": 2})
        await made[3].kill()
        token = first.headers["x-next-token"]
        second = await client.get(
            "/v2/sandboxes", params={"metadata": "list=life", "limit": 2, "nextToken": token}
        )
        shown = [one["sandboxID"] for one in first.json() + second.json()]
        assert shown == [one.sandbox_id for one in reversed(made)]

        old = await client.get("/sandboxes", params={"metadata": "list=life"})
        assert sorted(one["sandboxID"] for one in old.json()) == sorted(
            one.sandbox_id for one in made[1:3]
        )
        later = datetime.now(UTC) + timedelta(hours=1)
        query = SandboxQuery(metadata=metadata, started_after=later)
        assert await AsyncSandbox.list(query=query, **api(backend)).next_items() == []
    finally:
        for one in made:
            await one.kill()


# Refusals


async def test_every_refusal_is_json(backend, client):
    """A text body on a documented status makes the SDK fail over it."""
    answers = [
        await client.get("/nowhere"),
        await client.patch("/sandboxes"),
        await client.get("/v2/sandboxes?limit=x"),
        await client.get("/v2/sandboxes?state=dead"),
        await client.get("/v2/sandboxes?metadata=x"),
        await client.post("/v2/sandboxes", content=b"{"),
        await client.post("/v2/sandboxes", json={"templateID": "no such"}),
        await client.post("/v2/sandboxes", json={"templateID": "nosuch"}),
        await client.post("/v2/sandboxes", json={"templateID": "base", "timeout": 10**6}),
        await client.get("/sandboxes", headers={"x-api-key": "wrong"}),
    ]

    statuses = [(await refusal(one))[0] for one in answers]
    assert statuses == [404, 405, 400, 400, 400, 400, 400, 404, 400, 401]


async def test_too_many_sandboxes_are_refused_without_repeating():
    """The SDK repeats a 429 four times unless it is told not to."""
    backend = LocalBackend.start("--max-sandboxes", "1")
    try:
        async with connected(backend) as client, sandbox_of(backend) as sandbox:
            with pytest.raises(e2b.RateLimitException, match="maximum number of concurrent"):
                await AsyncSandbox.create("base", **backend.sdk)
            response = await client.post("/v2/sandboxes", json={"templateID": "base"})
            assert (await refusal(response))[0] == 429
            assert response.headers["should-retry"] == "false"

            await sandbox.pause()
            async with sandbox_of(backend):
                with pytest.raises(e2b.RateLimitException):
                    await sandbox.connect()
            await sandbox.connect()
    finally:
        assert backend.stop() == 0


async def test_a_repeated_create_makes_one_sandbox(backend, client):
    """`Idempotency-Key`, also across a pause."""
    body = json.dumps({"templateID": "base", "timeout": 60})
    headers = {"idempotency-key": "life-1"}
    first = await client.post("/v2/sandboxes", content=body, headers=headers)
    await client.post(f"/sandboxes/{first.json()['sandboxID']}/pause")
    second = await client.post("/v2/sandboxes", content=body, headers=headers)

    assert first.json() == second.json()
    assert (await client.delete(f"/sandboxes/{first.json()['sandboxID']}")).status_code == 204
