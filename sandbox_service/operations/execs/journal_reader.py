"""One reader of a journal: its place, and frames of a size worth sending."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sandbox_service.domain.execs import NO_BYTES, Gap, Output, OutputCount, Position, Stream
from sandbox_service.domain.limits import OUTPUT_FRAME_BYTES, OUTPUT_FRAME_INTERVAL_S

if TYPE_CHECKING:
    from sandbox_service.operations.execs.journal import Journal

Frame = Output | Gap


def position_of(offsets: Mapping[Stream, int]) -> Position:
    """Return a place in each stream as a position. A terminal has one stream."""
    return Position(max(offsets[Stream.STDOUT], offsets[Stream.PTY]), offsets[Stream.STDERR])


class JournalReader:
    """One reader's place in a journal.

    Args:
        journal: What is read.
        start: How much of each stream the reader has already.

    Attributes:
        next: The number of the chunk to read next.
        consumed: Bytes of the journal before that chunk, dropped ones included.
        dismissed: Its owner is asked to leave.
    """

    def __init__(self, journal: Journal, start: dict[Stream, int]) -> None:
        self._journal = journal
        self._start = start
        self._offsets = dict(start)
        self._given = dict(NO_BYTES)
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = 1
        self._last_frame = -math.inf
        self.dismissed = False
        self.next = journal.first
        self.consumed = journal.before
        holes = [
            Gap(stream, 0, None, hole.cause)
            for stream, hole in journal.dropped_holes.items()
            if hole.offset >= start[stream]
        ]
        self._missed: list[Frame] = [*self._evicted(), *self._told(holes)]
        for chunk in journal.chunks:
            seen = self._offsets[chunk.stream]
            end = chunk.offset + len(chunk.data)
            if end > seen or (chunk.hole is not None and chunk.offset >= seen):
                break
            self.next += 1
            self.consumed += len(chunk.data)

    @property
    def position(self) -> Position:
        """How far this reader has come."""
        return position_of(self._offsets)

    def count(self, stream: Stream, written: OutputCount) -> OutputCount:
        """Return how much of a stream was written, and how much of it this reader was given."""
        return OutputCount(written.produced_bytes, self._given[stream])

    def given(self, frame: Frame) -> None:
        """Count what its owner was given instead of a gap."""
        if isinstance(frame, Output):
            self._given[frame.stream] += len(frame.data)

    @property
    def available(self) -> int:
        """Bytes that can be read at once."""
        return self._journal.written - self.consumed

    @property
    def _has_more(self) -> bool:
        """Whether there is anything to give: bytes, or the news that some are missing."""
        journal = self._journal
        if self._missed or self.next < journal.first:
            return True
        return self.next < journal.first + len(journal.chunks)

    def wake(self) -> None:
        """Note that something was written."""
        if self._waiter is not None and self.available >= self._wanted:
            _settle(self._waiter)

    def nudge(self) -> None:
        """Look up now, whatever is there."""
        if self._waiter is not None:
            _settle(self._waiter)

    def dismiss(self) -> None:
        """Ask the reader's owner to leave."""
        self.dismissed = True
        self.nudge()

    def leave(self) -> None:
        """Stop reading."""
        self._journal.left(self)

    async def frames(self, idle_s: float) -> list[Frame] | None:
        """Wait for output and return it in order, in frames of a size worth sending.

        The first bytes after a silence come at once. While more follows, a
        frame is due every 2 ms or when it is full: what a message costs hardly
        depends on its size.

        Args:
            idle_s: How long to wait before giving up, in seconds.

        Returns:
            None after the last frame of a closed journal; an empty list when
            nothing was written for `idle_s`, the reader was nudged, or it is to
            leave.
        """
        loop = asyncio.get_running_loop()
        while not self.dismissed:
            if not self._has_more and not self._journal.closed:
                await self._wait(1, idle_s)
            due = self._last_frame + OUTPUT_FRAME_INTERVAL_S
            pause = due - loop.time()
            if pause > 0 and 0 < self.available < OUTPUT_FRAME_BYTES and not self._journal.closed:
                await self._wait(OUTPUT_FRAME_BYTES, pause)
            if not self._has_more:
                return None if self._journal.closed else []
            taken = self._take()
            self._last_frame = loop.time()
            # Nothing of it was new to a reader that came back.
            if taken:
                return taken
        return []

    async def _wait(self, wanted: int, seconds: float) -> None:
        """Wait until `wanted` bytes are there, the journal is closed or time has passed."""
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        self._wanted = wanted
        timer = loop.call_later(seconds, _settle, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _evicted(self) -> list[Frame]:
        """Return what was dropped before this reader came to it, and begin behind it."""
        gaps: list[Frame] = []
        # Also of a stream that nothing more comes from: silence is not completeness.
        for stream, end in self._journal.dropped.items():
            missing = end - self._offsets[stream]
            if missing > 0:
                gaps.append(Gap(stream, self._offsets[stream], missing))
                self._offsets[stream] = end
        return gaps

    def _told(self, holes: list[Gap]) -> list[Frame]:
        """Return holes that were dropped, at the place where the reader goes on."""
        return [Gap(it.stream, self._offsets[it.stream], None, it.cause) for it in holes]

    def _behind(self) -> list[Frame]:
        """Return what this reader was too slow for, and go on with the oldest that is kept."""
        journal = self._journal
        holes = [
            Gap(stream, 0, None, hole.cause)
            for stream, hole in journal.dropped_holes.items()
            if hole.number >= self.next
        ]
        self.consumed = journal.before
        self.next = journal.first
        return [*self._evicted(), *self._told(holes)]

    def _take(self) -> list[Frame]:
        journal = self._journal
        frames, self._missed = self._missed, []
        if self.next < journal.first:
            frames += self._behind()
        run: list[bytes | bytearray | memoryview] = []
        size = 0
        stream = Stream.STDOUT

        def flush() -> None:
            nonlocal size
            if run:
                data = run[0] if len(run) == 1 else b"".join(run)
                offset = self._offsets[stream]
                frames.append(Output(stream, bytes(data), offset))
                self._offsets[stream] += size
                self._given[stream] += size
                run.clear()
                size = 0

        total = 0
        index = self.next - journal.first
        while index < len(journal.chunks) and total < OUTPUT_FRAME_BYTES:
            chunk = journal.chunks[index]
            index += 1
            chunk.read = True
            data: bytes | bytearray | memoryview = chunk.data
            total += len(data)
            if chunk.hole is not None:
                flush()
                offset = self._offsets[chunk.stream]
                frames.append(Gap(chunk.stream, offset, None, chunk.hole))
                continue
            if chunk.offset < self._start[chunk.stream]:
                # The reader has these bytes from an earlier call.
                data = memoryview(data)[self._start[chunk.stream] - chunk.offset :]
                if not data:
                    continue
            if chunk.stream is not stream or size + len(data) > OUTPUT_FRAME_BYTES:
                flush()
                stream = chunk.stream
            run.append(data)
            size += len(data)
        flush()
        self.next = journal.first + index
        self.consumed += total
        journal.forget_read()
        return frames


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
