"""A journal that keeps what was read, for readers who come later and ask for a place."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox_service.domain.exec_errors import PositionOutOfRangeError
from sandbox_service.domain.execs import Gap, GapCause, Output, Position, Stream
from sandbox_service.operations.execs import journal as journal_module
from sandbox_service.operations.execs import journal_reader
from sandbox_service.operations.execs.journal import Journal
from sandbox_service.operations.execs.journal_budget import FLOOR_BYTES, JournalBudget
from sandbox_service.operations.execs.journal_reader import JournalReader

OUT, ERR = Stream.STDOUT, Stream.STDERR


def _bytes(stream: Stream, start: int, size: int) -> bytes:
    return bytes((offset * 7 + stream) % 251 for offset in range(start, start + size))


async def _rest(reader: JournalReader) -> list[Output | Gap]:
    """All that a closed journal, or one where nothing more is written, has for a reader."""
    found: list[Output | Gap] = []
    while frames := await reader.frames(0):
        found += frames
    return found


async def test_what_was_read_stays_for_who_comes_back():
    """A client whose connection broke asks for the beginning again."""
    journal = Journal(100, block=True, keep=True)
    first = journal.reader()
    await journal.write(OUT, b"0123456789")
    await _rest(first)
    first.leave()

    assert await _rest(journal.reader()) == [Output(OUT, b"0123456789", 0)]
    assert await _rest(journal.reader(Position(4, 0))) == [Output(OUT, b"456789", 4)]
    assert await _rest(journal.reader(Position(10, 0))) == []


async def test_a_position_that_is_gone_opens_with_a_gap():
    """Even when nothing else is to be read."""
    journal = Journal(10, block=False, keep=True)
    await journal.write(OUT, b"x" * 10)
    await journal.write(OUT, b"y" * 10)
    await journal.write(ERR, b"e")
    await journal.write(ERR, b"f" * 9)
    reader = journal.reader(Position(4, 10))

    frames = await asyncio.wait_for(reader.frames(60), 5)

    assert frames == [Gap(OUT, 4, 16)]
    assert reader.position == Position(20, 10)


@pytest.mark.parametrize(
    ("position", "field", "actual"),
    [
        (Position(11, 0), "position.stdout_offset", "10"),
        (Position(10, 1), "position.stderr_offset", "0"),
    ],
)
async def test_a_position_in_the_future_is_refused(position, field, actual):
    """It is not one that an event has named."""
    journal = Journal(100, block=True, keep=True)
    await journal.write(OUT, b"0123456789")

    with pytest.raises(PositionOutOfRangeError) as caught:
        journal.reader(position)

    assert caught.value.metadata["field"] == field
    assert caught.value.metadata["actual"] == actual


async def test_a_full_journal_that_keeps_drops_what_was_read_before_it_waits():
    """What is kept for later must not stop the program now."""
    journal = Journal(10, block=True, keep=True)
    reader = journal.reader()
    for number in range(5):
        await asyncio.wait_for(journal.write(OUT, bytes([number]) * 10), 5)
        await _rest(reader)

    late = await _rest(journal.reader())

    assert late == [Gap(OUT, 0, 40), Output(OUT, b"\4" * 10, 40)]


async def test_a_reader_that_left_does_not_let_the_program_lose_what_nobody_read():
    """BLOCK: the next reader finds what was written since."""
    journal = Journal(10, block=True, keep=True)
    first = journal.reader()
    await journal.write(OUT, b"a" * 10)
    await _rest(first)
    first.leave()
    await asyncio.wait_for(journal.write(OUT, b"b" * 10), 5)
    writing = asyncio.create_task(journal.write(OUT, b"c" * 10))
    await asyncio.sleep(0)

    waited = not writing.done()
    second = journal.reader(Position(10, 0))
    frames = await second.frames(1)
    await asyncio.wait_for(writing, 5)
    frames = [*(frames or ()), *await _rest(second)]

    assert waited
    assert frames == [Output(OUT, b"b" * 10, 10), Output(OUT, b"c" * 10, 20)]


async def test_a_hole_of_unknown_size_is_told_in_its_place():
    """Contact was lost: offsets go on without counting what nobody knows."""
    journal = Journal(100, block=True, keep=True)
    await journal.write(OUT, b"before")
    journal.hole(OUT, GapCause.DISCONNECTED)
    await journal.write(OUT, b"after")

    assert await _rest(journal.reader()) == [
        Output(OUT, b"before", 0),
        Gap(OUT, 6, None, GapCause.DISCONNECTED),
        Output(OUT, b"after", 6),
    ]


async def test_a_hole_is_told_even_when_the_journal_has_moved_on():
    """The size of what was evicted does not tell of it."""
    journal = Journal(10, block=False, keep=True)
    slow = journal.reader()
    await journal.write(OUT, b"before")
    journal.hole(OUT, GapCause.DISCONNECTED)
    await journal.write(OUT, b"x" * 10)
    await journal.write(OUT, b"y" * 10)
    told = [
        Gap(OUT, 0, 16),
        Gap(OUT, 16, None, GapCause.DISCONNECTED),
        Output(OUT, b"y" * 10, 16),
    ]

    assert await _rest(slow) == told
    assert await _rest(journal.reader()) == told
    assert await _rest(journal.reader(Position(16, 0))) == [Output(OUT, b"y" * 10, 16)]


async def test_a_hole_wakes_a_reader_that_waits():
    """It is news, though it has no bytes."""
    journal = Journal(100, block=True)
    reader = journal.reader()
    waiting = asyncio.create_task(reader.frames(60))
    await asyncio.sleep(0)

    journal.hole(ERR, GapCause.SPOOL_LIMIT)

    assert await asyncio.wait_for(waiting, 5) == [Gap(ERR, 0, None, GapCause.SPOOL_LIMIT)]


async def test_small_writes_that_nobody_reads_are_kept_together():
    """A byte must not cost a hundred: a program may write one at a time for hours."""
    journal = Journal(100_000, block=False, keep=True)
    for _ in range(10_000):
        await journal.write(OUT, b"x")

    assert journal.size == 10_000
    assert len(journal.chunks) == 1


async def test_what_a_reader_has_taken_is_not_added_to():
    """It would miss what comes after."""
    journal = Journal(1000, block=True, keep=True)
    reader = journal.reader()
    with mock.patch.object(journal_reader, "OUTPUT_FRAME_INTERVAL_S", 0.0):
        await journal.write(OUT, b"one")
        first = await reader.frames(1)
        await journal.write(OUT, b"two")
        second = await reader.frames(1)

    assert first == [Output(OUT, b"one", 0)]
    assert second == [Output(OUT, b"two", 3)]


@pytest.mark.parametrize("block", [True, False])
async def test_streams_that_alternate_cannot_fill_the_memory_with_chunks(block):
    """Bytes are not all that a journal costs."""
    journal = Journal(256 * 1000, block=block, keep=True)

    async def write() -> None:
        for number in range(5000):
            await journal.write((OUT, ERR)[number % 2], b"x")

    writing = asyncio.create_task(write())
    await asyncio.wait({writing}, timeout=0.5)
    done = writing.done()
    journal.close()
    await writing

    assert done is not block
    if not block:
        assert len(journal.chunks) <= 1000


async def test_a_rebuilt_journal_waits_only_while_somebody_reads():
    """Its source is a file that waits too; but nobody need read it to its end."""
    journal = Journal(10, block=False, keep=True, wait_for_readers=True)
    reader = journal.reader()
    await journal.write(OUT, b"x" * 10)
    writing = asyncio.create_task(journal.write(OUT, b"y" * 10))
    await asyncio.sleep(0)
    waited = not writing.done()

    reader.leave()
    await asyncio.wait_for(writing, 5)

    assert waited
    assert await _rest(journal.reader()) == [Gap(OUT, 0, 10), Output(OUT, b"y" * 10, 10)]


async def test_journals_that_keep_too_much_together_shrink():
    """A thousand execs must not take a thousand times eight MiB."""
    budget = JournalBudget(4 * FLOOR_BYTES)
    journals = [Journal(8 * FLOOR_BYTES, block=False, keep=True, budget=budget) for _ in range(10)]
    for _ in range(16):
        for journal in journals:
            await journal.write(OUT, b"x" * (FLOOR_BYTES // 2))

    assert budget.kept_bytes <= (4 + len(journals) + 1) * FLOOR_BYTES


async def test_output_that_is_only_kept_goes_before_anybody_has_to_shrink():
    """Whoever reads now comes before whoever may come back."""
    budget = JournalBudget(1000)
    old = Journal(1000, block=False, keep=True, budget=budget)
    await old.write(OUT, b"o" * 1000)

    def relieve() -> bool:
        size = old.size
        old.discard()
        return bool(size)

    budget.on_used_up(relieve)
    new = Journal(1000, block=False, keep=True, budget=budget)
    await new.write(OUT, b"n" * 900)

    assert (old.size, new.size) == (0, 900)


async def test_what_is_discarded_is_told_to_who_comes_later():
    """The result of an exec outlives its output."""
    journal = Journal(100, block=True)
    await journal.write(OUT, b"x" * 10)
    journal.discard()
    await journal.write(OUT, b"y" * 10)
    journal.close()
    reader = journal.reader()

    assert await reader.frames(1) == [Gap(OUT, 0, 20)]
    assert await reader.frames(1) is None


_chunks = st.lists(
    st.tuples(st.sampled_from((OUT, ERR)), st.integers(1, 12)), min_size=1, max_size=40
)


@settings(max_examples=150, deadline=None)
@given(limit=st.integers(0, 60), script=_chunks, cut=st.integers(0, 400), data=st.data())
def test_whoever_comes_back_gets_each_byte_once_or_a_gap(limit, script, cut, data):
    """Wherever the connection broke: between any two events."""

    async def play() -> None:
        journal = Journal(limit, block=False, keep=True)
        written = dict.fromkeys(Stream, 0)
        for stream, size in script:
            await journal.write(stream, _bytes(stream, written[stream], size))
            written[stream] += size
        at = {
            stream: data.draw(st.integers(0, written[stream]), label=stream.name)
            for stream in (OUT, ERR)
        }
        journal.close()
        reader = journal.reader(Position(at[OUT], at[ERR]))
        while (frames := await reader.frames(0)) is not None:
            for frame in frames:
                assert frame.offset == at[frame.stream]
                if isinstance(frame, Output):
                    assert frame.data == _bytes(frame.stream, frame.offset, len(frame.data))
                    at[frame.stream] += len(frame.data)
                else:
                    assert frame.size
                    at[frame.stream] += frame.size
        assert at == {stream: written[stream] for stream in (OUT, ERR)}

    gathered = cut % 16
    with (
        mock.patch.object(journal_reader, "OUTPUT_FRAME_INTERVAL_S", 0.0),
        mock.patch.object(journal_module, "_GATHERED_BYTES", gathered),
    ):
        asyncio.run(play())
