"""Input that the sandbox counts: right whoever writes, and after any restart."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.domain.errors import DrainingError
from sandbox_service.domain.exec_errors import (
    ExecNotRunningError,
    InputClosedError,
    PositionOutOfRangeError,
)
from sandbox_service.domain.execs import ExecSpec, Retention
from sandbox_service.domain.processes import FoundExec
from tests.support.calls import until
from tests.support.scripted import ScriptedProcess
from tests.unit.operations.exec_bench import CALLER, COMMAND, Bench


class _Running:
    """A durable exec of which this instance learns only now."""

    def __init__(self, given: bytes = b"", **record: object) -> None:
        self.bench = Bench()
        self.process = self.bench.provider.next
        self.process.counts_input = True
        self.process.stdin = given
        self.bench.provider.found["one"] = FoundExec(
            exec_id="one",
            record={"stdin_open": True, **record},
            instance="before",
            spool_limit_bytes=1000,
            pid=7,
            start_time=self.bench.clock.now(),
            alive=True,
        )

    async def send(self, offset: int, data: bytes = b"", *, end: bool = False) -> int:
        return await self.bench.execs.send_input(
            CALLER, self.bench.record(), "one", offset, data, end=end
        )

    async def ended(self) -> None:
        self.process.stdin_closed = True
        self.process.ends(0)
        await until(lambda: self.process.closed)


async def test_it_goes_on_where_another_instance_came_to():
    """How far that was, the sandbox knows."""
    it = _Running(b"first ")

    assert await it.send(0, b"first second") == 12
    assert await it.send(12, b"!", end=True) == 13
    assert it.process.stdin == b"first second!"
    assert it.process.stdin_ended


async def test_what_another_writes_meanwhile_counts_too():
    """The count is never taken from memory."""
    it = _Running()
    await it.send(0, b"mine")
    it.process.stdin += b" its"

    assert await it.send(4, b" its") == 8
    assert await it.send(8, b"!") == 9


async def test_a_hole_is_refused_and_the_next_offset_told():
    """Whoever left it."""
    it = _Running(b"abc")
    with pytest.raises(PositionOutOfRangeError) as caught:
        await it.send(5, b"x")

    assert caught.value.metadata["actual"] == "3"
    assert it.process.stdin == b"abc"


async def test_what_follows_the_end_is_refused():
    """Whoever sent the end."""
    it = _Running(b"abc")
    it.process.stdin_ended = True

    assert await it.send(0, b"abc", end=True) == 3
    with pytest.raises(InputClosedError):
        await it.send(3, b"more")


async def test_a_program_without_an_input_has_none():
    """As everywhere."""
    with pytest.raises(InputClosedError):
        await _Running(stdin_open=False).send(0, b"x")


async def test_what_was_given_is_known_after_the_end_and_nothing_more_is_given():
    """The answer may have been lost together with who should have given it."""
    it = _Running(b"quit")
    await it.send(4)
    await it.ended()

    assert await it.send(0, b"quit") == 4
    for offset, data, end in ((0, b"quit now", False), (4, b"x", False), (0, b"quit", True)):
        with pytest.raises(ExecNotRunningError):
            await it.send(offset, data, end=end)
    assert it.process.stdin == b"quit"


async def test_the_end_that_was_sent_is_known_after_the_program_has_ended():
    """A repeated last call is no error."""
    it = _Running()
    it.process.stdin_ended = True
    await it.send(0)
    it.process.ends(0)
    await until(lambda: it.process.closed)

    assert await it.send(0, end=True) == 0


async def test_a_program_that_ends_frees_who_waits_to_write():
    """Nobody will ever read it."""
    it = _Running()
    await it.send(0)
    it.process.stdin_blocks = asyncio.Event()
    sending = asyncio.create_task(it.send(0, b"abc"))
    await asyncio.sleep(0)
    it.process.ends(0)

    with pytest.raises(ExecNotRunningError):
        await asyncio.wait_for(sending, 5)


async def test_an_instance_that_shuts_down_does_not_say_that_the_program_has_ended():
    """It goes on, and the same call succeeds elsewhere."""
    it = _Running()
    await it.send(0)
    it.process.stdin_blocks = asyncio.Event()
    sending = asyncio.create_task(it.send(0, b"abc"))
    await asyncio.sleep(0)
    await it.bench.execs.drain(1.0)

    with pytest.raises(DrainingError):
        await asyncio.wait_for(sending, 5)


async def test_a_repeated_exec_brings_the_input_that_came_with_it():
    """Its first instance may have died before it had written all."""
    it = _Running(b"begun and", stdin_open=False)
    spec = ExecSpec(
        program=COMMAND, exec_id="one", retention=Retention.DURABLE, stdin=b"begun and finished"
    )
    events = it.bench.execs.run(it.bench.record(), spec)
    await anext(events)
    await until(lambda: it.process.stdin_ended)
    await events.aclose()

    assert it.process.stdin == b"begun and finished"


@pytest.mark.parametrize("durable", [True, False])
async def test_only_a_durable_programs_input_is_counted_in_its_sandbox(durable: bool):
    """Any other is written to directly, which is faster."""
    bench = Bench()
    process: ScriptedProcess = bench.provider.next
    process.counts_input = durable
    put: list[bytes] = []

    async def write(data: bytes) -> None:
        put.append(data)

    process.write_stdin = write  # type: ignore[method-assign]
    await bench.execs.start(
        bench.record(), ExecSpec(program=COMMAND, exec_id="one", stdin_open=True)
    )
    await bench.execs.send_input(CALLER, bench.record(), "one", 0, b"abc", end=False)

    assert (process.stdin, put) == ((b"abc", []) if durable else (b"", [b"abc"]))
