"""Programs' pipes on the event loop: exact bytes, real back-pressure, no lost end."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import threading

import pytest

from sandbox_service.e2b_local.envd import pipes
from sandbox_service.e2b_local.envd.pipes import InputPipe, OutputPipe


class Sink:
    def __init__(self):
        self.pieces = []
        self.ended = asyncio.Event()

    def take(self, stream, data):
        self.pieces.append(data)

    @property
    def data(self):
        return b"".join(self.pieces)


@pytest.fixture
async def sink():
    return Sink()


@pytest.fixture
async def output(sink):
    """A pipe that is read, and the end to write to (closed by the test)."""
    reader, writer = os.pipe()
    pipe = OutputPipe(reader, "stdout", sink.take, sink.ended.set)
    yield pipe, writer
    pipe.close()


async def settle():
    """Let everything that can happen happen."""
    for _ in range(50):
        await asyncio.sleep(0)


def fill(fd):
    """Write until the pipe is full, and return how much that was."""
    written = 0
    while True:
        try:
            written += os.write(fd, b"x" * 4096)
        except BlockingIOError:
            return written


async def test_every_byte_arrives_in_order(output, sink):
    """Output is exact, whatever it holds and however it is cut."""
    pipe, writer = output
    data = os.urandom(1_000_000)

    def write():
        view = memoryview(data)
        while view:
            view = view[os.write(writer, view) :]
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    pipe.resume()
    await sink.ended.wait()
    thread.join()

    assert hashlib.sha256(sink.data).digest() == hashlib.sha256(data).digest()
    assert max(map(len, sink.pieces)) <= 32 * 1024


async def test_a_lone_line_is_passed_on_at_once(output, sink):
    """Somebody watches the output line by line."""
    pipe, writer = output
    pipe.resume()
    os.write(writer, b"line\n")
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert sink.pieces == [b"line\n"]
    os.close(writer)


async def test_small_writes_are_gathered(output, sink):
    """A frame per 64-byte line costs as much as one per 32 KiB."""
    pipe, writer = output
    pipe.resume()
    for _ in range(500):
        os.write(writer, b"x" * 64)
        await asyncio.sleep(0)
    os.close(writer)
    await sink.ended.wait()

    assert len(sink.data) == 500 * 64
    assert len(sink.pieces) < 100


async def test_what_is_being_gathered_is_passed_on_when_the_program_ends(output, sink, monkeypatch):
    """The last line must not wait for more that cannot come."""
    monkeypatch.setattr(pipes, "COALESCE_SECONDS", 60.0)
    pipe, writer = output
    pipe.resume()
    os.write(writer, b"one")
    await settle()
    os.write(writer, b"two")
    await settle()
    assert sink.pieces == [b"one"]

    pipe.flush()
    assert sink.pieces == [b"one", b"two"]
    os.close(writer)


async def test_the_end_behind_the_last_piece_is_seen_at_once(output, sink):
    """The result of a short command must not wait for another turn of the loop."""
    pipe, writer = output
    pipe.resume()
    os.write(writer, b"all")
    os.close(writer)
    pipe.flush()

    assert sink.pieces == [b"all"]
    assert sink.ended.is_set()


async def test_only_a_pipe_that_is_used_for_much_is_enlarged(output, sink):
    """All pipes of an ordinary user share 64 MiB, so hundreds of idle ones must be small."""
    pipe, writer = output
    size = fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)
    pipe.resume()
    os.write(writer, b"line\n")
    await settle()
    assert fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) == size

    os.write(writer, bytes(pipes.FRAME_BYTES))
    await settle()
    assert sink.data == b"line\n" + bytes(pipes.FRAME_BYTES)
    assert fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ) > size
    os.close(writer)


async def test_a_paused_pipe_fills_up_and_is_read_on_later(output, sink):
    """The program waits in its own write; nothing is buffered here."""
    pipe, writer = output
    os.set_blocking(writer, False)
    pipe.resume()
    pipe.pause()
    written = fill(writer)
    await settle()
    assert sink.pieces == []

    os.close(writer)
    pipe.resume()
    await sink.ended.wait()
    assert len(sink.data) == written


async def test_a_cut_pipe_gives_what_it_holds_and_does_not_wait_for_the_rest(output, sink):
    """A child that was left behind may hold the other end for ever."""
    pipe, writer = output
    os.write(writer, b"last words")
    pipe.cut()

    assert sink.data == b"last words"
    assert sink.ended.is_set()
    os.close(writer)


async def test_input_larger_than_the_pipe_is_written_as_it_is_taken():
    """A megabyte of input must not block the loop, nor be cut off."""
    reader, writer = os.pipe()
    pipe, data = InputPipe(writer), os.urandom(1_000_000)
    writing = asyncio.create_task(pipe.write(data))
    await asyncio.sleep(0)
    assert not writing.done()

    received = bytearray()
    while len(received) < len(data):
        received += await asyncio.to_thread(os.read, reader, 65536)
    await writing
    pipe.close()
    os.close(reader)

    assert bytes(received) == data


async def test_inputs_keep_the_order_of_their_calls():
    """Two calls at once must not be mixed within a line."""
    reader, writer = os.pipe()
    pipe = InputPipe(writer)
    parts = [bytes([number]) * 50_000 for number in range(5)]
    writing = asyncio.gather(*(pipe.write(part) for part in parts))
    received = bytearray()
    while len(received) < 250_000:
        received += await asyncio.to_thread(os.read, reader, 65536)
    await writing
    pipe.close()
    os.close(reader)

    assert bytes(received) == b"".join(parts)


async def test_closing_the_input_fails_the_write_that_waits():
    """The program has ended; the call that feeds it must end too."""
    reader, writer = os.pipe()
    pipe = InputPipe(writer)
    writing = asyncio.create_task(pipe.write(b"x" * 1_000_000))
    await asyncio.sleep(0)
    pipe.close()
    pipe.close()

    with pytest.raises(BrokenPipeError):
        await writing
    os.close(reader)


async def test_a_terminal_is_resized():
    """The program draws to the size that its viewer has."""
    master, slave = os.openpty()
    pipe = InputPipe(master)
    pipe.resize(132, 43)

    assert os.get_terminal_size(slave) == (132, 43)
    pipe.close()
    os.close(slave)
    with pytest.raises(OSError, match="Input/output error"):
        pipe.resize(80, 24)


async def test_a_full_pipe_is_never_left_to_gather(sink, monkeypatch):
    """A user with many programs gets small pipes: waiting for a frame would be in vain."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 8192)
    pipe = OutputPipe(reader, "stdout", sink.take, sink.ended.set)
    pipe.resume()
    os.write(writer, b"first")
    await settle()
    monkeypatch.setattr(pipes, "COALESCE_SECONDS", 3600.0)
    # Pieces that leave much of each page unused.
    while True:
        try:
            os.write(writer, b"x" * 2100)
        except BlockingIOError:
            break
    await settle()
    pipe.close()
    os.close(writer)

    assert size == 8192
    assert len(sink.data) > len("first")


async def test_a_terminal_that_floods_is_not_left_to_gather(sink, monkeypatch):
    """It holds 4 KiB at most, which is much less than a frame."""
    master, slave = os.openpty()
    pipe = OutputPipe(master, "pty", sink.take, sink.ended.set)
    pipe.resume()
    monkeypatch.setattr(pipes, "COALESCE_SECONDS", 3600.0)
    monkeypatch.setattr(pipe, "_available", lambda: 4000)
    async with asyncio.timeout(5):
        for number in range(3):
            os.write(slave, b"x")
            while len(sink.pieces) <= number:  # noqa: ASYNC110 - the kernel passes it on
                await asyncio.sleep(0)
    pipe.close()
    os.close(slave)

    assert sink.data == b"xxx"
