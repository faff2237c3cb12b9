"""The journal: exact bytes in order or a gap that says so, in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox_service.domain.execs import Gap, Output, Stream
from sandbox_service.domain.limits import OUTPUT_FRAME_BYTES
from sandbox_service.operations.execs import journal_reader as module
from sandbox_service.operations.execs.journal import Journal
from sandbox_service.operations.execs.journal_budget import JournalBudget
from sandbox_service.operations.execs.journal_reader import JournalReader

_LARGEST = 12
_STREAMS = (Stream.STDOUT, Stream.STDERR)

_chunks = st.tuples(st.sampled_from(_STREAMS), st.integers(1, _LARGEST))
_scripts = st.lists(st.one_of(_chunks, st.integers(0, 2)), max_size=60)
"""What happens, in order: a write of so many bytes, or a reader that reads."""


def _bytes(stream: Stream, start: int, size: int) -> bytes:
    """What a stream has there: each byte tells its own place."""
    return bytes((offset * 7 + stream) % 251 for offset in range(start, start + size))


@dataclass
class _Follower:
    """A reader, and what it was told."""

    reader: JournalReader
    offsets: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))
    order: list[tuple[Stream, int]] = field(default_factory=list)
    missed: int = 0
    ended: bool = False

    async def read(self) -> None:
        frames = await self.reader.frames(0)
        if frames is None:
            self.ended = True
        for frame in frames or ():
            self._take(frame)

    def _take(self, frame: Output | Gap) -> None:
        assert frame.offset == self.offsets[frame.stream]
        match frame:
            case Output(stream, data, offset):
                assert 0 < len(data) <= OUTPUT_FRAME_BYTES
                assert data == _bytes(stream, offset, len(data))
                size = len(data)
                self.order += [(stream, offset + each) for each in range(size)]
            case Gap(size=size):
                assert size > 0
                self.missed += size
        self.offsets[frame.stream] += size


class _NotingBudget(JournalBudget):
    """Notes the most that was ever kept."""

    most = 0

    def grow(self, by: int) -> None:
        super().grow(by)
        self.most = max(self.most, self.kept_bytes)


class _Play:
    """A journal with one writer and some readers, moved a step at a time.

    Attributes:
        most: The most that the journal ever kept.
        told: What it told its owner that it keeps.
    """

    def __init__(self, limit: int, *, block: bool, readers: int) -> None:
        self._budget = _NotingBudget()
        self.journal = Journal(limit, block=block, budget=self._budget)
        self.followers = [_Follower(self.journal.reader()) for _ in range(readers)]
        self.written = dict.fromkeys(Stream, 0)
        self.order: list[tuple[Stream, int]] = []
        self._writing: asyncio.Task[None] | None = None

    @property
    def told(self) -> int:
        return self._budget.kept_bytes

    @property
    def most(self) -> int:
        return self._budget.most

    async def play(self, script: Iterable[tuple[Stream, int] | int]) -> None:
        for step in script:
            if isinstance(step, int):
                await self.followers[step % len(self.followers)].read()
            else:
                await self._written()
                stream, size = step
                start = self.written[stream]
                data = _bytes(stream, start, size)
                self._writing = asyncio.create_task(self.journal.write(stream, data))
                self.written[stream] += size
                self.order += [(stream, start + each) for each in range(size)]
                await asyncio.sleep(0)
            assert self.told == self.journal.size
        await self._written()
        self.journal.close()
        for follower in self.followers:
            while not follower.ended:
                await follower.read()

    async def _written(self) -> None:
        """Let the writer go on, for which somebody may have to read."""
        while self._writing is not None and not self._writing.done():
            await self.followers[0].read()
            await asyncio.sleep(0)
        if self._writing is not None:
            await self._writing


def _played(
    limit: int, script: Iterable[tuple[Stream, int] | int], *, block: bool, readers: int
) -> _Play:
    async def play() -> _Play:
        it = _Play(limit, block=block, readers=readers)
        await it.play(script)
        return it

    with mock.patch.object(module, "OUTPUT_FRAME_INTERVAL_S", 0.0):
        return asyncio.run(play())


@settings(max_examples=150, deadline=None)
@given(limit=st.integers(0, 40), script=_scripts)
def test_a_single_reader_of_a_blocking_journal_gets_every_byte_in_order(limit, script):
    """However writes and reads fall: this is what `overflow: BLOCK` promises."""
    played = _played(limit, script, block=True, readers=1)

    (follower,) = played.followers
    assert follower.missed == 0
    assert follower.order == played.order
    assert played.most <= max(limit, _LARGEST) + _LARGEST
    assert played.told == 0


@settings(max_examples=150, deadline=None)
@given(limit=st.integers(0, 40), script=_scripts, readers=st.integers(1, 3))
def test_every_byte_of_a_journal_that_drops_is_read_or_told_as_missing(limit, script, readers):
    """The writer never waits; what a reader missed is said, in its place, to the byte."""
    played = _played(limit, script, block=False, readers=readers)

    for follower in played.followers:
        assert follower.offsets == played.written
    assert played.most <= max(limit, _LARGEST) + _LARGEST


@settings(max_examples=150, deadline=None)
@given(limit=st.integers(0, 40), script=_scripts, readers=st.integers(2, 3))
def test_a_slow_reader_of_a_blocking_journal_gets_gaps_and_costs_nobody(limit, script, readers):
    """The writer waits for the fastest reader; the others are told what they missed."""
    played = _played(limit, script, block=True, readers=readers)

    for follower in played.followers:
        assert follower.offsets == played.written
    assert played.most <= max(limit, _LARGEST) + _LARGEST
    assert played.told == 0


def test_what_was_dropped_of_a_stream_that_fell_silent_is_told_too():
    """Only the other stream goes on; its reader must not take the silence for completeness."""
    script = [(Stream.STDERR, 5), (Stream.STDOUT, 12)]

    played = _played(10, script, block=False, readers=1)

    (follower,) = played.followers
    assert follower.missed == 5
    assert follower.offsets[Stream.STDERR] == 5


async def test_the_writer_of_a_full_journal_waits_until_somebody_reads():
    """Memory is bounded by making the program wait, as a pipe does."""
    journal = Journal(10, block=True)
    reader = journal.reader()
    await journal.write(Stream.STDOUT, b"x" * 10)

    writing = asyncio.create_task(journal.write(Stream.STDOUT, b"y" * 10))
    await asyncio.sleep(0)
    waited = not writing.done()
    full = journal.full
    await reader.frames(1)
    await asyncio.wait_for(writing, 5)

    assert waited
    assert full
    assert not journal.full


async def test_without_a_reader_a_blocking_journal_waits_too():
    """A program that nobody reads stops when the journal is full, rather than lose output."""
    journal = Journal(10, block=True)
    await journal.write(Stream.STDOUT, b"x" * 10)

    writing = asyncio.create_task(journal.write(Stream.STDOUT, b"y"))
    await asyncio.sleep(0)
    waited = not writing.done()
    frames = await journal.reader().frames(1)
    await asyncio.wait_for(writing, 5)

    assert waited
    assert [frame.data for frame in frames or ()] == [b"x" * 10]
    assert journal.size == 1


@pytest.mark.parametrize("how", ["close", "discard"])
async def test_a_waiting_writer_is_freed_when_the_journal_is_over(how: str):
    """Nobody will ever read again; the one who drains the program must not hang."""
    journal = Journal(1, block=True)
    journal.reader()
    await journal.write(Stream.STDOUT, b"x")
    writing = asyncio.create_task(journal.write(Stream.STDOUT, b"more"))
    await asyncio.sleep(0)
    waited = not writing.done()

    getattr(journal, how)()
    await asyncio.wait_for(writing, 5)

    assert waited


async def test_a_discarded_journal_keeps_nothing_and_never_waits():
    """After its reader left for good, output costs no memory."""
    budget = JournalBudget()
    journal = Journal(100, block=True, budget=budget)
    journal.reader()
    await journal.write(Stream.STDOUT, b"x" * 50)

    journal.discard()
    for _ in range(5):
        await asyncio.wait_for(journal.write(Stream.STDOUT, b"y" * 1000), 5)
    journal.discard()

    assert budget.kept_bytes == 0
    assert journal.size == 0


async def test_a_reader_that_leaves_frees_the_writer_that_waited_for_it():
    """BLOCK waits for the fastest reader that is there, not for one that has gone."""
    journal = Journal(10, block=True)
    fast, slow = journal.reader(), journal.reader()
    await journal.write(Stream.STDOUT, b"x" * 10)
    await slow.frames(1)
    fast.leave()

    await asyncio.wait_for(journal.write(Stream.STDOUT, b"y" * 10), 5)

    assert journal.size == 10


async def test_silence_gives_an_empty_list_and_the_end_gives_none():
    """The first makes a heartbeat, the second the last event."""
    journal = Journal(10, block=True)
    reader = journal.reader()

    silence = await reader.frames(0.001)
    journal.close()
    end = await reader.frames(60)

    assert silence == []
    assert end is None


async def test_the_first_bytes_after_a_silence_wait_for_nothing():
    """Coalescing must not delay a lone line: an hour between frames would show."""
    with mock.patch.object(module, "OUTPUT_FRAME_INTERVAL_S", 3600.0):
        journal = Journal(1000, block=True)
        reader = journal.reader()
        waiting = asyncio.create_task(reader.frames(60))
        await asyncio.sleep(0)
        await journal.write(Stream.STDOUT, b"line\n")

        frames = await asyncio.wait_for(waiting, 5)

    assert [frame.data for frame in frames or ()] == [b"line\n"]


async def test_a_flood_of_small_writes_becomes_few_frames():
    """A message costs hardly less for being small: what comes within a frame's time shares it."""
    with mock.patch.object(module, "OUTPUT_FRAME_INTERVAL_S", 0.2):
        journal = Journal(1_000_000, block=True)
        reader = journal.reader()
        await journal.write(Stream.STDOUT, b"first")
        first = await reader.frames(1)
        waiting = asyncio.create_task(reader.frames(1))
        for _ in range(1000):
            await journal.write(Stream.STDOUT, b"x" * 64)
            await asyncio.sleep(0)
        second = await waiting

    assert len(first or ()) == 1
    assert [len(frame.data) for frame in second or ()] == [64_000]


async def test_a_full_frame_goes_out_before_its_time():
    """Waiting longer would only add delay."""
    with mock.patch.object(module, "OUTPUT_FRAME_INTERVAL_S", 3600.0):
        journal = Journal(10 * OUTPUT_FRAME_BYTES, block=True)
        reader = journal.reader()
        await journal.write(Stream.STDOUT, b"first")
        await reader.frames(1)
        waiting = asyncio.create_task(reader.frames(1))
        await asyncio.sleep(0)
        for _ in range(8):
            await journal.write(Stream.STDOUT, b"x" * (OUTPUT_FRAME_BYTES // 8))

        frames = await asyncio.wait_for(waiting, 5)

    assert [len(frame.data) for frame in frames or ()] == [OUTPUT_FRAME_BYTES]


async def test_a_reader_that_comes_late_is_told_what_it_missed():
    """It begins with what is kept, and knows what was before."""
    journal = Journal(10, block=False)
    for number in range(4):
        await journal.write(Stream.STDOUT, bytes([number]) * 5)

    reader = journal.reader()
    frames = await reader.frames(1)

    assert frames == [
        Gap(Stream.STDOUT, 0, 10),
        Output(Stream.STDOUT, b"\2" * 5 + b"\3" * 5, 10),
    ]
    assert reader.position.stdout_offset == 20
