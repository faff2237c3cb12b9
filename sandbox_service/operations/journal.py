"""What a program wrote, kept in bounded memory for its readers.

One writer appends; any number of readers follow, each at its own speed. What
no reader can ask for any more is dropped at once. When the journal is full,
`block` decides: the writer waits for the fastest reader, or the oldest bytes
go and a reader who had not seen them gets a `Gap`. A slow reader never slows
another one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sandbox_service.domain.execs import Gap, Output, OutputCount, Position, Stream
from sandbox_service.domain.limits import (
    OUTPUT_FRAME_BYTES,
    OUTPUT_FRAME_INTERVAL_S,
)


@dataclass(slots=True)
class _Chunk:
    stream: Stream
    offset: int
    data: bytes


class Journal:
    """The output of one exec.

    Args:
        limit_bytes: How much is kept.
        block: Whether the writer waits when it is full, rather than drop.
        on_size: Told how many bytes more (or fewer) are kept, for accounting.
    """

    def __init__(
        self, limit_bytes: int, *, block: bool, on_size: Callable[[int], None] = lambda _: None
    ) -> None:
        self.limit = limit_bytes
        self._block = block
        self._on_size = on_size
        self._chunks: deque[_Chunk] = deque()
        self._first = 0  # The number of the oldest chunk that is kept.
        self._size = 0
        self._written = 0
        self._offsets = dict.fromkeys(Stream, 0)
        self._dropped = dict.fromkeys(Stream, 0)  # Up to where each stream is gone.
        self._readers: list[JournalReader] = []
        self._room: asyncio.Future[None] | None = None
        self._discarding = False
        self.closed = False

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._size

    @property
    def full(self) -> bool:
        """Whether the writer waits for room."""
        return self._room is not None and not self._room.done()

    @property
    def _waits(self) -> bool:
        return self._block and not self.closed and not self._discarding

    @property
    def _may_drop(self) -> bool:
        """Whether the oldest chunk may go: if this journal blocks, once somebody has read it."""
        if not self._block:
            return bool(self._chunks)
        return self._size > self._ahead_of_fastest()

    async def write(self, stream: Stream, data: bytes) -> None:
        """Append output; wait for room first, if this journal blocks."""
        size = len(data)
        while self._waits and self._ahead_of_fastest() >= max(self.limit, 1):
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        if self._discarding:
            return
        while self._size + size > self.limit and self._may_drop:
            self._drop_oldest()
        self._chunks.append(_Chunk(stream, self._offsets[stream], data))
        self._offsets[stream] += size
        self._written += size
        self._grow(size)
        for reader in self._readers:
            reader.wake()

    def close(self) -> None:
        """Say that nothing more will be written; readers end when they have read all."""
        self.closed = True
        self._make_room()
        for reader in self._readers:
            reader.wake()

    def discard(self) -> None:
        """Drop what is kept and whatever comes: nobody will read it."""
        self._discarding = True
        while self._chunks:
            self._drop_oldest()
        self._make_room()

    def reader(self) -> JournalReader:
        """Return a reader that begins with the oldest output kept, and is told what is gone."""
        reader = JournalReader(self)
        self._readers.append(reader)
        return reader

    def _ahead_of_fastest(self) -> int:
        if not self._readers:
            return self._size
        return self._written - max(reader.consumed for reader in self._readers)

    def _grow(self, by: int) -> None:
        self._size += by
        self._on_size(by)

    def _drop_oldest(self) -> None:
        chunk = self._chunks.popleft()
        self._dropped[chunk.stream] = chunk.offset + len(chunk.data)
        self._grow(-len(chunk.data))
        self._first += 1

    def _make_room(self) -> None:
        if self._room is not None:
            _settle(self._room)

    # What follows is for this module's readers.

    def _forget_read(self) -> None:
        """Drop what every reader has read: nobody can ask for it again."""
        oldest = min((reader.next for reader in self._readers), default=self._first)
        while self._first < oldest:
            self._drop_oldest()
        # The writer looks for itself whether that is enough for what it has.
        self._make_room()

    def _left(self, reader: JournalReader) -> None:
        self._readers.remove(reader)
        if self._readers:
            self._forget_read()


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class JournalReader:
    """One reader's place in a journal.

    Attributes:
        next: The number of the chunk to read next.
        consumed: Bytes of the journal before that chunk, dropped ones included.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.next = 0
        self.consumed = 0
        self._offsets = dict.fromkeys(Stream, 0)
        self._given = dict.fromkeys(Stream, 0)
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = 1
        self._last_frame = 0.0

    @property
    def position(self) -> Position:
        """How far this reader has come."""
        seen = self._offsets
        return Position(max(seen[Stream.STDOUT], seen[Stream.PTY]), seen[Stream.STDERR])

    def count(self, stream: Stream, written: OutputCount) -> OutputCount:
        """Return how much of a stream was written, and how much of it this reader was given."""
        return OutputCount(written.produced_bytes, self._given[stream])

    @property
    def available(self) -> int:
        """Bytes that can be read at once."""
        return self._journal._written - self.consumed

    def wake(self) -> None:
        """Note that something was written, or that nothing more will be."""
        if self._waiter is not None and (self._journal.closed or self.available >= self._wanted):
            _settle(self._waiter)

    def leave(self) -> None:
        """Stop reading."""
        self._journal._left(self)

    async def frames(self, idle_s: float) -> list[Output | Gap] | None:
        """Wait for output and return it in order, in frames of a size worth sending.

        The first bytes after a silence come at once. While more follows, a
        frame is due every 2 ms or when it is full: what a message costs hardly
        depends on its size.

        Args:
            idle_s: How long to wait before giving up, in seconds.

        Returns:
            None after the last frame of a closed journal; an empty list when
            nothing was written for `idle_s`.
        """
        loop = asyncio.get_running_loop()
        if self.available == 0 and not self._journal.closed:
            await self._wait(1, idle_s)
        due = self._last_frame + OUTPUT_FRAME_INTERVAL_S
        pause = due - loop.time()
        if pause > 0 and 0 < self.available < OUTPUT_FRAME_BYTES and not self._journal.closed:
            await self._wait(OUTPUT_FRAME_BYTES, pause)
        if self.available == 0:
            return None if self._journal.closed else []
        taken = self._take()
        self._last_frame = loop.time()
        return taken

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

    def _take(self) -> list[Output | Gap]:
        journal = self._journal
        frames: list[Output | Gap] = []
        run: list[bytes] = []
        size = 0
        stream = Stream.STDOUT
        if self.next < journal._first:
            self.consumed = journal._written - journal._size
            self.next = journal._first
            # Also of a stream that nothing more comes from: silence is not completeness.
            for dropped, end in journal._dropped.items():
                missing = end - self._offsets[dropped]
                if missing > 0:
                    frames.append(Gap(dropped, self._offsets[dropped], missing))
                    self._offsets[dropped] = end

        def flush() -> None:
            nonlocal size
            if run:
                offset = self._offsets[stream]
                frames.append(Output(stream, run[0] if len(run) == 1 else b"".join(run), offset))
                self._offsets[stream] += size
                self._given[stream] += size
                run.clear()
                size = 0

        total = 0
        index = self.next - journal._first
        while index < len(journal._chunks) and total < OUTPUT_FRAME_BYTES:
            chunk = journal._chunks[index]
            if chunk.stream is not stream or size + len(chunk.data) > OUTPUT_FRAME_BYTES:
                flush()
                stream = chunk.stream
            run.append(chunk.data)
            size += len(chunk.data)
            total += len(chunk.data)
            index += 1
        flush()
        self.next = journal._first + index
        self.consumed += total
        journal._forget_read()
        return frames
