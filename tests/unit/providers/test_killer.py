"""A kill that cannot be carried out is told, and never waited for without end."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest
from packaging.version import Version

from sandbox_service.domain.execs import Argv
from sandbox_service.domain.ports import ProcessSpec
from sandbox_service.providers.e2b import process as module
from sandbox_service.providers.e2b.process import E2BProcess
from sandbox_service.providers.e2b.sdk import Code, ConnectError

_SPEC = ProcessSpec(
    marker="mark",
    program=Argv(("true",)),
    cwd="",
    env={},
    user="",
    stdin=False,
    backstop=None,
)


async def _silent(*_: object, **__: object):
    """A backend that takes the call and never answers, as the client library shows it."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as error:
        raise ConnectError(Code.CANCELED, "cancelled") from error
    yield


def _process(**calls: object) -> E2BProcess:
    connection = SimpleNamespace(
        sandbox=SimpleNamespace(_envd_version=Version("0.6.13")),
        processes=SimpleNamespace(**calls),
        killers=asyncio.Semaphore(1),
        check_health=None,
    )
    return E2BProcess(connection, _silent(), 42, _SPEC, b"n" * 24)


async def test_a_killer_that_gets_no_answer_leaves_the_kill_to_a_signal(monkeypatch):
    """The leader at least; and whoever waits is not left waiting."""
    monkeypatch.setattr(module, "_KILLER_TIMEOUT_S", 0.01)
    signals = []

    async def send_signal(request, **_: object):
        signals.append(request.signal)

    process = _process(start=_silent, send_signal=send_signal)

    left = await asyncio.wait_for(process.kill(timedelta(0)), 5)

    assert list(left) == [42]
    assert len(signals) == 1


async def test_a_cancelled_kill_is_cancelled_and_nothing_else():
    """A caller that stops waiting must see its own cancellation."""
    process = _process(start=_silent)
    killing = asyncio.create_task(process.kill(timedelta(0)))
    await asyncio.sleep(0)
    killing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await killing

    assert killing.cancelled()
