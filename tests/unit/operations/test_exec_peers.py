"""Input for an exec whose input another instance counts: passed on to it, once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.exec_errors import (
    ExecLostError,
    ExecOnOtherInstanceError,
    PositionOutOfRangeError,
)
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.processes import FoundExec
from sandbox_service.operations.execs.start import ThisInstance
from tests.support.scripted import ScriptedProcess
from tests.unit.operations.exec_bench import CALLER, Bench

_HERE = "here:1"
_THERE = "there:2"


class _Peers:
    """Another instance that answers as the test says.

    Attributes:
        answer: What it answers. None: it does not.
        asked: What it was asked.
    """

    def __init__(self, answer: int | SandboxError | None = None) -> None:
        self.answer = answer
        self.asked: list[tuple[object, ...]] = []

    async def send_input(
        self,
        address: str,
        caller: Caller,
        sandbox_id: str,
        exec_id: str,
        offset: int,
        data: bytes,
        *,
        end: bool,
    ) -> int | None:
        self.asked.append((address, caller, sandbox_id, exec_id, offset, data, end))
        if isinstance(self.answer, SandboxError):
            raise self.answer
        return self.answer

    async def aclose(self) -> None:
        pass


def _bench(peers: _Peers, owner: str) -> Bench:
    """An exec runs, and whoever reads it says to be at `owner`."""
    bench = Bench(instance=ThisInstance("me", _HERE), peers=peers)
    process = bench.provider.reached["one"] = ScriptedProcess()
    process.instance_address = owner
    return bench


async def _send(bench: Bench, caller: Caller = CALLER) -> int:
    return await bench.execs.send_input(caller, bench.record(), "one", 3, b"abc", end=True)


async def test_it_is_passed_on_and_the_answer_comes_back():
    """As it was asked, and for whom."""
    peers = _Peers(6)

    assert await _send(_bench(peers, _THERE)) == 6
    assert peers.asked == [(_THERE, CALLER, "box", "one", 3, b"abc", True)]


async def test_what_the_other_instance_refuses_is_refused():
    """In its own words."""
    refused = PositionOutOfRangeError("Go on at 1.", metadata={"actual": "1"})
    with pytest.raises(PositionOutOfRangeError) as caught:
        await _send(_bench(_Peers(refused), _THERE))

    assert caught.value is refused


async def test_an_instance_that_does_not_answer_is_named():
    """The caller may reach it from where it is."""
    with pytest.raises(ExecOnOtherInstanceError) as caught:
        await _send(_bench(_Peers(None), _THERE))

    assert caught.value.metadata == {"exec_id": "one", "instance": _THERE}


@pytest.mark.parametrize(
    ("owner", "forwarded"),
    [(_THERE, True), (_HERE, False), ("", False)],
    ids=["was passed on", "says to be here", "is nowhere"],
)
async def test_it_is_not_passed_on(owner: str, forwarded: bool):
    """A call that goes in circles would never end."""
    peers = _Peers(6)
    with pytest.raises(ExecOnOtherInstanceError):
        await _send(_bench(peers, owner), replace(CALLER, forwarded=forwarded))

    assert peers.asked == []


async def test_the_count_of_one_that_had_this_place_before_is_lost():
    """Nobody has it any more."""
    bench = _bench(_Peers(6), _HERE)
    bench.provider.found["one"] = FoundExec(
        exec_id="one",
        record={"address": _HERE},
        instance="before",
        spool_limit_bytes=0,
        pid=7,
        start_time=bench.clock.now(),
        alive=True,
    )
    with pytest.raises(ExecLostError):
        await _send(bench)
