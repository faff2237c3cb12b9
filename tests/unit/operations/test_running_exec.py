"""One exec: why it ended, told only as far as it was seen."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sandbox_service.domain.errors import (
    BackendUnavailableError,
    OutcomeUnknownError,
    SandboxEndedError,
)
from sandbox_service.domain.execs import (
    Argv,
    Cause,
    ExecSpec,
    Fault,
    Program,
    ShellCommand,
    SourceCode,
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


@pytest.mark.parametrize(
    ("code", "signal", "cause", "fault"),
    [
        (0, "", Cause.EXIT, Fault.NONE),
        (1, "", Cause.EXIT, Fault.USER),
        (137, "", Cause.EXIT, Fault.USER),
        (None, "KILL", Cause.SIGNAL, Fault.USER),
        (None, "SEGV", Cause.SIGNAL, Fault.USER),
    ],
)
async def test_an_end_is_told_as_it_was_seen(bench, code, signal, cause, fault):
    """Out of memory is not claimed where only a KILL was seen."""
    bench.provider.next.ends(code, signal)

    exited = (await bench.run()).exited

    assert (exited.cause, exited.fault) == (cause, fault)
    assert (exited.exit_code, exited.signal) == (code, signal)


async def test_output_that_another_process_holds_open_is_told(bench):
    """What that one writes later is not read, and the caller has to know."""
    bench.provider.next.ends(0, still_open=True)

    assert (await bench.run()).exited.output_still_open


@pytest.mark.parametrize(
    "lose", [lambda it: it.fails(BackendUnavailableError("Lost.")), lambda it: it.stream_stops()]
)
async def test_a_stream_lost_mid_way_is_the_backends_and_ends_the_program(bench, lose):
    """What was read stays; whether the program still runs is unknown, so it is killed."""
    process = bench.provider.next
    process.on_kill = lambda: None
    process.writes(b"so far")
    process.fail_reconnect = BackendUnavailableError("Still lost.")
    lose(process)

    ran = await bench.run(reconnect_limit=timedelta(milliseconds=20))

    assert ran.output() == b"so far"
    assert (ran.exited.cause, ran.exited.fault) == (Cause.BACKEND, Fault.INFRA)
    assert ran.exited.exit_code is None
    assert ran.exited.message
    assert len(process.kills) == 1
    assert process.closed


async def test_a_sandbox_that_ends_under_its_program_is_lost(bench):
    """Nobody here ended it."""
    process = bench.provider.next
    process.fails(SandboxEndedError("Gone."))

    exited = (await bench.run()).exited

    assert (exited.cause, exited.fault) == (Cause.SANDBOX_LOST, Fault.INFRA)
    assert exited.exit_code is None


async def test_a_sandbox_that_a_caller_ends_is_not_called_lost(bench):
    """The one who destroyed it knows why its programs ended."""
    process = bench.provider.next
    running = await bench.execs.start(bench.record(), _SPEC)

    bench.execs.expect_loss("box")
    process.fails(SandboxEndedError("Gone."))
    exited = await running.wait()

    assert exited.cause is Cause.CANCELLED
    assert exited.fault is Fault.CALLER


async def test_a_program_that_runs_too_long_is_killed_and_told_so(bench):
    """A timeout is a result, with the program's own last word in it."""
    process = bench.provider.next
    process.survivors = (12, 13)

    exited = (await bench.run(timeout=timedelta(milliseconds=10))).exited

    assert (exited.cause, exited.fault) == (Cause.TIMEOUT, Fault.USER)
    assert exited.signal == "TERM"
    assert exited.survivors == (12, 13)
    assert len(process.kills) == 1


@pytest.mark.usefixtures("soon")
async def test_an_end_that_is_never_reported_does_not_hold_the_result(bench):
    """The program was killed; the backend's silence is no reason to wait for ever."""
    process = bench.provider.next
    process.on_kill = lambda: None
    process.writes(b"before")

    ran = await asyncio.wait_for(bench.run(timeout=timedelta(milliseconds=10)), 10)

    assert ran.exited.cause is Cause.TIMEOUT
    assert (ran.exited.exit_code, ran.exited.signal) == (None, "")
    assert ran.output() == b"before"
    assert process.closed


@pytest.mark.usefixtures("soon")
async def test_a_kill_that_fails_does_not_hold_the_result_either(bench):
    """There is nothing more that this service could do."""

    def fail() -> None:
        raise OutcomeUnknownError("Lost.")

    process = bench.provider.next
    process.on_kill = fail

    ran = await asyncio.wait_for(bench.run(timeout=timedelta(milliseconds=10)), 10)

    assert ran.exited.cause is Cause.TIMEOUT


@pytest.mark.usefixtures("soon")
async def test_what_a_killed_program_wrote_waits_for_its_slow_reader():
    """A kill ends the program, not the reading of what it wrote before."""
    bench = Bench(Limits(journal_bytes=10))
    process = bench.provider.next
    for number in range(10):
        process.writes(bytes([48 + number]) * 10)
    running = await bench.execs.start(bench.record(), _SPEC)
    reader = running.readers.enter()
    ending = asyncio.create_task(running.wait())

    running.stop(Cause.TIMEOUT)
    # Several times as long as an end that is not reported is waited for.
    await asyncio.wait({ending}, timeout=0.1)
    waited = not ending.done()
    output = b""
    while (frames := await reader.frames(1)) is not None:
        output += b"".join(getattr(frame, "data", b"") for frame in frames)
    exited = await ending

    assert waited
    assert output == b"".join(bytes([48 + number]) * 10 for number in range(10))
    assert (exited.cause, exited.signal) == (Cause.TIMEOUT, "TERM")


async def test_the_first_reason_for_stopping_stays(bench):
    """A caller that leaves because of a timeout did not cause it."""
    process = bench.provider.next
    process.on_kill = lambda: None
    running = await bench.execs.start(bench.record(), _SPEC)

    running.stop(Cause.TIMEOUT)
    running.stop(Cause.CANCELLED)
    await until(lambda: process.kills)
    process.ends(signal="KILL")
    exited = await running.wait()

    assert exited.cause is Cause.TIMEOUT
    assert len(process.kills) == 1


async def test_stopping_what_has_ended_does_nothing(bench):
    """A kill would reach whoever has the pid by then."""
    process = bench.provider.next
    process.ends(0)
    running = await bench.execs.start(bench.record(), _SPEC)
    await running.wait()

    running.stop(Cause.CANCELLED)

    assert process.kills == []
    assert running.exited is not None
    assert running.exited.cause is Cause.EXIT


async def test_input_is_written_whole_and_ended(bench):
    """A program that reads to the end of its input finds one."""
    process = bench.provider.next
    running = await bench.execs.start(bench.record(), ExecSpec(program=COMMAND, stdin=b"in\0put"))

    await until(lambda: process.stdin_ended)
    process.ends(0)
    await running.wait()

    assert process.stdin == b"in\0put"
    assert bench.provider.specs[0].stdin


@pytest.mark.parametrize("stdin", [b"", None], ids=["empty", "none"])
async def test_no_input_and_an_empty_one_are_not_the_same(bench, stdin):
    """Unset is not zero: without input the program has no pipe at all."""
    process = bench.provider.next
    running = await bench.execs.start(bench.record(), ExecSpec(program=COMMAND, stdin=stdin))
    if stdin is not None:
        await until(lambda: process.stdin_ended)
    process.ends(0)
    await running.wait()

    assert bench.provider.specs[0].stdin is (stdin is not None)
    assert process.stdin_ended is (stdin is not None)


async def test_input_that_nobody_reads_does_not_hold_back_the_end(bench):
    """The program ended without having read it all: its business."""
    process = bench.provider.next
    process.stdin_blocks = asyncio.Event()
    process.ends(0)

    ran = await asyncio.wait_for(bench.run(stdin=b"unread"), 5)

    assert ran.exited.cause is Cause.EXIT


async def test_a_longer_lifetime_lets_run_on_what_only_it_limited(bench):
    """The caller asked for no limit; the one that came with the sandbox has moved."""
    process = bench.provider.next
    running = await bench.execs.start(bench.record(left=timedelta(seconds=1)), _SPEC)

    bench.execs.lifetime_extended(bench.record(left=timedelta(hours=2)))
    await asyncio.wait({asyncio.create_task(running.wait())}, timeout=1.1)
    killed = list(process.kills)
    process.ends(0)
    exited = await running.wait()

    assert killed == []
    assert exited.cause is Cause.EXIT


async def test_a_longer_lifetime_does_not_move_a_timeout_that_the_caller_set(bench):
    """It was asked for, and is kept."""
    spec = ExecSpec(program=COMMAND, timeout=timedelta(milliseconds=30))
    running = await bench.execs.start(bench.record(), spec)

    bench.execs.lifetime_extended(bench.record(left=timedelta(hours=2)))
    exited = await asyncio.wait_for(running.wait(), 10)

    assert exited.cause is Cause.TIMEOUT


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        (ShellCommand("echo hi"), "echo hi"),
        (Argv(("echo", "two words")), "echo 'two words'"),
        (SourceCode("python", b"print(1)"), "python: print(1)"),
        (ShellCommand("x" * 1000), "x" * 256),
        (SourceCode("python", b"\xff" * 5), "python: " + "\ufffd" * 5),
    ],
)
async def test_a_list_shows_the_beginning_of_a_program(bench, program: Program, shown: str):
    """Enough to know it by, and never a page of code."""
    process = bench.provider.next
    running = await bench.execs.start(bench.record(), ExecSpec(program=program))

    (summary,) = bench.execs.running("box")
    process.ends(0)
    await running.wait()

    assert summary.program == shown
    assert summary.pid == process.pid
    assert bench.execs.running("box") == []


async def test_where_the_time_went_adds_up(bench):
    """Phases are what an operator looks at first when execs are slow."""
    process = bench.provider.next
    process.writes(b"x")
    process.ends(0)

    phases = (await bench.run()).exited.phases

    assert phases.first_byte is not None
    assert 0 <= phases.first_byte <= phases.ran
    assert min(phases.queued, phases.started, phases.drained) >= 0
