"""Contact with a program that breaks, comes back, or does not."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest

from sandbox_service.domain.errors import BackendUnavailableError, SandboxEndedError
from sandbox_service.domain.exec_errors import (
    ExecLostError,
)
from sandbox_service.domain.execs import (
    Cause,
    ExecSpec,
    Gap,
    GapCause,
    Heartbeat,
    Output,
    Position,
    ProcessUsage,
    Started,
    Stream,
)
from sandbox_service.operations.execs import reconnecting
from sandbox_service.operations.execs import running as running_exec
from sandbox_service.operations.execs import stop as exec_stop
from tests.support.calls import until
from tests.unit.operations.exec_bench import COMMAND, Bench

_LOST = BackendUnavailableError("Lost.")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in seconds takes milliseconds."""
    monkeypatch.setattr(reconnecting, "_PAUSE_S", 0.001)
    monkeypatch.setattr(reconnecting, "_PAUSE_MAX_S", 0.005)
    monkeypatch.setattr(reconnecting, "_LOOK_S", 0.01)
    monkeypatch.setattr(running_exec, "_LAST_WORDS_S", 0.01)
    monkeypatch.setattr(exec_stop, "_KILL_AGAIN_S", 0.005)


async def test_a_stream_that_breaks_is_made_anew_from_where_it_was():
    """The caller sees a beat that says so, and then goes on."""
    bench = Bench()
    process = bench.provider.next
    process.fail_reconnect = _LOST
    async with aclosing(bench.execs.run(bench.record(), ExecSpec(program=COMMAND))) as events:
        started = await anext(events)
        process.writes(b"before")
        process.writes(b"err", Stream.STDERR)
        before = [await anext(events) for _ in range(2)]
        process.fails(_LOST)
        broken = await anext(events)
        process.fail_reconnect = None
        mended = await anext(events)
        process.writes(b"after")
        process.ends(0)
        rest = [it.event async for it in events]

    assert isinstance(started.event, Started)
    assert [it.position for it in before] == [Position(6, 0), Position(6, 3)]
    assert broken.event == Heartbeat(bench.clock.now())
    assert mended.event == Heartbeat()
    assert process.reconnects[-1] == Position(6, 3)
    assert rest[0] == Output(Stream.STDOUT, b"after", 6)
    assert rest[-1].cause is Cause.EXIT
    assert process.kills == []


async def test_what_was_lost_meanwhile_is_told():
    """Its size is not known, and offsets go on without it."""
    bench = Bench()
    process = bench.provider.next
    process.writes(b"before")
    process.stream_stops()
    process.gap(Stream.STDOUT)
    process.gap(Stream.STDERR, spool_limit=True)
    process.writes(b"after")
    process.ends(0)

    ran = await bench.run()

    gaps = [it.event for it in ran.events if isinstance(it.event, Gap)]
    assert gaps == [
        Gap(Stream.STDOUT, 6, None, GapCause.DISCONNECTED),
        Gap(Stream.STDERR, 0, None, GapCause.SPOOL_LIMIT),
    ]
    assert ran.output() == b"beforeafter"
    assert ran.events[-1].position == Position(11, 0)


async def test_contact_that_does_not_come_back_ends_as_the_backends():
    """After the limit that the caller set, and not before."""
    bench = Bench()
    process = bench.provider.next
    process.fail_reconnect = _LOST
    process.fails(_LOST)
    loop = asyncio.get_running_loop()
    began = loop.time()

    exited = (await bench.run(reconnect_limit=timedelta(milliseconds=60))).exited

    assert loop.time() - began >= 0.06
    assert len(process.reconnects) > 2
    assert exited.cause is Cause.BACKEND


async def test_a_sandbox_that_is_gone_is_not_waited_for():
    """The backend says so when it is asked, though the stream only broke."""
    bench = Bench()
    process = bench.provider.next
    process.fail_reconnect = _LOST
    bench.provider.gone = True
    process.fails(_LOST)

    exited = (await asyncio.wait_for(bench.run(), 5)).exited

    assert exited.cause is Cause.SANDBOX_LOST


async def test_a_reconnect_that_finds_no_sandbox_ends_at_once():
    """Nobody here ended it."""
    bench = Bench()
    process = bench.provider.next
    process.fail_reconnect = SandboxEndedError("Gone.")
    process.fails(_LOST)

    assert (await bench.run()).exited.cause is Cause.SANDBOX_LOST


async def test_an_end_that_nobody_saw_is_not_made_up():
    """The program ended while contact was lost."""
    bench = Bench()
    process = bench.provider.next
    process.fail_reconnect = ExecLostError("Ended, nobody knows how.")
    process.fails(_LOST)

    exited = (await bench.run()).exited

    assert exited.cause is Cause.BACKEND
    assert exited.exit_code is None


@pytest.mark.parametrize("expected", [False, True])
async def test_a_sandbox_that_ends_while_its_stream_hangs_is_told(expected):
    """A machine that is switched off closes no connection."""
    bench = Bench()
    running = await bench.execs.start(bench.record(), ExecSpec(program=COMMAND))
    if expected:
        bench.execs.expect_loss("box")

    bench.execs.forget("box")
    exited = await asyncio.wait_for(running.wait(), 5)

    assert exited.cause is (Cause.CANCELLED if expected else Cause.SANDBOX_LOST)


async def test_a_kill_waits_for_contact():
    """A timeout that comes while the backend is away still ends the program."""
    bench = Bench()
    process = bench.provider.next
    process.fail_reconnect = _LOST

    def kill() -> None:
        if process.fail_reconnect is not None:
            raise _LOST
        process.ends(signal="TERM")

    process.on_kill = kill
    running = await bench.execs.start(
        bench.record(), ExecSpec(program=COMMAND, timeout=timedelta(milliseconds=20))
    )
    process.fails(_LOST)
    await until(lambda: len(process.kills) > 1)
    process.fail_reconnect = None

    exited = await asyncio.wait_for(running.wait(), 5)

    assert (exited.cause, exited.signal) == (Cause.TIMEOUT, "TERM")


async def test_out_of_memory_is_told_when_it_was_seen():
    """By the sandbox's own count of it."""
    bench = Bench()
    process = bench.provider.next
    process.used = ProcessUsage(timedelta(seconds=2), 1 << 20)
    process.writes(b"x")
    process.ends(137, oom=True)

    exited = (await bench.run()).exited

    assert exited.cause is Cause.OOM
    assert exited.exit_code == 137
    assert exited.usage == ProcessUsage(timedelta(seconds=2), 1 << 20)
