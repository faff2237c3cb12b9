"""Sandboxes whose way out cannot be opened, or is changed."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace

import pytest

from sandbox_service.e2b_local.egress import PROXY_PORT, read_settings
from sandbox_service.e2b_local.fleet import Fleet
from sandbox_service.e2b_local.machine import BootFailedError, GuestOSError
from tests.unit.e2b_local.fleet_double import Clock, FakeGuest, FakeMachine, make, until

SETTINGS = read_settings("proxy")


@pytest.fixture
def ports(monkeypatch):
    """What guests answer when they are to listen: a port each time, or an error."""
    answers = []

    async def listen(_, port):
        assert port == PROXY_PORT
        answer = answers.pop(0) if answers else None
        if answer is not None:
            raise answer
        mine, other = socket.socketpair()
        opened.append(other)
        return mine

    opened = []
    monkeypatch.setattr(FakeGuest, "listen", listen, raising=False)
    yield answers
    for one in opened:
        one.close()


@pytest.fixture
async def fleet(tmp_path, ports):
    fleet = Fleet(FakeMachine(tmp_path), Clock(), egress=SETTINGS)
    yield fleet
    await fleet.close()


async def test_without_settings_no_guest_is_asked(tmp_path):
    """The guests here cannot even listen."""
    fleet = Fleet(FakeMachine(tmp_path), Clock())
    sandbox = await make(fleet)
    assert sandbox.egress is None
    assert fleet.traffic() == {}
    fleet.put_network(fleet.store.get("ia"))
    await fleet.close()


async def test_a_sandbox_without_its_way_out_does_not_start(fleet, ports):
    """Rather than one whose programs fail for no reason that they can see."""
    ports.append(GuestOSError(errno.EADDRINUSE, "taken"))
    with pytest.raises(BootFailedError, match="way out"):
        await make(fleet)
    assert len(fleet.store) == 0
    assert fleet.activities.get("ia") is None
    assert fleet._machine.guests["ia"].ended.done()


async def test_a_resumption_that_fails_for_it_keeps_the_files(fleet, ports):
    """It can be tried again."""
    sandbox = await make(fleet)
    sandbox.guest.files = b"kept"
    await fleet.pause("ia", memory=False)
    ports.append(GuestOSError(errno.ENOMEM, "no memory"))
    with pytest.raises(BootFailedError, match="way out"):
        await fleet.resume("ia", 60)
    assert fleet.store.get("ia").state == "paused"
    assert fleet._machine.shelf == {"ia": b"kept"}

    await fleet.resume("ia", 60)
    assert fleet.get("ia").guest.files == b"kept"


async def test_rules_follow_the_record(fleet):
    """And stay with a sandbox that is paused."""
    sandbox = await make(fleet, allow_internet_access=False)
    assert not sandbox.egress.rules.internet
    await fleet.pause("ia")
    record = fleet.store.get("ia")
    network = {"allowOut": ["pypi.org"], "denyOut": ["0.0.0.0/0"]}
    fleet.put_network(replace(record, network=network))
    assert sandbox.egress.rules.allow.hosts == {"pypi.org"}
    assert fleet.store.get("ia").network == network


async def test_no_port_is_left_open(fleet):
    """A listening socket keeps a whole network alive."""
    sandbox = await make(fleet)
    listening = sandbox.egress._listening
    await fleet.kill("ia")
    assert listening.fileno() < 0
    sandbox = await make(fleet, "ib")
    listening = sandbox.egress._listening
    await fleet.pause("ib")
    assert listening.fileno() >= 0
    await fleet.resume("ib", 60, memory=False)
    assert listening.fileno() < 0
    assert sandbox.egress._listening.fileno() >= 0
    listening = sandbox.egress._listening
    sandbox.guest.die("by itself")
    await until(lambda: fleet.store.get("ib") is None)
    assert listening.fileno() < 0
