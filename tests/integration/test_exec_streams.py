"""Exec's output: exact bytes, whoever reads them and however slowly."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import Ran, events, first_output, until
from tests.support.processes import resident_bytes

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1 << 20
JOURNAL = 8 * MIB
RANDOM = (
    "head -c 5000000 /dev/urandom | tee /tmp/random-$$; "
    "sha256sum /tmp/random-$$ >&2; rm /tmp/random-$$"
)


async def test_output_arrives_as_it_is_written(box):
    """Line by line, not at the end: a browser shows it."""
    call = box.exec("echo first; read -t 20 x < <(sleep 20); echo second")
    began = time.monotonic()
    event = await first_output(call)
    took = time.monotonic() - began
    call.cancel()

    assert event.output.data == b"first\n"
    assert took < 5


async def test_every_byte_value_goes_through_on_both_streams(box):
    """Bytes are bytes: nothing decodes them."""
    code = "import os\nall = bytes(range(256)) * 4\nos.write(1, all)\nos.write(2, all[::-1])"
    ran = await box.run(["python3", "-c", code])

    assert ran.stdout == bytes(range(256)) * 4
    assert ran.stderr == (bytes(range(256)) * 4)[::-1]


@pytest.mark.parametrize(
    "data",
    [b"\x00", b"\xff\xfe\x80", b"\xc3", b"a\x00b\x00", b"\xed\xa0\x80", b"\x1e", b"\r\n\x1b[0m"],
    ids=["nul", "invalid", "half", "nuls", "surrogate", "separator", "terminal"],
)
async def test_what_is_no_text_makes_the_round_trip(box, data):
    """In by stdin, out by both streams, unchanged."""
    ran = await box.run("tee /dev/stderr", stdin={"data": data})

    assert ran.stdout == data
    assert ran.stderr == data


async def test_what_looks_like_the_services_own_mark_is_the_programs_output(box):
    """No byte sequence is special to a caller."""
    text = b"\x1e" + b"0" * 24 + b":0\x1e\x1e\x1e\n"
    ran = await box.run("cat", stdin={"data": text * 100})

    assert ran.stdout == text * 100


async def test_five_megabytes_of_noise_arrive_with_their_hash(box):
    """Exact, also when frames are large."""
    ran = await box.run(RANDOM)

    assert len(ran.stdout) == 5_000_000
    assert ran.stderr.split()[0] == hashlib.sha256(ran.stdout).hexdigest().encode()


async def test_a_slow_reader_gets_the_same_bytes(box):
    """The program waits for its reader, as with a pipe."""
    seen = []
    async for response in box.exec(RANDOM):
        seen.append(response.event)
        await asyncio.sleep(0.01)
    ran = Ran(seen).check()

    assert "gap" not in ran.kinds()
    assert ran.stderr.split()[0] == hashlib.sha256(ran.stdout).hexdigest().encode()


async def test_a_reader_that_stops_costs_bounded_memory_and_slows_nobody(service, box):
    """One stalled browser must not be the end of the service."""
    pid = service.process.pid
    await box.run("head -c 20000000 /dev/zero")
    before = resident_bytes(pid)
    kept = service.metric("sandbox_exec_journal_bytes")
    call = box.exec("head -c 67108864 /dev/zero")
    seen = await events(call, 2)
    await until(lambda: service.metric("sandbox_exec_journal_bytes") >= kept + JOURNAL)
    during = resident_bytes(pid)
    began = time.monotonic()
    other = await box.run("echo at once")
    took = time.monotonic() - began
    seen += await events(call)

    assert during - before < JOURNAL + 8 * MIB
    assert other.stdout == b"at once\n"
    assert took < 2
    assert Ran(seen).check().stdout == bytes(64 * MIB)


async def test_a_program_that_may_not_wait_leaves_a_gap_for_a_reader_that_stopped(box, service):
    """GAP: offsets go on, and what is missing is told."""
    call = box.exec(
        "head -c 33554432 /dev/zero; echo done > /tmp/gap-done", overflow=pb.OVERFLOW_GAP
    )
    seen = await events(call, 2)
    async with asyncio.timeout(20):
        await box.run("until [ -e /tmp/gap-done ]; do sleep 0.05; done; rm /tmp/gap-done")
    seen += await events(call)
    ran = Ran(seen).check()
    gaps = [event.gap for event in seen if event.HasField("gap")]

    assert gaps
    assert {gap.cause for gap in gaps} == {pb.GAP_CAUSE_EVICTED}
    assert len(ran.stdout) + sum(gap.missing_bytes for gap in gaps) == 32 * MIB
    assert ran.started.overflow == pb.OVERFLOW_GAP
    (stdout,) = [it for it in ran.exited.totals if it.stream == pb.OUTPUT_STREAM_STDOUT]
    assert (stdout.produced_bytes, stdout.delivered_bytes) == (32 * MIB, len(ran.stdout))


async def test_a_flood_of_short_lines_comes_in_few_events(box):
    """A message of 64 bytes costs as much as one of 32 KiB."""
    ran = await box.run("seq 100000")

    assert ran.text.split() == [str(number) for number in range(1, 100_001)]
    assert len(ran.events) < 500


async def test_two_hundred_execs_at_once_all_finish(box):
    """Each with its own output, each with its own end."""
    ran = await asyncio.gather(
        *(box.run(["sh", "-c", f"echo {number}; exit {number % 7}"]) for number in range(200))
    )

    assert [it.stdout for it in ran] == [f"{number}\n".encode() for number in range(200)]
    assert [it.outcome for it in ran] == [("EXIT", number % 7) for number in range(200)]


async def test_nothing_of_an_execs_output_is_kept_after_its_end(box, service):
    """A service that runs for weeks."""
    before = service.metric("sandbox_exec_journal_bytes")
    await box.run("head -c 1000000 /dev/zero")

    await until(lambda: service.metric("sandbox_exec_journal_bytes") <= before)
    await until(lambda: service.metric("sandbox_execs_running") == 0)
