"""Execs: what starts, what is refused, and what becomes of a program whose caller leaves."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest

from sandbox_service.domain.errors import (
    BackendUnavailableError,
    DiskFullError,
    DrainingError,
    InvalidPathError,
    LanguageNotSupportedError,
)
from sandbox_service.domain.exec_errors import ExecIdReusedError, TooManyExecsError
from sandbox_service.domain.execs import (
    Cause,
    ExecSpec,
    Exited,
    Heartbeat,
    Output,
    SourceCode,
    Started,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.telemetry import names
from tests.support.calls import until
from tests.unit.operations.exec_bench import COMMAND, Bench

_SPEC = ExecSpec(program=COMMAND)


async def test_the_first_event_tells_what_the_program_runs_with():
    """Unset is filled in, and said."""
    bench = Bench(Limits(kill_grace=timedelta(seconds=2)))
    bench.provider.next.ends(0)

    ran = await bench.run(timeout=timedelta(minutes=5))

    started = ran.events[0].event
    assert isinstance(started, Started)
    assert started.pid == 4711
    assert started.exec_id
    assert started.timeout == timedelta(minutes=5)
    assert not started.timeout_clamped
    assert started.kill_grace == timedelta(seconds=2)
    assert started.heartbeat_interval == bench.limits.heartbeat_interval
    assert ran.kinds == [Started, Exited]


async def test_positions_follow_each_stream():
    """An event's position is where a reader would go on after it."""
    bench = Bench()
    process = bench.provider.next
    process.writes(b"four")
    process.ends(0)

    ran = await bench.run()

    output = next(it for it in ran.events if isinstance(it.event, Output))
    assert output.event.offset == 0
    assert (output.position.stdout_offset, output.position.stderr_offset) == (4, 0)
    assert ran.events[-1].position == output.position
    assert ran.output() == b"four"


async def test_a_silent_program_is_said_to_be_alive():
    """Who hears nothing for longer than the interval may take the stream for broken."""
    bench = Bench()
    process = bench.provider.next
    spec = ExecSpec(program=COMMAND, heartbeat_interval=timedelta(milliseconds=5))

    async with aclosing(bench.execs.run(bench.record(), spec)) as events:
        heard = [type((await anext(events)).event) for _ in range(3)]
        process.ends(0)
        rest = [type(it.event) async for it in events]

    assert heard == [Started, Heartbeat, Heartbeat]
    assert rest[-1] is Exited


async def test_a_timeout_beyond_the_lifetime_is_clamped_and_said():
    """The sandbox ends before; promising more would be a lie."""
    bench = Bench()
    bench.provider.next.ends(0)
    record = bench.record(left=timedelta(minutes=1))
    spec = ExecSpec(program=COMMAND, timeout=timedelta(hours=1))

    running = await bench.execs.start(record, spec)
    await running.wait()

    assert running.started.timeout == timedelta(minutes=1)
    assert running.started.timeout_clamped


@pytest.mark.parametrize("timeout", [None, timedelta(seconds=10)], ids=["unset", "set"])
async def test_the_backend_is_only_told_a_limit_that_the_caller_set(timeout: timedelta | None):
    """A lifetime may grow; a limit given to the backend cannot."""
    bench = Bench()
    bench.provider.next.ends(0)

    await bench.run(timeout=timeout, kill_grace=timedelta(seconds=3))

    (spec,) = bench.provider.specs
    if timeout is None:
        assert spec.backstop is None
    else:
        assert spec.backstop is not None
        assert spec.backstop > timeout + timedelta(seconds=3)


async def test_each_exec_carries_a_mark_of_its_own():
    """By it all its processes are found, and nobody else's."""
    bench = Bench()
    for _ in range(2):
        bench.provider.next.ends(0)
        await bench.run()

    first, second = bench.provider.specs
    assert first.marker
    assert first.marker != second.marker


@pytest.mark.parametrize("while_running", [True, False], ids=["runs", "ran"])
async def test_an_exec_id_is_never_run_twice(*, while_running: bool):
    """That is what makes a retry safe."""
    bench = Bench()
    process = bench.provider.next
    running = await bench.execs.start(bench.record(), ExecSpec(program=COMMAND, exec_id="once"))
    if not while_running:
        process.ends(0)
        await running.wait()

    with pytest.raises(ExecIdReusedError) as caught:
        await bench.execs.start(bench.record(), ExecSpec(program=COMMAND, exec_id="once"))
    running.stop(Cause.CANCELLED)
    await running.wait()

    assert caught.value.metadata == {"sandbox_id": "box", "exec_id": "once"}
    assert len(bench.provider.specs) == 1


async def test_an_exec_that_never_ran_gives_its_id_and_place_back():
    """The caller may repeat the call unchanged: nothing happened."""
    bench = Bench(Limits(execs=1, execs_per_sandbox=1))
    spec = ExecSpec(program=COMMAND, exec_id="again")
    bench.provider.fail_start = BackendUnavailableError("Not now.")
    with pytest.raises(BackendUnavailableError):
        await bench.execs.start(bench.record(), spec)
    bench.provider.fail_start = None
    bench.provider.next.ends(0)

    running = await bench.execs.start(bench.record(), spec)
    await running.wait()

    assert running.started.exec_id == "again"


@pytest.mark.parametrize(
    "limits",
    [Limits(execs=2), Limits(execs_per_sandbox=2)],
    ids=["of the process", "of the sandbox"],
)
async def test_more_execs_than_may_run_at_once_are_refused(limits: Limits):
    """With when to come back; and a place is free as soon as one has ended."""
    bench = Bench(limits)
    processes = []
    for _ in range(2):
        processes.append(bench.provider.next)
        await bench.execs.start(bench.record(), _SPEC)

    with pytest.raises(TooManyExecsError):
        bench.execs.check(bench.record(), _SPEC)
    with pytest.raises(TooManyExecsError) as caught:
        await bench.execs.start(bench.record(), _SPEC)
    processes[0].ends(0)
    await until(lambda: len(bench.execs.running("box")) == 1)
    bench.provider.next.ends(0)
    after = await bench.execs.start(bench.record(), _SPEC)
    processes[1].ends(0)
    await after.wait()

    assert caught.value.retry_after is not None


@pytest.mark.parametrize(
    "limits",
    [Limits(execs=2), Limits(execs_per_sandbox=2)],
    ids=["of the process", "of the sandbox"],
)
async def test_execs_that_are_still_starting_count_too(limits: Limits):
    """A limit that a burst can pass is none."""
    bench = Bench(limits)
    bench.provider.gate.clear()
    starts = [asyncio.create_task(bench.execs.start(bench.record(), _SPEC)) for _ in range(5)]
    await bench.provider.asked.wait()

    done, _ = await asyncio.wait(starts, timeout=0.05)
    bench.provider.gate.set()
    await asyncio.wait(starts)
    await bench.execs.drain(5)

    refused = [it for it in done if isinstance(it.exception(), TooManyExecsError)]
    assert len(refused) == 3


async def test_a_caller_that_leaves_takes_its_program_along():
    """Nothing is left running that nobody reads."""
    bench = Bench()
    process = bench.provider.next
    spec = ExecSpec(program=COMMAND, kill_grace=timedelta(seconds=7))

    async with aclosing(bench.execs.run(bench.record(), spec)) as events:
        await anext(events)
    await until(lambda: process.closed)

    assert process.kills == [timedelta(seconds=7)]
    assert bench.execs.running("box") == []
    assert bench.gauge(names.EXECS_RUNNING) == 0


async def test_a_caller_that_leaves_a_flood_leaves_no_memory_behind():
    """The program wrote more than was read; its output is dropped with its reader."""
    bench = Bench(Limits(journal_bytes=1000))
    process = bench.provider.next
    for _ in range(50):
        process.writes(b"x" * 400)

    async with aclosing(bench.execs.run(bench.record(), _SPEC)) as events:
        await anext(events)
        await anext(events)
    await until(lambda: process.closed)

    assert bench.gauge(names.EXEC_JOURNAL_BYTES) == 0


async def test_leaving_after_the_end_but_before_the_last_byte_leaves_no_memory_behind():
    """The program has ended by itself: there is nothing to kill, but something to drop."""
    bench = Bench()
    process = bench.provider.next
    process.writes(b"x" * 300_000)
    process.writes(b"y" * 300_000)
    process.ends(0)

    async with aclosing(bench.execs.run(bench.record(), _SPEC)) as events:
        await anext(events)
        await until(lambda: process.closed)
        await anext(events)

    assert bench.gauge(names.EXEC_JOURNAL_BYTES) == 0


async def test_a_caller_that_leaves_while_the_program_starts_leaves_none_running():
    """The backend may be starting it at that very moment: whose pid nobody knows, nobody ends."""
    bench = Bench()
    process = bench.provider.next
    bench.provider.gate.clear()
    starting = asyncio.create_task(bench.execs.start(bench.record(), _SPEC))
    await bench.provider.asked.wait()

    starting.cancel()
    await asyncio.wait({starting})
    bench.provider.gate.set()
    await until(lambda: process.closed)

    assert starting.cancelled()
    assert len(process.kills) == 1
    assert bench.execs.running("box") == []


async def test_a_drain_refuses_what_is_new_and_ends_what_runs():
    """Another instance answers the repeated call; nothing is left behind here."""
    bench = Bench()
    process = bench.provider.next
    running = await bench.execs.start(bench.record(), _SPEC)

    await bench.execs.drain(5)
    with pytest.raises(DrainingError):
        await bench.execs.start(bench.record(), _SPEC)

    assert process.kills
    assert running.exited is not None
    assert running.exited.cause is Cause.CANCELLED


async def test_a_drain_waits_for_what_is_just_starting():
    """It would otherwise start after everybody has gone."""
    bench = Bench()
    process = bench.provider.next
    bench.provider.gate.clear()
    starting = asyncio.create_task(bench.execs.start(bench.record(), _SPEC))
    await bench.provider.asked.wait()

    draining = asyncio.create_task(bench.execs.drain(30))
    await asyncio.wait({draining}, timeout=0.02)
    waited = not draining.done()
    bench.provider.gate.set()
    await asyncio.wait_for(draining, 5)

    assert waited
    assert process.kills
    assert (await starting).exited is not None


async def test_a_drain_gives_up_on_a_program_whose_end_is_never_told():
    """The process has to end, whatever the backend does."""
    bench = Bench()
    process = bench.provider.next
    process.on_kill = lambda: None
    running = await bench.execs.start(bench.record(), _SPEC)

    await asyncio.wait_for(bench.execs.drain(0.02), 5)
    process.ends(signal="KILL")
    await running.wait()

    assert process.kills


async def test_source_code_is_written_before_it_is_run():
    """To a file with the language's ending, in a folder of its own, as the user who runs it."""
    bench = Bench()
    bench.provider.next.ends(0)

    await bench.run(program=SourceCode("python", b"print(1)", ("a",)))

    (path,) = bench.provider.files
    (spec,) = bench.provider.specs
    assert path.endswith(".py")
    assert bench.provider.files[path] == b"print(1)"
    assert spec.source_path == path
    assert spec.language is not None
    assert spec.language.name == "python"


async def test_source_code_that_cannot_be_written_takes_no_place():
    """The caller is told, and may run something else."""
    bench = Bench(Limits(execs=1))
    bench.provider.fail_write = DiskFullError("Full.")

    with pytest.raises(DiskFullError):
        await bench.run(program=SourceCode("python", b"print(1)"))
    bench.provider.next.ends(0)
    ran = await bench.run()

    assert ran.exited.exit_code == 0


async def test_a_language_that_the_template_lacks_is_refused_by_name():
    """Before anything is written or started."""
    bench = Bench()

    with pytest.raises(LanguageNotSupportedError) as caught:
        await bench.run(program=SourceCode("cobol", b""))

    assert caught.value.metadata == {"language": "cobol", "template": "base"}
    assert bench.provider.files == {}


async def test_a_relative_folder_is_refused():
    """It would depend on where the backend happens to begin."""
    with pytest.raises(InvalidPathError):
        await Bench().run(cwd="relative/folder")


async def test_run_to_end_keeps_the_last_of_the_output():
    """A failed setup step shows what it said last."""
    bench = Bench()
    process = bench.provider.next
    for number in range(10):
        process.writes(bytes([48 + number]) * 10)
    process.ends(3)

    exited, tail = await bench.execs.run_to_end(bench.record(), _SPEC, 15)

    assert exited.exit_code == 3
    assert tail == b"8" * 5 + b"9" * 10
