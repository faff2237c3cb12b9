"""The ends of a program's pipes and terminals, on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Stream = Literal["stdout", "stderr", "pty"]

FRAME_BYTES: Final = 32 * 1024
PTY_FRAME_BYTES: Final = 16 * 1024
# Output that floods in small writes is gathered for so long; a lone line is not.
COALESCE_SECONDS: Final = 0.002
# What a program can write while its output is being gathered, once it has shown that
# it writes much. More than the default 64 KiB, or 2 ms of gathering would slow it down.
_PIPE_BYTES: Final = 256 * 1024
# A terminal hands out 4 KiB at a time, however much its program writes.
_PTY_GATHERED_BYTES: Final = 2 * 1024
# Frames per turn of the loop, so that one flood leaves room for everyone else.
_FRAMES_PER_TURN: Final = 4


class OutputPipe:
    """Reads one output of a program while everyone who listens has room.

    Args:
        fd: Owned from now on.
        stream: What the output is called.
        sink: Called with each piece, 1 B to 32 KiB (a terminal: 16 KiB).
        ended: Called once, after the last piece.
    """

    def __init__(
        self,
        fd: int,
        stream: Stream,
        sink: Callable[[Stream, bytes], None],
        ended: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._stream: Stream = stream
        self._sink = sink
        self._ended = ended
        self._frame_bytes = PTY_FRAME_BYTES if stream == "pty" else FRAME_BYTES
        self._watched = False
        self._gathering: asyncio.TimerHandle | None = None
        self._last_frame_at = 0.0
        self._paused = True
        self.closed = False
        # Not before it is needed: all pipes of a user share 64 MiB.
        self._enlarged = stream == "pty"
        # While less than this waits, there is room for the program to write more. A pipe
        # that is full holds more than half its size, whatever was written at a time;
        # when a user has many, new ones are of 8 KiB.
        self._gathered_bytes = _PTY_GATHERED_BYTES
        if stream != "pty":
            size = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
            self._gathered_bytes = min(self._frame_bytes, size // 2)
        os.set_blocking(fd, False)

    def resume(self) -> None:
        """Read on."""
        if self._paused and not self.closed:
            self._paused = False
            self._watch()

    def pause(self) -> None:
        """Leave what comes in the pipe, so that a full one stops the program."""
        self._paused = True
        self._unwatch()

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            self._loop.add_reader(self._fd, self._readable)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._fd)
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def _readable(self) -> None:
        wait = self._last_frame_at + COALESCE_SECONDS - self._loop.time()
        # Nothing to read means that the pipe has ended: never wait for that.
        if wait > 0 and 0 < self._available() < self._gathered_bytes:
            self._unwatch()
            self._gathering = self._loop.call_later(wait, self._gathered)
            return
        self._read()

    def _gathered(self) -> None:
        self._gathering = None
        self._read()
        if not self._paused and not self.closed:
            self._watch()

    def _available(self) -> int:
        try:
            packed = fcntl.ioctl(self._fd, termios.FIONREAD, b"\0\0\0\0")
        except OSError:
            return 0
        return int(struct.unpack("i", packed)[0])

    def _read(self) -> None:
        for _ in range(_FRAMES_PER_TURN):
            try:
                data = os.read(self._fd, self._frame_bytes)
            except BlockingIOError:
                return
            except OSError:
                data = b""  # A terminal says EIO when its last program has gone.
            if not data:
                self.close()
                return
            self._last_frame_at = self._loop.time()
            self._sink(self._stream, data)
            if len(data) < self._frame_bytes:
                return
            if self._paused or self.closed:
                return
            self._enlarge()

    def _enlarge(self) -> None:
        if not self._enlarged:
            self._enlarged = True
            # Refused when the user's share of pipe memory is used up; then as it is.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def flush(self) -> None:
        """Read at once what is there: the program has just ended, so why gather more."""
        if self._paused or self.closed:
            return
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        self._read()
        if not self._paused and not self.closed:
            self._read()  # Behind the last piece there mostly is the end.
        if not self._paused and not self.closed:
            self._watch()

    def cut(self) -> None:
        """Pass on what is in the pipe now, then close it, whoever still holds it."""
        remaining = _PIPE_BYTES
        while not self.closed and remaining > 0:
            try:
                data = os.read(self._fd, self._frame_bytes)
            except OSError:
                break
            if not data:
                break
            remaining -= len(data)
            self._sink(self._stream, data)
        self.close()

    def close(self) -> None:
        """Stop reading; repeated calls do nothing."""
        if self.closed:
            return
        self._unwatch()
        self.closed = True
        os.close(self._fd)
        self._ended()


class InputPipe:
    """Writes to a program's standard input or terminal, in the order of the calls.

    Args:
        fd: Owned from now on.
    """

    def __init__(self, fd: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._turn = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None
        self.closed = False
        os.set_blocking(fd, False)

    async def write(self, data: bytes) -> None:
        """Write all of it, as the program takes it.

        Raises:
            OSError: The program has closed its end, or this one was closed.
        """
        async with self._turn:
            view = memoryview(data)
            while view:
                if self.closed:
                    raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        room = self._room = self._loop.create_future()
        self._loop.add_writer(self._fd, self._wake)
        try:
            await room
        finally:
            self._room = None
            if not self.closed:
                self._loop.remove_writer(self._fd)

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def resize(self, cols: int, rows: int) -> None:
        """Set the size of the terminal behind it, which tells the program (SIGWINCH).

        Raises:
            OSError: It is no terminal, or it was closed.
        """
        if self.closed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        termios.tcsetwinsize(self._fd, (rows, cols))

    def close(self) -> None:
        """Close the program's input; a write that waits fails. Repeated calls do nothing."""
        if self.closed:
            return
        self.closed = True
        if self._room is not None:
            self._loop.remove_writer(self._fd)
            self._wake()
        os.close(self._fd)
