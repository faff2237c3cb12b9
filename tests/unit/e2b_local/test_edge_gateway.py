"""Who is let in, who wakes a sandbox, and what everybody else is told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from sandbox_service.e2b_local.fleet.life import ResumeDeniedError, TransitionBusyError
from sandbox_service.e2b_local.gateway import Gateway
from sandbox_service.e2b_local.gateway.routing import OwnHosts, Target
from sandbox_service.e2b_local.machine import (
    BootFailedError,
    GuestFrozenError,
    GuestLostError,
)
from tests.unit.e2b_local.wire_double import exchange_of

ID = "i0123456789abcdefghij"
OWN = OwnHosts("sbx.test", 8123)


class SandboxDouble:
    def __init__(self):
        self.sandbox_id = ID
        self.exchanges = set()
        self.fails = GuestLostError("no guest here")
        self.guest = self

    async def connect(self, _port):
        raise self.fails

    async def envd(self, exchange):
        assert exchange in self.exchanges
        exchange.respond(200, b"envd")


class FleetDouble:
    """A fleet of one sandbox, which may be paused."""

    def __init__(self, *, running=True, exists=True, auto_resume=True):
        self.sandbox = SandboxDouble()
        self.running = running
        self.record = SimpleNamespace(
            auto_resume=auto_resume,
            access_token="envd token",
            traffic_token="traffic token",
            mask_request_host=None,
        )
        self.store = {ID: self.record} if exists else {}
        self.wakes = 0
        self.wakes_with = None
        self.release = asyncio.Event()
        self.release.set()

    def __iter__(self):
        return iter([self.sandbox] if self.running else [])

    def get(self, sandbox_id):
        return self.sandbox if self.running and sandbox_id == ID else None

    async def wake(self, sandbox_id):
        assert sandbox_id == ID
        self.wakes += 1
        await self.release.wait()
        if self.wakes_with is not None:
            raise self.wakes_with
        self.running = True
        return self.sandbox


async def control(exchange):
    exchange.respond(200, b"control")


async def info(exchange):
    exchange.respond(200, b"info")


def gateway(fleet, **settings):
    return Gateway(fleet, control, OWN, info, **{"connection_limit": 100, **settings})


async def answered(served, target="/", port=49983, method="GET", host=None, **headers):
    exchange, wire = exchange_of(method, target, host=host or f"{port}-{ID}.sbx.test", **headers)
    await served(exchange)
    return wire


TOKEN = {"x_access_token": "envd token"}


async def test_traffic_wakes_a_sandbox_that_wants_it():
    """A preview that was left overnight opens in the morning."""
    fleet = FleetDouble(running=False)
    wire = await answered(gateway(fleet), **TOKEN)

    assert (wire.status, wire.body) == (200, b"envd")
    assert fleet.wakes == 1


async def test_a_page_of_many_parts_waits_for_one_awakening():
    """All of them are answered, none is told that there is no sandbox."""
    fleet = FleetDouble(running=False)
    fleet.release.clear()
    served = gateway(fleet)
    asked = [asyncio.create_task(answered(served, **TOKEN)) for _ in range(20)]
    await asyncio.sleep(0)
    fleet.release.set()

    assert {(await one).status for one in asked} == {200}


@pytest.mark.parametrize(
    "fleet", [{"exists": False}, {"auto_resume": False}], ids=["unknown", "no auto-resume"]
)
async def test_no_traffic_wakes_what_does_not_want_it(fleet):
    """Its creator pays for what runs."""
    fleet = FleetDouble(running=False, **fleet)
    wire = await answered(gateway(fleet), **TOKEN)

    assert wire.status == 502
    assert wire.json() == {
        "sandboxId": ID,
        "message": "The sandbox was not found",
        "code": 502,
    }
    assert fleet.wakes == 0


@pytest.mark.parametrize(
    ("port", "headers"),
    [
        (49983, {}),
        (49983, {"x_access_token": "wrong"}),
        (49983, {"e2b_traffic_access_token": "traffic token"}),
        (3000, {}),
        (3000, {"e2b_traffic_access_token": "wrong"}),
        (3000, {"x_access_token": "envd token"}),
    ],
)
async def test_who_may_not_enter_may_not_wake(port, headers):
    """A scanner of names must not keep sandboxes running."""
    fleet = FleetDouble(running=False)
    wire = await answered(gateway(fleet), port=port, **headers)

    assert wire.status == 403
    assert "can't be resumed with the credentials provided" in wire.json()["message"]
    assert fleet.wakes == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ResumeDeniedError(ID), 502),
        (BootFailedError("no memory"), 502),
        (GuestLostError("killed meanwhile"), 502),
        (TransitionBusyError(ID), 409),
    ],
)
async def test_an_awakening_that_fails_is_told(error, status):
    """The SDK tells a dead sandbox from one that is on its way."""
    fleet = FleetDouble(running=False)
    fleet.wakes_with = error
    wire = await answered(gateway(fleet), **TOKEN)

    assert wire.status == status


async def test_a_slow_awakening_goes_on_without_whoever_asked():
    """The next request may find it done."""
    fleet = FleetDouble(running=False)
    fleet.release.clear()
    served = gateway(fleet, transition_seconds=0.01)
    early = await answered(served, **TOKEN)
    fleet.release.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = await answered(served, **TOKEN)

    assert early.json()["message"] == "The sandbox is still transitioning. Try again in a moment."
    assert early.status == 409
    assert late.status == 200
    assert fleet.wakes == 1


async def test_a_sandbox_takes_so_many_requests_and_no_more():
    """One page in a loop must not use up every descriptor."""
    fleet = FleetDouble()
    open_ones = [exchange_of("GET", "/")[0] for _ in range(3)]
    fleet.sandbox.exchanges.update(open_ones)
    full = await answered(gateway(fleet, connection_limit=3), **TOKEN)
    fleet.sandbox.exchanges.discard(open_ones[0])
    free = await answered(gateway(fleet, connection_limit=3), **TOKEN)

    assert full.status == 429
    assert "(limit: 3)" in full.json()["message"]
    assert free.status == 200
    assert fleet.sandbox.exchanges == set(open_ones[1:])


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (GuestLostError("dead"), 502, "The sandbox was not found"),
        (GuestFrozenError("being paused"), 409, "still transitioning"),
        (ConnectionRefusedError(), 502, "port is not open"),
    ],
)
async def test_a_port_that_cannot_be_reached_says_why(error, status, message):
    """Dead, on its way, or nobody listens: three things to do about it."""
    fleet = FleetDouble()
    fleet.sandbox.fails = error
    wire = await answered(gateway(fleet), port=3000, e2b_traffic_access_token="traffic token")

    assert wire.status == status
    assert message in wire.json()["message"]


@pytest.mark.parametrize("exists", [True, False])
async def test_a_reserved_path_says_nothing_about_sandboxes(exists):
    """The same answer for a sandbox that is there and for one that is not."""
    fleet = FleetDouble(running=exists, exists=exists)
    wire = await answered(gateway(fleet), "/init?x=1", method="POST", **TOKEN)

    assert wire.status == 404
    assert wire.json()["path"] == "/init"
    assert "sandboxId" not in wire.json()


async def test_faults_come_first_and_know_the_target():
    """What is spoiled on purpose must not have been carried out."""
    seen = []

    class Faults:
        async def apply(self, exchange, target):
            seen.append(target)
            exchange.respond(503)
            return True

    fleet = FleetDouble(running=False)
    served = gateway(fleet, faults=Faults())
    spoiled = await answered(served, **TOKEN)
    shared = await answered(served, "/sandboxes", host="api.sbx.test")
    spared = await answered(served, "/local/info", host="127.0.0.1:8123")

    assert [wire.status for wire in (spoiled, shared, spared)] == [503, 503, 200]
    assert seen == [Target(ID, 49983), None]
    assert fleet.wakes == 0


@pytest.mark.parametrize(
    ("target", "host", "body"),
    [
        ("/sandboxes", "api.sbx.test", b"control"),
        ("/health", "127.0.0.1:8123", b"control"),
        ("/local/info", "api.sbx.test", b"info"),
        ("http://api.sbx.test/health", "elsewhere", b"control"),
        ("http://localhost:8123/local/info", "elsewhere", b"info"),
    ],
)
async def test_a_host_of_all_is_the_control_planes(target, host, body):
    """Also by whole URL, as a proxy is asked."""
    assert (await answered(gateway(FleetDouble()), target, host=host)).body == body


@pytest.mark.parametrize(
    ("method", "target", "host", "status", "words"),
    [
        ("CONNECT", "a:1", "a:1", 400, b"CONNECT must be the first"),
        ("GET", "http://other.example/", "api.sbx.test", 403, b"set HTTPS_PROXY"),
        ("GET", "http://127.0.0.1:80/", "api.sbx.test", 403, b"sbx.test alone"),
        ("GET", "http://api.sbx.test:x/", "api.sbx.test", 400, b"Invalid"),
        ("GET", "/", f"{ID}.sbx.test", 400, b"Invalid host"),
    ],
)
async def test_what_is_not_ours_to_answer_is_refused_in_words(method, target, host, status, words):
    """A proxy that guessed would send secrets to the wrong place."""
    wire = await answered(gateway(FleetDouble()), target, method=method, host=host)

    assert wire.status == status
    assert words in wire.body


@pytest.mark.parametrize(
    ("host", "any_host", "status"),
    [
        *(("127.0.0.1:8123", False, 200), ("localhost", False, 200), ("a.localhost", False, 200)),
        *(("api.sbx.test", False, 200), ("[::1]:8123", False, 200), ("", False, 200)),
        *(("rebound.example", False, 403), ("api.evil.example", False, 403)),
        ("rebound.example", True, 200),
    ],
)
async def test_the_control_plane_answers_strangers_names_only_behind_a_key(host, any_host, status):
    """Or a page that lets its own name lead to 127.0.0.1 could make sandboxes here."""
    exchange, wire = exchange_of("GET", "/sandboxes", host=host)
    await gateway(FleetDouble(), any_host=any_host)(exchange)
    assert wire.status == status
