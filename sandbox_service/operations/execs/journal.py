"""What a program wrote, kept in bounded memory for its readers.

One writer appends; any number of readers follow, each at its own speed. What
no reader can ask for any more is dropped at once, unless somebody may come
back for it. When the journal is full, `block` decides: the writer waits for
the fastest reader, or the oldest bytes go and a reader who had not seen them
gets a `Gap`. A slow reader never slows another one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from sandbox_service.domain.exec_errors import PositionOutOfRangeError
from sandbox_service.domain.execs import NO_BYTES, GapCause, Position, Stream
from sandbox_service.domain.limits import KIB
from sandbox_service.operations.execs.journal_budget import JournalBudget
from sandbox_service.operations.execs.journal_reader import JournalReader, position_of

_GATHERED_BYTES: Final = 16 * KIB
"""Writes that nobody has read yet are put together up to this size: small ones cost memory."""

_CHUNK_BYTES_MIN: Final = 256
_CHUNKS_MIN: Final = 64
"""A journal keeps at most one chunk for so many bytes of its limit, and at least so many chunks."""


@dataclass(slots=True)
class Chunk:
    """Bytes of one stream.

    Attributes:
        read: A reader has taken it, so nothing may be added.
        hole: Why an unknown number of bytes is missing here. None: this is bytes.
    """

    stream: Stream
    offset: int
    data: bytes | bytearray
    read: bool = False
    hole: GapCause | None = None


@dataclass(frozen=True, slots=True)
class Hole:
    """Where an unknown number of bytes is missing.

    Attributes:
        number: Of its chunk.
        offset: Within its stream.
    """

    number: int
    offset: int
    cause: GapCause


class Journal:
    """The output of one exec.

    Args:
        limit_bytes: How much is kept.
        block: Whether the writer waits when it is full, rather than drop.
        keep: Whether what was read stays, for readers who come later.
        wait_for_readers: Whether a journal that does not block waits all the
            same while somebody reads it: its source is in no hurry.
        budget: What all journals may keep together.

    Attributes:
        closed: Nothing more will be written.

    The rest is for its readers:
        chunks: What is kept, oldest first.
        first: The number of the oldest of them, or of the next one.
        written: Bytes written so far, of all streams.
        dropped: Up to where each stream is gone.
        dropped_holes: Of each stream the last hole that is gone.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        block: bool,
        keep: bool = False,
        wait_for_readers: bool = False,
        budget: JournalBudget | None = None,
    ) -> None:
        self.limit = limit_bytes
        self._block = block
        self._keep = keep
        self._wait_for_readers = wait_for_readers
        self._budget = budget or JournalBudget()
        self._chunks_max = max(limit_bytes // _CHUNK_BYTES_MIN, _CHUNKS_MIN)
        self.chunks: deque[Chunk] = deque()
        self.first = 0
        self.written = 0
        self.dropped = dict(NO_BYTES)
        self.dropped_holes: dict[Stream, Hole] = {}
        self._size = 0
        self._offsets = dict(NO_BYTES)
        # How far those had come who have left, in bytes and in chunks.
        self._front = (0, 0)
        self._promised = dict(NO_BYTES)
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
    def position(self) -> Position:
        """How far the output has come."""
        return position_of(self._offsets)

    @property
    def _waits(self) -> bool:
        blocks = self._block or (self._wait_for_readers and bool(self._readers))
        return blocks and not self.closed and not self._discarding

    async def write(self, stream: Stream, data: bytes) -> None:
        """Append output; wait for room first, if this journal blocks."""
        size = len(data)
        limit = self._budget.allowed(self.limit)
        if self._discarding or self._exceeds(limit, size):
            while self._waits and self._is_full(limit):
                self._room = asyncio.get_running_loop().create_future()
                await self._room
                limit = self._budget.allowed(self.limit)
            if self._discarding:
                self._skip(stream, size)
                return
            blocks = self._waits
            while self._exceeds(limit, size) and self._may_drop(blocks=blocks):
                self._drop_oldest()
        self._append(stream, data)
        for reader in self._readers:
            reader.wake()

    def hole(self, stream: Stream, cause: GapCause) -> None:
        """Note that an unknown number of bytes of a stream is missing here."""
        if self._discarding:
            self.dropped_holes[stream] = Hole(self.first, self._offsets[stream], cause)
            return
        self.chunks.append(Chunk(stream, self._offsets[stream], b"", read=True, hole=cause))
        self.nudge()

    def begin_at(self, position: Position) -> None:
        """Let a journal that is rebuilt begin there: what came before is not kept."""
        self._skip(Stream.STDOUT, position.stdout_offset)
        self._skip(Stream.STDERR, position.stderr_offset)

    def promise(self, position: Position) -> None:
        """Let readers begin there already: a journal that is rebuilt comes so far."""
        self._promised[Stream.STDOUT] = position.stdout_offset
        self._promised[Stream.STDERR] = position.stderr_offset

    def close(self) -> None:
        """Say that nothing more will be written; readers end when they have read all."""
        self.closed = True
        self._make_room()
        self.nudge()

    def never_wait(self) -> None:
        """Drop the oldest from now on rather than wait: nobody will make room."""
        self._block = False
        self._make_room()

    def release(self) -> None:
        """Keep nothing any more but what somebody is about to read."""
        self._keep = False
        if self._readers:
            self.forget_read()
        else:
            self.discard()

    def discard(self) -> None:
        """Drop what is kept and whatever comes: nobody will read it."""
        self._discarding = True
        while self.chunks:
            self._drop_oldest()
        self._make_room()

    def nudge(self) -> None:
        """Let every reader look up, though nothing was written."""
        for reader in self._readers:
            reader.nudge()

    def reader(self, position: Position | None = None, *, pty: bool = False) -> JournalReader:
        """Return a reader that is told what is gone.

        Args:
            position: Where it begins. None: with the oldest output kept.
            pty: Whether the position is one of a terminal.

        Raises:
            PositionOutOfRangeError: The output has not come that far.
        """
        reader = JournalReader(self, self._start(position or Position(), pty=pty))
        self._readers.append(reader)
        return reader

    def _start(self, position: Position, *, pty: bool) -> dict[Stream, int]:
        offsets = dict(NO_BYTES)
        offsets[Stream.PTY if pty else Stream.STDOUT] = position.stdout_offset
        offsets[Stream.STDERR] = position.stderr_offset
        for stream, offset in offsets.items():
            if offset > max(self._offsets[stream], self._promised[stream]):
                name = "stderr_offset" if stream is Stream.STDERR else "stdout_offset"
                raise PositionOutOfRangeError(
                    f"The output has not come to {name} {offset}. "
                    "Take a position that an event has named.",
                    metadata={
                        "field": f"position.{name}",
                        "requested": str(offset),
                        "actual": str(self._offsets[stream]),
                    },
                )
        return offsets

    def _append(self, stream: Stream, data: bytes) -> None:
        size = len(data)
        last = self.chunks[-1] if self.chunks else None
        if (
            last is not None
            and last.stream is stream
            and not last.read
            and len(last.data) + size <= _GATHERED_BYTES
        ):
            if not isinstance(last.data, bytearray):
                last.data = bytearray(last.data)
            last.data += data
        else:
            self.chunks.append(Chunk(stream, self._offsets[stream], data))
        self._offsets[stream] += size
        self.written += size
        self._grow(size)

    def _skip(self, stream: Stream, size: int) -> None:
        """Count output that is not kept."""
        if not size:
            return
        self._offsets[stream] += size
        self.dropped[stream] = self._offsets[stream]
        self.written += size
        self.first += 1
        self.nudge()

    @property
    def _fastest(self) -> tuple[int, int]:
        """How far the fastest reader has come, or had who left: in bytes and in chunks."""
        if not self._readers:
            return self._front
        return max((reader.consumed, reader.next) for reader in self._readers)

    def _exceeds(self, limit: int, size: int) -> bool:
        """Whether so many bytes more would be more than is kept."""
        return self._size + size > limit or len(self.chunks) >= self._chunks_max

    def _is_full(self, limit: int) -> bool:
        """Whether even the fastest reader is too far behind."""
        consumed, upto = self._fastest
        if self.written - consumed >= max(limit, 1):
            return True
        return self.first + len(self.chunks) - upto >= self._chunks_max

    def _may_drop(self, *, blocks: bool) -> bool:
        """Whether the oldest chunk may go: if this journal blocks, once somebody has read it."""
        if not self.chunks:
            return False
        return not blocks or self.first < self._fastest[1]

    def _grow(self, by: int) -> None:
        self._size += by
        self._budget.grow(by)

    def _drop_oldest(self) -> None:
        chunk = self.chunks.popleft()
        if chunk.hole is not None:
            self.dropped_holes[chunk.stream] = Hole(self.first, chunk.offset, chunk.hole)
        else:
            self.dropped[chunk.stream] = chunk.offset + len(chunk.data)
            self._grow(-len(chunk.data))
        self.first += 1

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # What follows is for its readers.

    @property
    def before(self) -> int:
        """Bytes written before the oldest chunk that is kept."""
        return self.written - self._size

    def forget_read(self) -> None:
        """Drop what every reader has read, unless somebody may come back for it."""
        if not self._keep:
            oldest = min((reader.next for reader in self._readers), default=self.first)
            while self.first < oldest and self.chunks:
                self._drop_oldest()
        # The writer looks for itself whether that is enough for what it has.
        self._make_room()

    def left(self, reader: JournalReader) -> None:
        """Forget a reader."""
        self._readers.remove(reader)
        if self._readers:
            self.forget_read()
            return
        self._front = max(self._front, (reader.consumed, reader.next))
        if self._wait_for_readers:
            self._make_room()
