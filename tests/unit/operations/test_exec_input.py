"""Input by offset: each byte is written once, whatever is repeated."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.domain.errors import BackendUnavailableError
from sandbox_service.domain.exec_errors import (
    ExecNotRunningError,
    InputClosedError,
    NotATerminalError,
    PositionOutOfRangeError,
)
from sandbox_service.domain.execs import Cause, ExecSpec, Fault, PtySize, Stream
from tests.support.calls import until
from tests.support.scripted import ScriptedProcess
from tests.unit.operations.exec_bench import CALLER, COMMAND, Bench


class _Running:
    """An exec whose input is open."""

    def __init__(self, bench: Bench, process: ScriptedProcess) -> None:
        self.bench = bench
        self.process = process

    async def send(self, offset: int, data: bytes = b"", *, end: bool = False) -> int:
        return await self.bench.execs.send_input(
            CALLER, self.bench.record(), "one", offset, data, end=end
        )


async def _started(**fields: object) -> _Running:
    bench = Bench()
    process = bench.provider.next
    options = {"program": COMMAND, "exec_id": "one", "stdin_open": True, **fields}
    await bench.execs.start(bench.record(), ExecSpec(**options))  # type: ignore[arg-type]
    return _Running(bench, process)


async def test_input_is_written_in_order_and_counted():
    """The answer says where to go on."""
    it = await _started()

    assert await it.send(0, b"one ") == 4
    assert await it.send(4, b"two") == 7
    assert it.process.stdin == b"one two"
    assert not it.process.stdin_ended


async def test_what_was_written_is_not_written_again():
    """A caller that lost the answer repeats the call."""
    it = await _started()
    await it.send(0, b"abc")

    assert await it.send(0, b"abc") == 3
    assert await it.send(1, b"bcde") == 5
    assert it.process.stdin == b"abcde"


async def test_a_hole_is_refused_and_the_next_offset_told():
    """Writing it anyway would lose input silently."""
    it = await _started()
    await it.send(0, b"abc")

    with pytest.raises(PositionOutOfRangeError) as caught:
        await it.send(5, b"x")

    assert caught.value.metadata["actual"] == "3"
    assert it.process.stdin == b"abc"


async def test_the_first_input_counts():
    """Its length is the offset of what follows."""
    it = await _started(stdin=b"first")

    assert await it.send(5, b" second") == 12
    assert it.process.stdin == b"first second"


async def test_the_end_is_sent_once_and_what_follows_is_refused():
    """Repeating the last call is no error."""
    it = await _started()

    assert await it.send(0, b"x", end=True) == 1
    assert await it.send(0, b"x", end=True) == 1
    assert it.process.stdin_ended
    with pytest.raises(InputClosedError):
        await it.send(1, b"more")


async def test_a_repeated_call_waits_for_the_first_one_which_its_caller_left():
    """The program takes the bytes later; were they sent again, it would get them twice."""
    it = await _started()
    it.process.stdin_blocks = asyncio.Event()
    first = asyncio.create_task(it.send(0, b"abc"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    second = asyncio.create_task(it.send(0, b"abc"))
    await asyncio.wait({second}, timeout=0.02)
    waited = not second.done()
    it.process.stdin_blocks.set()

    assert waited
    assert await second == 3
    assert it.process.stdin == b"abc"


async def test_a_program_that_ends_frees_who_waits_to_write():
    """Nobody will ever read it."""
    it = await _started()
    it.process.stdin_blocks = asyncio.Event()
    sending = asyncio.create_task(it.send(0, b"abc"))
    await asyncio.sleep(0)
    it.process.ends(0)

    with pytest.raises(ExecNotRunningError):
        await asyncio.wait_for(sending, 5)
    with pytest.raises(ExecNotRunningError):
        await it.send(0, b"abc")


@pytest.mark.parametrize("stdin", [None, b"all"])
async def test_input_that_was_not_asked_for_is_refused(stdin):
    """There is no pipe, or its end was sent with its bytes."""
    it = await _started(stdin_open=False, stdin=stdin)

    with pytest.raises(InputClosedError):
        await it.send(0, b"x")


async def test_the_last_call_may_be_repeated_when_the_program_has_ended():
    """It may have ended because of it; what is new is refused."""
    it = await _started()
    await it.send(0, b"quit", end=True)
    it.process.ends(0)
    await until(lambda: it.process.closed)

    assert await it.send(0, b"quit", end=True) == 4
    for offset, data in ((0, b"quit now"), (4, b"x")):
        with pytest.raises(ExecNotRunningError):
            await it.send(offset, data)


async def test_a_terminal_is_typed_its_end_once_at_each_offset():
    """It stays open after that: a shell in a shell has an end of its own."""
    bench_ends: list[int] = []
    it = await _started(pty=PtySize(80, 24))

    async def typed() -> None:
        bench_ends.append(len(it.process.stdin))

    it.process.close_stdin = typed  # type: ignore[method-assign]
    await it.send(0, b"ls\n", end=True)
    await it.send(0, b"ls\n", end=True)
    await it.send(3, b"x", end=True)

    assert bench_ends == [3, 4]
    assert it.process.stdin == b"ls\nx"


async def test_input_that_could_not_be_written_may_be_sent_again():
    """Nothing of it counts."""
    it = await _started()
    write = it.process.write_stdin

    async def fail(_: bytes) -> None:
        raise BackendUnavailableError("Not now.")

    it.process.write_stdin = fail  # type: ignore[method-assign]
    with pytest.raises(BackendUnavailableError):
        await it.send(0, b"abc")
    it.process.write_stdin = write  # type: ignore[method-assign]

    assert await it.send(0, b"abc") == 3


async def test_a_signal_that_a_caller_sent_is_told_as_its_doing():
    """SIGNAL is for what nobody here knows of."""
    it = await _started()
    running = it.bench.execs

    delivered = await running.signal(it.bench.record(), "one", "INT")
    it.process.ends(signal="INT")
    ran = [e.event async for e in running.attach(it.bench.record(), "one")]
    late = await running.signal(it.bench.record(), "one", "INT")

    exited = ran[-1]
    assert (exited.cause, exited.fault, exited.signal) == (Cause.CANCELLED, Fault.CALLER, "INT")
    assert it.process.signals == ["INT"]
    assert (delivered, late) == (True, False)


@pytest.mark.parametrize(
    ("sent", "cause"), [("KILL", Cause.CANCELLED), ("TERM", Cause.EXIT), (None, Cause.EXIT)]
)
async def test_a_shell_that_tells_of_the_kill_itself_was_killed_by_the_caller(sent, cause):
    """137 is an exit, unless everything in its group was sent KILL."""
    it = await _started()
    if sent:
        await it.bench.execs.signal(it.bench.record(), "one", sent)
    it.process.ends(137)
    ran = [e.event async for e in it.bench.execs.attach(it.bench.record(), "one")]

    assert (ran[-1].cause, ran[-1].exit_code) == (cause, 137)


async def test_another_signal_than_was_sent_is_nobodys():
    """A program that dies of SEGV after a harmless USR1 was not cancelled."""
    it = await _started()
    await it.bench.execs.signal(it.bench.record(), "one", "USR1")
    it.process.ends(signal="SEGV")
    ran = [e.event async for e in it.bench.execs.attach(it.bench.record(), "one")]

    assert ran[-1].cause is Cause.SIGNAL


async def test_a_terminal_has_one_stream_and_a_size_that_changes():
    """A window was resized."""
    it = await _started(pty=PtySize(80, 24))
    it.process.writes(b"$ ", Stream.PTY)
    await it.bench.execs.resize(it.bench.record(), "one", PtySize(100, 40))
    it.process.ends(0)
    await until(lambda: it.process.closed)
    ran = [e async for e in it.bench.execs.attach(it.bench.record(), "one")]

    assert it.process.sizes == [PtySize(100, 40)]
    assert it.bench.provider.specs[0].pty == PtySize(80, 24)
    assert ran[0].event.pty == PtySize(100, 40)
    assert list(ran[-1].event.counts) == [Stream.PTY]
    assert ran[-1].position.stdout_offset == 2


async def test_what_is_no_terminal_cannot_be_resized():
    """And a terminal of a program that ended neither."""
    it = await _started()

    with pytest.raises(NotATerminalError):
        await it.bench.execs.resize(it.bench.record(), "one", PtySize(1, 1))
