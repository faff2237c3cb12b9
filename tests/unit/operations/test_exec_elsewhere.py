"""Execs that another instance reads: signalled and sized from here, and given input there."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sandbox_service.domain.exec_errors import (
    ExecLostError,
    ExecNotFoundError,
    ExecOnOtherInstanceError,
    NotATerminalError,
)
from sandbox_service.domain.execs import PtySize
from sandbox_service.domain.processes import FoundExec
from tests.support.scripted import ScriptedProcess
from tests.unit.operations.exec_bench import CALLER, Bench


def _kept(bench: Bench, **record: object) -> None:
    """Let the sandbox remember an exec of another instance, whose output is not spooled."""
    bench.provider.found["one"] = FoundExec(
        exec_id="one",
        record=record,
        instance="other",
        spool_limit_bytes=0,
        pid=7,
        start_time=bench.clock.now() - timedelta(seconds=1),
        alive=True,
    )


@pytest.fixture(params=["known", "of no known address", "of no record"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """An exec runs at another instance, of which more or less is known."""
    bench = Bench()
    if request.param != "of no record":
        address = {"address": "there:1"} if request.param == "known" else {}
        _kept(bench, **address)
    bench.provider.reached["one"] = ScriptedProcess()
    return bench


async def test_it_is_signalled(bench: Bench):
    """Whichever instance the call came to."""
    assert await bench.execs.signal(bench.record(), "one", "INT")

    assert bench.provider.reached["one"].signals == ["INT"]


async def test_its_terminal_is_sized(bench: Bench):
    """If it has one."""
    with pytest.raises(NotATerminalError):
        await bench.execs.resize(bench.record(), "one", PtySize(80, 24))
    bench.provider.reached["one"].has_terminal = True
    await bench.execs.resize(bench.record(), "one", PtySize(100, 30))

    assert bench.provider.reached["one"].sizes == [PtySize(100, 30)]


async def test_it_is_given_no_input_where_its_reader_is_not_known(bench: Bench):
    """How much it has been given is known only there: a retry could write bytes twice."""
    with pytest.raises(ExecOnOtherInstanceError) as caught:
        await bench.execs.send_input(CALLER, bench.record(), "one", 0, b"x", end=False)

    assert "instance" not in caught.value.metadata
    assert bench.provider.reached["one"].stdin == b""


async def test_what_does_not_run_is_told_as_what_it_is():
    """Nobody can act on it."""
    bench = Bench()
    with pytest.raises(ExecNotFoundError):
        await bench.execs.signal(bench.record(), "one", "INT")
    _kept(bench)
    with pytest.raises(ExecLostError):
        await bench.execs.signal(bench.record(), "one", "INT")
