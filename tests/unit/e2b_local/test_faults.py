"""What goes wrong on purpose: for whom, how often, and how."""

from __future__ import annotations

import asyncio
import json

import pytest

from sandbox_service.e2b_local.faults.errors import RuleExistsError
from sandbox_service.e2b_local.faults.injector import FaultInjector
from sandbox_service.e2b_local.faults.rules import parse_rules
from sandbox_service.e2b_local.gateway.routing import Target
from tests.unit.e2b_local.wire_double import WireDouble, exchange_of

ENVD = Target("i1", 49983)
WEB = Target("i1", 3000)
RUN = "/process.Process/Start"


class Kills:
    """Remembers who was killed."""

    def __init__(self):
        self.killed = []

    async def __call__(self, sandbox_id):
        self.killed.append(sandbox_id)


class ClosingWire(WireDouble):
    def __init__(self):
        super().__init__()
        self.closing = asyncio.Event()

    def close(self):
        self.closing.set()

    @property
    def closed(self):
        return self.closing.is_set()


def injector_of(*documents, kill=None):
    return FaultInjector(kill or Kills(), parse_rules(json.dumps(documents).encode()))


def request(method="POST", path=RUN, body=b""):
    exchange, _ = exchange_of(method, path, body)
    exchange.wire = wire = ClosingWire()
    return exchange, wire


def status(code=503, **rule):
    return {"kind": "status", "params": {"status": code}, **rule}


async def is_hit(injector, target=ENVD, method="POST", path=RUN):
    return await injector.apply(request(method, path)[0], target)


# Which rules there are


def test_rules_are_named_shown_and_taken_back():
    """A test removes what it added, and no one else's."""
    injector = injector_of({"kind": "drop", "id": "mine"}, {"kind": "drop"})
    added = injector.add_json(b'{"kind": "vanish", "id": "last"}')

    assert [one["id"] for one in added] == ["last"]
    assert [one["id"] for one in injector.views()] == ["mine", "fault-1", "last"]
    assert injector.remove("mine")
    assert not injector.remove("mine")
    assert [one["id"] for one in injector.views()] == ["fault-1", "last"]
    injector.clear()
    assert injector.views() == []


def test_a_list_is_added_whole_or_not_at_all():
    """Half of a scenario is another scenario."""
    injector = injector_of({"kind": "drop", "id": "a"})

    with pytest.raises(RuleExistsError, match="'a'"):
        injector.add_json(b'[{"kind": "drop", "id": "b"}, {"kind": "drop", "id": "a"}]')
    with pytest.raises(RuleExistsError, match="more than 1000"):
        injector.add_json(json.dumps([{"kind": "drop"}] * 1000).encode())
    assert [one["id"] for one in injector.views()] == ["a"]


def test_a_made_up_name_is_never_one_that_was_given():
    """Otherwise whoever names rules like ours gets a conflict by chance."""
    injector = injector_of({"kind": "drop", "id": "fault-1"}, {"kind": "drop"})

    assert [one["id"] for one in injector.views()] == ["fault-1", "fault-2"]


# Whom they are for


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({}, {"run", "web", "list", "get"}),
        ({"plane": "control"}, {"list", "get"}),
        ({"plane": "envd"}, {"run"}),
        ({"plane": "port"}, {"web"}),
        ({"port": 3000}, {"web"}),
        ({"port": 49983}, {"run"}),
        ({"sandbox_id": "i1"}, {"run", "web", "get"}),
        ({"sandbox_id": "i2"}, set()),
        ({"methods": ["GET", "PUT"]}, {"web", "list", "get"}),
        ({"path": "sandboxes$"}, {"list"}),
        ({"path": "^/process", "plane": "port"}, set()),
    ],
)
async def test_a_rule_is_for_what_matches_all_it_names(match, hit):
    """A fault that befalls others too makes a test fail for the wrong reason."""
    injector = injector_of(status(match=match))
    seen = {
        name
        for name, target, method, path in (
            ("run", ENVD, "POST", RUN),
            ("web", WEB, "GET", "/"),
            ("list", None, "GET", "/v2/sandboxes"),
            ("get", None, "GET", "/sandboxes/i1"),
        )
        if await is_hit(injector, target, method, path)
    }

    assert seen == hit
    assert injector.views()[0]["fired"] == len(hit)


async def test_the_rules_themselves_can_always_be_reached():
    """A rule for everything could not be taken back otherwise."""
    injector = injector_of(status())

    assert not await is_hit(injector, None, "DELETE", "/local/faults")
    assert await is_hit(injector, WEB, "GET", "/local/faults")


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "vanish"},
        {"kind": "kill_during_upload"},
        {"kind": "late_list", "params": {"seconds": 5}},
    ],
)
async def test_what_cannot_befall_a_request_does_not_use_the_rule_up(rule):
    """`times` counts what happened."""
    injector = injector_of({**rule, "times": 1})

    assert not await is_hit(injector, None, "POST", "/v2/sandboxes")
    assert injector.views()[0]["fired"] == 0


# How often they happen


async def test_a_rule_happens_so_many_times():
    """What is retried has to succeed in the end."""
    injector = injector_of(status(times=2))

    assert [await is_hit(injector) for _ in range(4)] == [True, True, False, False]
    assert injector.views()[0]["fired"] == 2


async def test_a_seed_makes_chance_repeatable():
    """A failure that was seen once has to be seen again."""

    async def run(seed):
        injector = injector_of(status(probability=0.5, seed=seed))
        hits = [await is_hit(injector) for _ in range(64)]
        return hits, injector.views()[0]

    first, shown = await run(7)
    again, _ = await run(7)
    other, _ = await run(8)

    assert first == again
    assert first != other
    assert 0 < shown["fired"] == sum(first) < 64
    assert shown["seed"] == 7


# What they do


async def test_the_first_answer_wins_and_later_rules_do_not_happen():
    """Rules are looked at in the order in which they were added."""
    injector = injector_of(status(429), status(503))
    exchange, wire = request()

    assert await injector.apply(exchange, ENVD)
    assert wire.status == 429
    assert wire.json() == {"code": 429, "message": "Too Many Requests"}
    assert [one["fired"] for one in injector.views()] == [1, 0]


async def test_a_status_carries_what_clients_obey():
    """E2B's clients retry by these two headers."""
    params = {"status": 503, "retry_after_seconds": 2, "should_retry": False, "body": {"a": 1}}
    injector = injector_of({"kind": "status", "params": params})
    exchange, wire = request()
    await injector.apply(exchange, None)

    assert "retry-after: 2" in wire.head
    assert "should-retry: false" in wire.head
    assert wire.json() == {"a": 1}


async def test_a_response_is_cut_at_the_byte():
    """The head counts, so what arrives does not depend on how it was sent."""
    injector = injector_of({"kind": "drop", "params": {"after_bytes": 20}, "times": 1})
    exchange, wire = request()
    await injector.apply(exchange, ENVD)
    exchange.start(200)
    exchange.write(b"x" * 100)

    assert len(wire.sent) == 20
    assert wire.closed
    assert injector.views()[0]["fired"] == 1


async def test_a_continue_is_no_answer():
    """A client that asks before it uploads has to get as far as the upload."""
    injector = injector_of({"kind": "drop"})
    exchange, wire = request()
    await injector.apply(exchange, ENVD)
    exchange.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    passed = bytes(wire.sent)
    exchange.respond(200, b"body")

    assert passed == b"HTTP/1.1 100 Continue\r\n\r\n" == wire.sent
    assert wire.closed


async def test_of_two_that_wait_for_the_same_cut_one_is_cut():
    """`times` holds also where requests overlap, and counts cuts, not requests."""
    injector = injector_of({"kind": "drop", "params": {"after_bytes": 50}, "times": 1})
    (first, first_wire), (second, second_wire) = request(), request()
    for exchange in (first, second):
        await injector.apply(exchange, ENVD)
    for exchange in (second, first):
        exchange.respond(200, b"x" * 100)

    assert (second_wire.closed, first_wire.closed) == (True, False)
    assert first_wire.body == b"x" * 100
    assert injector.views()[0]["fired"] == 1


async def test_a_rule_that_was_taken_back_spares_who_waited_for_it():
    """The end of a test is the end of its faults."""
    injector = injector_of({"kind": "drop", "params": {"after_bytes": 50}})
    exchange, wire = request()
    await injector.apply(exchange, ENVD)
    injector.clear()
    exchange.respond(200, b"x" * 100)

    assert not wire.closed
    assert wire.body == b"x" * 100


async def test_a_stalled_response_is_whole_in_the_end():
    """It looks like a network that hangs, not like one that loses."""
    injector = injector_of({"kind": "stall", "params": {"after_bytes": 10, "seconds": 0.02}})
    exchange, wire = request()
    await injector.apply(exchange, ENVD)
    exchange.keep_alive = False
    room = asyncio.Event()
    exchange.on_writable = room.set
    exchange.start(200, length=4)
    exchange.write(b"body")
    stalled = len(wire.sent), exchange.wire.writable
    exchange.finish()
    async with asyncio.timeout(5):
        await wire.closing.wait()

    assert stalled == (10, False)
    assert exchange.wire.writable
    assert wire.body == b"body"


async def test_a_stalled_stream_goes_on():
    """Its writer is told when there is room again, and the connection lives on."""
    injector = injector_of({"kind": "stall", "params": {"seconds": 0.02}})
    exchange, wire = request()
    await injector.apply(exchange, ENVD)
    room = asyncio.Event()
    exchange.on_writable = room.set
    exchange.start(200)
    stalled = bytes(wire.sent)
    async with asyncio.timeout(5):
        await room.wait()
    exchange.finish(b"last")

    assert stalled == b""
    assert wire.body == b"4\r\nlast\r\n0\r\n\r\n"
    assert not wire.closed


async def test_a_delay_ends_with_its_client():
    """Nobody waits for those who have left."""
    injector = injector_of({"kind": "delay", "params": {"seconds": 3600, "jitter_seconds": 5}})
    exchange, _ = request()
    applied = asyncio.create_task(injector.apply(exchange, ENVD))
    await asyncio.sleep(0)
    waited = not applied.done()
    exchange.connection_lost()

    assert waited
    async with asyncio.timeout(5):
        assert await applied is True


async def test_a_delay_lets_the_request_go_on():
    """It is late, and nothing else."""
    injector = injector_of({"kind": "delay", "params": {"seconds": 0.01}})
    exchange, wire = request()

    assert await injector.apply(exchange, ENVD) is False
    assert wire.sent == b""
    assert injector.views()[0]["fired"] == 1


async def test_a_sandbox_vanishes_before_it_is_asked():
    """By id in the path, or by the routing of the request."""
    kills = Kills()
    injector = injector_of({"kind": "vanish"}, kill=kills)
    await injector.apply(request()[0], ENVD)
    await injector.apply(request("GET", "/sandboxes/i2-client")[0], None)
    await injector.apply(request("POST", "/v2/sandboxes/i3/connect")[0], None)

    assert kills.killed == ["i1", "i2", "i3"]


async def test_an_upload_kills_its_sandbox_at_the_byte():
    """Also when the bytes were there before the rule was looked at."""
    kills = Kills()
    rule = {"kind": "kill_during_upload", "params": {"after_bytes": 10}, "times": 2}
    injector = injector_of(rule, kill=kills)
    slow, _ = request("POST", "/files", None)
    await injector.apply(slow, ENVD)
    slow.feed(b"123456789")
    await _turns()
    before = list(kills.killed)
    slow.feed(b"0")
    slow.feed(b"more")
    await _turns()
    after = list(kills.killed)
    fast, _ = request("POST", "/files", b"1234567890")
    await injector.apply(fast, Target("i2", 49983))
    await _turns()

    assert (before, after, kills.killed) == ([], ["i1"], ["i1", "i2"])


async def _turns():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_only_the_list_that_is_answered_is_late():
    """Each list is asked for by a task of its own."""
    injector = injector_of({"kind": "late_list", "params": {"seconds": 30}, "times": 1})

    async def lag():
        await injector.apply(request("GET", "/v2/sandboxes")[0], None)
        return injector.list_lag_seconds

    lags = [await asyncio.create_task(lag()) for _ in range(2)]

    assert lags == [30, 0]
    # Connections that are kept begin a request's task within the task before it.
    await injector.apply(request("GET", "/v2/sandboxes")[0], None)
    assert injector.list_lag_seconds == 0
