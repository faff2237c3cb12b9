"""When a program has ended, and who is told what."""

from __future__ import annotations

import asyncio
import os

import pytest

from sandbox_service.e2b_local.envd import pipes, processes
from sandbox_service.e2b_local.envd.messages import process_pb
from sandbox_service.e2b_local.envd.processes import Ending, Process, ProcessTable
from sandbox_service.e2b_local.machine import GuestFrozenError, GuestLostError, GuestProcess


class GuestDouble:
    def __init__(self):
        self.signals = []
        self.frozen = False

    async def signal(self, pid, number, *, group=False):
        if self.frozen:
            raise GuestFrozenError
        self.signals.append((pid, number, group))
        return True


class ListenerDouble:
    def __init__(self, process):
        self.process = process
        self.has_room = True
        self.output_bytes = b""
        self.ending = None
        process.listen(self)

    def output(self, stream, data):
        self.output_bytes += data

    def ended(self, ending):
        self.ending = ending


class Program:
    """A program that does what the test says."""

    def __init__(self, pid=7, tag=None):
        self.guest = GuestDouble()
        out_reader, self.stdout = os.pipe()
        err_reader, self.stderr = os.pipe()
        self.exit = asyncio.get_running_loop().create_future()
        started = GuestProcess(pid, None, out_reader, err_reader, None, self.exit)
        self.process = Process(self.guest, started, process_pb.ProcessConfig(cmd="x"), tag)
        self._open = {self.stdout, self.stderr}

    def close(self, *fds):
        for fd in fds:
            self._open.discard(fd)
            os.close(fd)

    def clean(self):
        self.process.abandon()
        self.close(*list(self._open))


@pytest.fixture
async def table():
    table = ProcessTable()
    yield table
    table.abandon()


@pytest.fixture
async def program(table):
    program = Program()
    table.add(program.process)
    yield program
    program.clean()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the condition has no event of its own
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (0, Ending(0, True, "exit status 0")),
        (3 << 8, Ending(3, True, "exit status 3")),
        (9, Ending(-1, False, "signal: killed")),
        (15, Ending(-1, False, "signal: terminated")),
        (11 | 0x80, Ending(-1, False, "signal: segmentation fault (core dumped)")),
    ],
)
def test_a_wait_status_is_told_in_the_words_of_envd(status, ending):
    """Clients show these words, and some compare them."""
    assert Ending.of_wait_status(status) == ending


async def test_the_end_waits_for_both_outputs(program):
    """A child in the background may still write: nothing of it is lost."""
    listener = ListenerDouble(program.process)
    program.process.begin()
    program.exit.set_result(0)
    program.close(program.stdout)
    os.write(program.stderr, b"late")
    await until(lambda: listener.output_bytes == b"late")
    assert listener.ending is None

    program.close(program.stderr)
    await until(lambda: listener.ending)
    assert listener.ending.exit_code == 0


async def test_its_last_line_does_not_wait_to_be_gathered(program, monkeypatch):
    """What it wrote just before its exit is shown although a child holds the pipe."""
    monkeypatch.setattr(pipes, "COALESCE_SECONDS", 60.0)
    listener = ListenerDouble(program.process)
    program.process.begin()
    os.write(program.stdout, b"one")
    await until(lambda: listener.output_bytes == b"one")
    os.write(program.stdout, b"two")
    program.exit.set_result(0)

    await until(lambda: listener.output_bytes == b"onetwo")


async def test_after_a_signal_only_the_exit_counts(program):
    """A sleeper that holds the pipe must not keep a killed command alive."""
    listener = ListenerDouble(program.process)
    program.process.begin()
    assert await program.process.send_signal(9)
    os.write(program.stdout, b"last")
    program.exit.set_result(9)
    await until(lambda: listener.ending)

    assert listener.ending.status == "signal: killed"
    assert listener.output_bytes == b"last"
    assert program.guest.signals == [(7, 9, False)]


async def test_a_signal_after_the_exit_ends_the_wait_for_the_pipes(program):
    """`kill` on a command whose child holds the output open must return its result."""
    listener = ListenerDouble(program.process)
    program.process.begin()
    program.exit.set_result(0)
    await program.process.send_signal(15)
    await until(lambda: listener.ending)

    assert listener.ending.exit_code == 0


async def test_one_slow_listener_holds_everything_back_until_it_has_room(program):
    """Back-pressure reaches the program, and no output is dropped."""
    slow, quick = ListenerDouble(program.process), ListenerDouble(program.process)
    program.process.begin()
    slow.has_room = False
    os.write(program.stdout, b"one")
    await until(lambda: quick.output_bytes == b"one")
    os.write(program.stdout, b"two")
    for _ in range(50):
        await asyncio.sleep(0)
    assert quick.output_bytes == b"one"

    slow.has_room = True
    program.process.listeners_changed()
    await until(lambda: quick.output_bytes == b"onetwo" == slow.output_bytes)


async def test_without_listeners_output_is_read_and_dropped(program):
    """A client that left must not stop its program in a full pipe."""
    listener = ListenerDouble(program.process)
    listener.has_room = False
    program.process.begin()
    program.process.unlisten(listener)
    os.set_blocking(program.stdout, False)
    written = 0
    async with asyncio.timeout(10):
        while written < 2_000_000:
            try:
                written += os.write(program.stdout, b"x" * 65536)
            except BlockingIOError:
                await asyncio.sleep(0)

    assert listener.output_bytes == b""


async def test_it_has_left_the_table_when_its_end_is_told(program, table):
    """Who has seen the end event must not find the program in a listing."""
    listener = ListenerDouble(program.process)
    seen = []
    listener.ended = lambda ending: seen.append((ending.exit_code, list(table)))
    program.process.begin()
    assert list(table) == [program.process]
    program.close(program.stdout, program.stderr)
    program.exit.set_result(0)
    await until(lambda: seen)

    assert seen == [(0, [])]


async def test_an_ended_program_is_known_for_a_while(program, table, monkeypatch):
    """A client whose stream broke asks again for the result."""
    monkeypatch.setattr(processes, "EXIT_RETENTION_SECONDS", 0.05)
    program.process.begin()
    program.close(program.stdout, program.stderr)
    program.exit.set_result(3 << 8)
    await until(lambda: table.ended(7, None))

    assert table.by_pid(7) is None
    assert table.ended(7, None).ending.exit_code == 3
    await until(lambda: table.ended(7, None) is None)


async def test_a_sandbox_that_died_tells_no_end(program, table):
    """An end that was not observed must not be invented: the stream is cut instead."""
    listener = ListenerDouble(program.process)
    program.process.begin()
    program.exit.set_exception(GuestLostError("gone"))
    program.exit.exception()
    await until(lambda: not list(table))

    assert listener.ending is None
    assert table.ended(7, None) is None


async def test_the_time_of_a_program_stands_still_while_its_sandbox_does(program):
    """A command with a minute to go, paused over night, has a minute to go in the morning."""
    over = asyncio.Event()
    program.process.begin()
    program.process.limit_time(0.02, over.set)
    program.process.pause()
    program.process.pause()
    loop = asyncio.get_running_loop()
    later = loop.create_future()
    loop.call_later(0.05, later.set_result, None)
    await later
    assert not over.is_set()

    program.process.resume()
    await asyncio.wait_for(over.wait(), 10)


async def test_a_program_that_has_ended_has_no_time_limit(program):
    """Nor when its sandbox is thawed: another program may have its pid by then."""
    program.process.begin()
    program.process.limit_time(0.0, lambda: program.process.kill_soon(9))
    program.process.pause()
    program.exit.set_result(0)
    program.close(program.stdout, program.stderr)
    await until(program.process.finished.done)
    program.process.resume()
    for _ in range(20):
        await asyncio.sleep(0)

    assert program.guest.signals == []


async def test_a_kill_that_meets_a_frozen_sandbox_is_done_when_it_is_thawed(program):
    """Its time was over in the moment of the freezing."""
    program.process.begin()
    program.guest.frozen = True
    program.process.kill_soon(9)
    for _ in range(20):
        await asyncio.sleep(0)
    assert program.guest.signals == []

    program.guest.frozen = False
    program.process.resume()
    await until(lambda: program.guest.signals)
    assert program.guest.signals == [(7, 9, False)]
