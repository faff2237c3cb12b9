"""Readers of one exec: many at once, gone and back, and what their absence means."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest

from sandbox_service.domain.errors import DrainingError
from sandbox_service.domain.exec_errors import (
    ExecIdReusedError,
    ExecLostError,
    ExecNotFoundError,
    PositionOutOfRangeError,
)
from sandbox_service.domain.execs import (
    Cause,
    ExecSpec,
    Exited,
    Fault,
    Gap,
    Output,
    Position,
    Positioned,
    Retention,
    Started,
    Stream,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.telemetry import names
from tests.support.calls import until
from tests.unit.operations.exec_bench import COMMAND, Bench, Ran

_GRACE = timedelta(milliseconds=30)


def _spec(**fields: object) -> ExecSpec:
    return ExecSpec(**{"program": COMMAND, "exec_id": "one", **fields})  # type: ignore[arg-type]


async def _left(bench: Bench, spec: ExecSpec, events: int = 2) -> list[Positioned]:
    """Start an exec, read so many events, and leave."""
    async with aclosing(bench.execs.run(bench.record(), spec)) as stream:
        return [await anext(stream) for _ in range(events)]


async def _attached(bench: Bench, position: Position | None = None) -> Ran:
    ran = Ran()
    async with aclosing(bench.execs.attach(bench.record(), "one", position)) as events:
        async for event in events:
            ran.events.append(event)
    return ran


@pytest.mark.parametrize("retention", [Retention.DETACHED, Retention.DURABLE])
async def test_who_need_not_be_read_lives_on(retention: Retention):
    """And a reader who comes back goes on where the first one left."""
    bench = Bench()
    process = bench.provider.next
    process.writes(b"first ")
    seen = await _left(bench, _spec(retention=retention, block=False))
    process.writes(b"second")
    process.ends(0)

    ran = await _attached(bench, seen[-1].position)

    assert process.kills == []
    assert ran.output() == b"second"
    assert ran.exited.cause is Cause.EXIT
    assert ran.exited.counts[Stream.STDOUT].produced_bytes == 12
    assert ran.exited.counts[Stream.STDOUT].delivered_bytes == 6


async def test_a_reader_who_comes_back_in_time_keeps_the_program_alive():
    """A tab that is loaded again is no reason to kill a build."""
    bench = Bench()
    process = bench.provider.next
    process.writes(b"x")
    await _left(bench, _spec(reader_grace=timedelta(seconds=30)))
    attached = asyncio.create_task(_attached(bench))
    await until(lambda: bench.execs.running("box")[0].readers == 1)
    process.ends(0)

    assert (await attached).output() == b"x"
    assert process.kills == []


async def test_a_program_that_nobody_reads_for_its_grace_is_ended_and_its_output_kept():
    """Who comes too late still learns what there was, and why it ended."""
    bench = Bench()
    process = bench.provider.next
    process.writes(b"last words")
    await _left(bench, _spec(reader_grace=_GRACE))
    await until(lambda: process.closed)

    ran = await _attached(bench)

    assert len(process.kills) == 1
    assert ran.output() == b"last words"
    assert (ran.exited.cause, ran.exited.fault) == (Cause.CANCELLED, Fault.CALLER)


async def test_an_end_by_itself_within_the_grace_stays_one():
    """The timer of an exec that ended means nothing."""
    bench = Bench()
    process = bench.provider.next
    process.writes(b"x")
    await _left(bench, _spec(reader_grace=_GRACE))
    process.ends(0)
    await until(lambda: process.closed)
    await asyncio.sleep(2 * _GRACE.total_seconds())

    assert (await _attached(bench)).exited.cause is Cause.EXIT
    assert process.kills == []


async def test_of_two_readers_one_may_leave():
    """The program is ended when the last one has gone, not the first."""
    bench = Bench()
    process = bench.provider.next
    process.writes(b"x")
    async with aclosing(bench.execs.run(bench.record(), _spec())) as first:
        await anext(first)
        second = asyncio.create_task(_attached(bench))
        await until(lambda: bench.execs.running("box")[0].readers == 2)
    process.writes(b"y")
    process.ends(0)
    ran = await second

    assert process.kills == []
    assert ran.output() == b"xy"


async def test_a_slow_reader_slows_no_other():
    """BLOCK waits for the fastest; the slow one is told what it missed."""
    bench = Bench(Limits(journal_bytes=100))
    process = bench.provider.next
    for number in range(50):
        process.writes(bytes([number]) * 50)
    process.ends(0)
    async with aclosing(bench.execs.run(bench.record(), _spec())) as slow:
        await anext(slow)
        fast = await asyncio.wait_for(_attached(bench), 5)
        rest = [it.event async for it in slow]

    missed = [it for it in rest if isinstance(it, Gap)]
    assert len(fast.output()) == 2500
    assert missed
    assert (
        sum(it.size or 0 for it in missed)
        + sum(len(it.data) for it in rest if isinstance(it, Output))
        == 2500
    )


async def test_each_event_tells_the_place_after_it():
    """Between two frames of one batch a connection may break."""
    bench = Bench()
    process = bench.provider.next
    running = await bench.execs.start(bench.record(), _spec(reader_grace=_GRACE))
    process.writes(b"out")
    process.writes(b"err", Stream.STDERR)
    process.writes(b"more")
    await until(lambda: running.journal.position == Position(7, 3))
    process.ends(0)

    ran = await _attached(bench)

    assert [it.position for it in ran.events if isinstance(it.event, Output)] == [
        Position(3, 0),
        Position(3, 3),
        Position(7, 3),
    ]
    seqs = [it.seq for it in ran.events]
    assert seqs == sorted(set(seqs))
    for at in range(len(ran.events) - 1):
        again = await _attached(bench, ran.events[at].position)
        rest = b"".join(
            it.event.data for it in ran.events[at + 1 :] if isinstance(it.event, Output)
        )
        assert (
            b"".join(it.event.data for it in again.events if isinstance(it.event, Output)) == rest
        )
        assert again.events[-1].seq == seqs[-1]


async def test_the_same_request_reads_along_from_the_beginning():
    """That is what makes a retry safe."""
    bench = Bench()
    process = bench.provider.next
    spec = _spec(request_digests={"program": "a"}, retention=Retention.DETACHED, block=False)
    process.writes(b"once")
    await _left(bench, spec)
    again = asyncio.create_task(anext(bench.execs.run(bench.record(), spec)))
    started = (await again).event
    process.ends(0)
    after = Ran([it async for it in bench.execs.run(bench.record(), spec)])

    assert isinstance(started, Started)
    assert started.reused
    assert after.output() == b"once"
    assert after.exited.cause is Cause.EXIT
    assert len(bench.provider.specs) == 1


async def test_a_retry_that_meets_the_start_waits_for_it():
    """Two calls at once make one program."""
    bench = Bench()
    process = bench.provider.next
    bench.provider.gate.clear()
    calls = [asyncio.create_task(_left(bench, _spec(), 1)) for _ in range(3)]
    await bench.provider.asked.wait()
    await asyncio.sleep(0)
    bench.provider.gate.set()
    started = [(await call)[0].event for call in calls]
    await until(lambda: process.closed)

    assert len(bench.provider.specs) == 1
    assert sorted(it.reused for it in started if isinstance(it, Started)) == [False, True, True]


async def test_a_first_caller_that_leaves_does_not_take_the_second_ones_program_along():
    """Whoever waits for the start counts as a reader."""
    bench = Bench()
    process = bench.provider.next
    bench.provider.gate.clear()
    first = asyncio.create_task(_left(bench, _spec(), 1))
    await bench.provider.asked.wait()
    second = asyncio.create_task(_attached(bench))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    bench.provider.gate.set()
    await until(lambda: bench.execs.running("box") and bench.execs.running("box")[0].readers)
    process.ends(0)

    assert (await second).exited.cause is Cause.EXIT
    assert process.kills == []


async def test_another_request_with_the_same_id_is_refused_with_what_differs():
    """Two callers chose one id, or one caller forgot."""
    bench = Bench()
    bench.provider.next.ends(0)
    await bench.run(exec_id="one", request_digests={"program": "a", "cwd": "b"})

    with pytest.raises(ExecIdReusedError) as caught:
        await bench.run(exec_id="one", request_digests={"program": "c"})

    assert caught.value.metadata["differs"] == "cwd,program"


async def test_a_result_outlives_its_output():
    """The reader of an ATTACHED exec lost its connection just before the last event."""
    bench = Bench()
    process = bench.provider.next
    process.writes(b"0123456789")
    process.ends(3)
    async with aclosing(bench.execs.run(bench.record(), _spec())) as events:
        await anext(events)
        await until(lambda: process.closed)

    ran = await _attached(bench)

    assert [type(it.event) for it in ran.events] == [Started, Gap, Exited]
    assert ran.exited.exit_code == 3
    assert bench.gauge(names.EXEC_JOURNAL_BYTES) == 0


@pytest.mark.parametrize(
    "limits",
    [Limits(ended_execs=1), Limits(ended_exec_retention=timedelta(milliseconds=20))],
    ids=["number", "time"],
)
async def test_what_ended_is_kept_only_so_long(limits: Limits):
    """A service that runs for weeks; and the id still is not run again."""
    bench = Bench(limits)
    for exec_id in ("one", "two"):
        process = bench.provider.next
        process.writes(b"x" * 1000)
        process.ends(0)
        await bench.run(exec_id=exec_id, retention=Retention.DETACHED, block=False)
    kept = 1 if limits.ended_execs == 1 else 0
    await until(lambda: bench.gauge(names.EXEC_JOURNAL_BYTES) == 1000 * kept)

    with pytest.raises(ExecLostError):
        await _attached(bench)
    with pytest.raises(ExecLostError):
        await bench.run(exec_id="one")
    assert len(bench.provider.specs) == 2


async def test_an_id_that_was_never_used_is_told_as_such():
    """Starting it is then safe."""
    with pytest.raises(ExecNotFoundError):
        await _attached(Bench())


async def test_a_position_in_the_future_is_refused():
    """Nothing would ever come for it in the right place."""
    bench = Bench()
    bench.provider.next.ends(0)
    await bench.run(exec_id="one", retention=Retention.DETACHED)

    with pytest.raises(PositionOutOfRangeError):
        await _attached(bench, Position(1, 0))


async def test_a_reader_says_how_long_a_silence_it_bears():
    """Proxies differ."""
    bench = Bench()
    process = bench.provider.next
    await bench.execs.start(bench.record(), _spec(retention=Retention.DETACHED))
    interval = timedelta(milliseconds=5)
    async with aclosing(bench.execs.attach(bench.record(), "one", None, interval)) as events:
        heard = [(await anext(events)).event for _ in range(3)]
        process.ends(0)

    assert isinstance(heard[0], Started)
    assert heard[0].heartbeat_interval == interval


async def test_a_drain_lets_what_is_durable_run_on():
    """Another instance serves it from now on; its readers are sent there."""
    bench = Bench()
    process = bench.provider.next
    process.writes(b"x")
    async with aclosing(
        bench.execs.run(bench.record(), _spec(retention=Retention.DURABLE, block=False))
    ) as events:
        await anext(events)
        await anext(events)
        waiting = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        await bench.execs.drain(5)
        with pytest.raises(DrainingError):
            await waiting
    await until(lambda: process.closed)

    assert process.kills == []


async def test_a_drain_ends_what_only_this_instance_could_serve():
    """And says whose doing it was."""
    bench = Bench()
    process = bench.provider.next
    running = await bench.execs.start(bench.record(), _spec(retention=Retention.DETACHED))

    await bench.execs.drain(5)
    exited = await running.wait()

    assert process.kills
    assert (exited.cause, exited.fault) == (Cause.BACKEND, Fault.INFRA)
    assert "shut down" in exited.message


async def test_a_blocked_program_that_is_abandoned_is_not_waited_for():
    """BLOCK with a grace: the writer that waits for room must not hang for ever."""
    bench = Bench(Limits(journal_bytes=10))
    process = bench.provider.next
    for _ in range(10):
        process.writes(b"x" * 10)
    await _left(bench, _spec(reader_grace=_GRACE), 1)

    await until(lambda: process.closed)

    assert (await _attached(bench)).exited.cause is Cause.CANCELLED


async def test_output_kept_for_all_together_is_bounded():
    """The first that ended gives its output up first."""
    bench = Bench(Limits(journals_bytes=250_000))
    for number in range(5):
        process = bench.provider.next
        for _ in range(10):
            process.writes(b"x" * 10_000)
        process.ends(0)
        await bench.run(exec_id=f"e{number}", retention=Retention.DETACHED, block=False)

    assert bench.gauge(names.EXEC_JOURNAL_BYTES) <= 300_000
    async with aclosing(bench.execs.attach(bench.record(), "e0")) as events:
        first = [it.event async for it in events]
    async with aclosing(bench.execs.attach(bench.record(), "e4")) as events:
        last = Ran([it async for it in events])
    assert [type(it) for it in first] == [Started, Gap, Exited]
    assert len(last.output()) == 100_000
