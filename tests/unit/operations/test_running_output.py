"""How much a program may write, and what waits for whom."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from sandbox_service.domain.execs import (
    Cause,
    ExecSpec,
    Fault,
    OnOutputLimit,
    OutputCount,
    Stream,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.operations.execs import stop as exec_stop
from tests.support.calls import until
from tests.unit.operations.exec_bench import COMMAND, Bench

_SPEC = ExecSpec(program=COMMAND)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend has little time to report an end after a kill."""
    monkeypatch.setattr(exec_stop, "_END_AFTER_KILL_S", 0.02)


async def test_output_beyond_the_limit_is_counted_but_not_kept(bench):
    """TRUNCATE lets the program end by itself, and says how much there was."""
    process = bench.provider.next
    process.writes(b"1234")
    process.writes(b"abcd", Stream.STDERR)
    process.writes(b"5678")
    process.ends(0)

    ran = await bench.run(output_limit_bytes=6)

    assert ran.output() == b"1234"
    assert ran.output(Stream.STDERR) == b"ab"
    assert ran.exited.truncated
    assert ran.exited.cause is Cause.EXIT
    assert ran.exited.counts == {
        Stream.STDOUT: OutputCount(8, 4),
        Stream.STDERR: OutputCount(4, 2),
    }


async def test_output_of_exactly_the_limit_is_whole(bench):
    """The limit is what may be written, not one byte less."""
    process = bench.provider.next
    process.writes(b"123456")
    process.ends(0)

    ran = await bench.run(output_limit_bytes=6, on_output_limit=OnOutputLimit.KILL)

    assert ran.output() == b"123456"
    assert not ran.exited.truncated
    assert ran.exited.cause is Cause.EXIT


async def test_output_beyond_the_limit_can_end_the_program(bench):
    """KILL: a program that floods for ever stops at its first byte too many."""
    process = bench.provider.next
    process.writes(b"1234567")

    ran = await bench.run(output_limit_bytes=6, on_output_limit=OnOutputLimit.KILL)

    assert ran.output() == b"123456"
    assert ran.exited.truncated
    assert (ran.exited.cause, ran.exited.fault) == (Cause.OUTPUT_LIMIT, Fault.USER)
    assert len(process.kills) == 1


async def test_a_full_journal_makes_the_program_wait():
    """BLOCK: not asking for the next event is what stops it."""
    bench = Bench(Limits(journal_bytes=100))
    process = bench.provider.next
    for _ in range(100):
        process.writes(b"x" * 50)
    process.ends(0)
    running = await bench.execs.start(bench.record(), _SPEC)
    reader = running.journal.reader()

    await until(lambda: running.journal.full)
    taken = process.taken
    size = 0
    while (frames := await reader.frames(1)) is not None:
        size += sum(len(getattr(frame, "data", b"")) for frame in frames)
    await running.wait()

    assert taken <= 4
    assert size == 5000


async def test_a_journal_that_drops_never_makes_the_program_wait():
    """GAP: the program goes on at its own speed, and the reader is told what it missed."""
    bench = Bench(Limits(journal_bytes=100))
    process = bench.provider.next
    for _ in range(100):
        process.writes(b"x" * 50)
    process.ends(0)
    spec = ExecSpec(program=COMMAND, block=False)

    async with aclosing(bench.execs.run(bench.record(), spec)) as events:
        await anext(events)
        await until(lambda: process.closed)
        rest = [it.event async for it in events]

    assert [type(it).__name__ for it in rest] == ["Gap", "Output", "Exited"]
    assert rest[0].size + len(rest[1].data) == 5000
    assert rest[-1].counts[Stream.STDOUT].produced_bytes == 5000
