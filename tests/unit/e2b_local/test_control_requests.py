"""What the control plane takes, refuses, and does only once."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.e2b_local.control import requests
from sandbox_service.e2b_local.control.idempotency import KeyReusedError, OnceByKey
from sandbox_service.e2b_local.control.routing import ApiError, Match, Route


def new(version=2, **fields):
    document = {"templateID": "base", **fields}
    return requests.new_sandbox(document, version=version, limit_seconds=3600)


def test_the_two_versions_differ_in_what_they_leave_out():
    """The same SDK call must live 300 s and be secured, the old one 15 s and open."""
    assert (new(2).timeout_seconds, new(2).secure) == (300, True)
    assert (new(1).timeout_seconds, new(1).secure) == (15, False)
    assert new(1, secure=True).secure


def test_public_traffic_is_closed_only_by_an_explicit_false():
    """A preview that suddenly needs a token is as bad as one that does not."""
    assert new().public
    assert new(network={"allowPublicTraffic": True}).public
    assert not new(network={"allowPublicTraffic": False}).public


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"templateID": None}, 400),
        ({"timeout": -1}, 400),
        ({"timeout": "60"}, 400),
        ({"timeout": True}, 400),
        ({"timeout": 3601}, 400),
        ({"metadata": {"a": 1}}, 400),
        ({"envVars": ["A"]}, 400),
        ({"envVars": []}, 400),
        ({"metadata": ""}, 400),
        ({"envVars": {"A=B": "c"}}, 400),
        ({"envVars": {"A": "b\0c"}}, 400),
        ({"network": "none"}, 400),
        ({"network": {"maskRequestHost": "not a host"}}, 400),
        ({"network": {"httpsPorts": [8443]}}, 501),
        ({"autoPause": "yes"}, 400),
        ({"autoResume": True}, 400),
        ({"autoResume": {"enabled": 1}}, 400),
        ({"allow_internet_access": "no"}, 400),
        ({"autoPauseMemory": False}, 400),
        ({"autoPause": True, "autoPauseMemory": False, "autoResume": {"enabled": True}}, 400),
        ({"volumeMounts": [{"name": "v", "path": "/v"}]}, 501),
        ({"mcp": {"server": {}}}, 501),
    ],
)
def test_a_wrong_or_impossible_wish_is_refused(fields, status):
    """Taking it silently would be a promise this backend does not keep."""
    with pytest.raises(ApiError) as caught:
        new(**fields)
    assert caught.value.status == status


@pytest.mark.parametrize("host", ["localhost", "app.example:8080", "localhost:${PORT}"])
def test_a_masked_host_may_carry_the_port(host):
    """Frameworks refuse requests whose host they do not know."""
    assert new(network={"maskRequestHost": host}).network == {"maskRequestHost": host}


def test_what_happens_at_the_end_of_a_lifetime_is_read():
    """A sandbox that is killed instead of paused has lost its work."""
    plain = new()
    pausing = new(autoPause=True, autoResume={"enabled": True})

    assert (plain.on_timeout, plain.keep_memory, plain.auto_resume) == ("kill", True, False)
    assert (pausing.on_timeout, pausing.keep_memory, pausing.auto_resume) == ("pause", True, True)
    assert not new(autoPause=True, autoPauseMemory=False).keep_memory


def test_closed_ports_need_a_secured_sandbox():
    """An open envd would let in whom the ports keep out."""
    closed = {"allowPublicTraffic": False}
    with pytest.raises(ApiError) as caught:
        new(1, network=closed)

    assert "unless you enable secure envd access" in caught.value.message
    assert not new(1, network=closed, secure=True).public


@pytest.mark.parametrize(
    ("given", "read"), [("iabc", "iabc"), ("iabc-client", "iabc"), ("debug", "debug")]
)
def test_an_id_may_carry_the_client_it_came_with(given, read):
    """Old clients send both in one."""
    match = Match(Route("GET", "/sandboxes/{id}", None), {"id": given})

    assert requests.sandbox_id_of(match) == read


@pytest.mark.parametrize("given", ["I", "a b", "a-b-c", "../x", "", "ä"])
def test_what_cannot_be_an_id_is_refused(given):
    """404 would say that it was one."""
    match = Match(Route("GET", "/sandboxes/{id}", None), {"id": given})
    with pytest.raises(ApiError) as caught:
        requests.sandbox_id_of(match)

    assert caught.value.document == {"code": 400, "message": "Invalid sandbox ID"}


def test_a_listing_unquotes_metadata():
    """Names and values are quoted on their own, inside a quoted parameter."""
    listing = requests.listing({"metadata": "a=b%2526c&d=e%253Df", "state": "paused"})

    assert listing.metadata == {"a": "b&c", "d": "e=f"}
    assert listing.states == {"paused"}


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "x"},
        {"order": "up"},
        {"state": "dead"},
        {"startedAfter": "yesterday"},
        {"startedAfter": "2026-01-01T00:00:00"},
        {"metadata": "a"},
        {"metadata": "a=b=c"},
    ],
)
def test_a_listing_with_a_wrong_parameter_is_refused(query):
    """A filter that is ignored shows what was not asked for."""
    with pytest.raises(ApiError):
        requests.listing(query)


class Work:
    def __init__(self):
        self.done = 0
        self.release = asyncio.Event()

    async def __call__(self):
        await self.release.wait()
        self.done += 1
        return self.done


async def test_a_repeated_create_joins_the_first():
    """A retry after a lost answer must not make a second sandbox."""
    once, work = OnceByKey(lambda: 0.0), Work()
    first = asyncio.create_task(once.run("key", b"same", work))
    second = asyncio.create_task(once.run("key", b"same", work))
    await asyncio.sleep(0)
    first.cancel()
    work.release.set()

    assert await second == 1
    assert await once.run("key", b"same", work) == 1
    assert work.done == 1


async def test_a_key_with_another_request_is_refused():
    """The caller believes to get what it asks for now."""
    once, work = OnceByKey(lambda: 0.0), Work()
    work.release.set()
    await once.run("key", b"one", work)

    with pytest.raises(KeyReusedError):
        await once.run("key", b"two", work)


async def test_a_failure_frees_its_key_and_so_does_time():
    """What failed may be tried again; what is a day old is a new request."""
    now = 0.0
    once, work = OnceByKey(lambda: now), Work()
    work.release.set()

    async def fail():
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - any will do
        await once.run("key", b"same", fail)
    assert await once.run("key", b"same", work) == 1
    now = 25 * 3600.0
    assert await once.run("key", b"same", work) == 2
