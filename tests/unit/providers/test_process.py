"""What is left to do in a sandbox that cannot do what it is asked, or gives no answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from packaging.version import Version

from sandbox_service.domain.errors import BackendUnavailableError
from sandbox_service.domain.exec_errors import TooManyExecsError
from sandbox_service.domain.execs import Stream
from sandbox_service.providers.e2b import envd
from sandbox_service.providers.e2b.killer import TreeKiller
from sandbox_service.providers.e2b.process import E2BProcess
from sandbox_service.providers.e2b.sdk import Code, ConnectError, process_pb
from sandbox_service.providers.e2b.trailers import TrailerScanner


async def _silent(*_: object, **__: object):
    """A backend that takes the call and never answers, as the client library shows it."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as error:
        raise ConnectError(Code.CANCELED, "cancelled") from error
    yield


class Connection(SimpleNamespace):
    """A connection on which each call does what the test says."""

    check_health = None
    sandbox = SimpleNamespace(_envd_version=Version("0.6.13"))

    def __init__(self, timeout_s: float = 20, **calls: object) -> None:
        super().__init__(processes=SimpleNamespace(**calls))
        run = partial(envd.run_bash, self, user="somebody", timeout_s=timeout_s)
        self.killers = {"somebody": TreeKiller(run)}


def _process(connection: Connection) -> E2BProcess:
    scanners = {Stream.STDOUT: TrailerScanner(b"n" * 24)}
    return E2BProcess(connection, 42, "mark", "somebody", scanners)


def _signals(into: list[process_pb.Signal]):
    async def send_signal(request: process_pb.SendSignalRequest, **_: object) -> None:
        into.append(request.signal)

    return send_signal


async def test_a_killer_that_gets_no_answer_leaves_the_kill_to_a_signal():
    """The leader at least; and whoever waits is not left waiting."""
    sent: list[process_pb.Signal] = []
    process = _process(Connection(0.01, start=_silent, send_signal=_signals(sent)))

    left = await asyncio.wait_for(process.kill(timedelta(0)), 5)

    assert list(left) == [42]
    assert sent == [process_pb.Signal.SIGKILL]


async def test_a_cancelled_kill_is_cancelled_and_nothing_else():
    """A caller that stops waiting must see its own cancellation."""
    process = _process(Connection(0.5, start=_silent))
    killing = asyncio.create_task(process.kill(timedelta(0)))
    await asyncio.sleep(0)
    killing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await killing

    assert killing.cancelled()


async def _full(*_: object, **__: object):
    raise ConnectError(Code.RESOURCE_EXHAUSTED, "fork: retry")
    yield


@pytest.mark.parametrize(
    ("name", "number"), [("TERM", process_pb.Signal.SIGTERM), ("KILL", process_pb.Signal.SIGKILL)]
)
async def test_a_sandbox_that_cannot_fork_still_signals_the_leader(
    name: str, number: process_pb.Signal
):
    """With the two signals that the backend itself knows."""
    sent: list[process_pb.Signal] = []
    process = _process(Connection(start=_full, send_signal=_signals(sent)))

    assert await process.signal(name)
    assert sent == [number]


async def test_any_other_signal_is_not_made_one_of_those():
    """A USR1 that became a TERM would end the program."""
    sent: list[process_pb.Signal] = []
    process = _process(Connection(start=_full, send_signal=_signals(sent)))

    with pytest.raises((BackendUnavailableError, TooManyExecsError)):
        await process.signal("USR1")

    assert sent == []
