"""Input that its sandbox counts: any number of writers, and each byte is given once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from datetime import timedelta

import pytest

from sandbox_service.domain.errors import BackendUnavailableError, DiskFullError
from sandbox_service.domain.exec_errors import InputClosedError
from sandbox_service.domain.execs import Argv, Program, ShellCommand
from sandbox_service.domain.processes import Durable, Process
from tests.conformance.sandbox_backends import Box, finished, first_output, read_until
from tests.support.calls import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LIMIT = 1024 * 1024


async def _started(box: Box, program: Program | str, exec_id: str = "") -> Process:
    durable = Durable(exec_id=exec_id or f"x-{secrets.token_hex(6)}", spool_limit_bytes=_LIMIT)
    if isinstance(program, str):
        program = ShellCommand(program)
    return await box.start(program, stdin=True, durable=durable)


async def _another(box: Box, process: Process) -> Process:
    """Return the same program as another instance sees it."""
    found = next(it for it in await box.provider.exec_records(box.id) if it.pid == process.pid)
    return await box.provider.adopt(box.id, found)


@pytest.mark.parametrize("size", [0, 1, 300, 65_536, 700_001])
async def test_any_bytes_arrive_unchanged_and_then_the_end(box: Box, size: int):
    """More than a pipe holds, more than an argument may have; and none at all."""
    data = os.urandom(size)
    process = await _started(box, Argv(("sha256sum",)))

    assert process.counts_input
    assert await process.put_input(0, data, end=True) == size
    ran = await finished(process)

    assert ran.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert (ran.end.exit_code, ran.stderr) == (0, b"")


async def test_text_arrives_unchanged(box: Box):
    """Letters of several bytes, cut anywhere; what a shell would obey; line breaks at the end."""
    text = "ä€\U0001d11e -n %s \\n $(id) `id` \t\r\n".encode() * 300 + b"\n\n"
    process = await _started(box, "cat")
    offset = 0
    while offset < len(text):
        offset = await process.put_input(
            max(offset - 2, 0), text[max(offset - 2, 0) :][:1500], end=False
        )
    await process.put_input(offset, b"", end=True)

    assert (await finished(process)).stdout == text


async def test_only_what_is_new_is_given(box: Box):
    """Whatever a caller repeats, and a hole is told."""
    process = await _started(box, "cat")

    assert await process.put_input(0, b"one ", end=False) == 4
    assert await process.put_input(0, b"one ", end=False) == 4
    assert await process.put_input(2, b"e two", end=False) == 7
    assert await process.put_input(9, b"x", end=False) == 7
    assert await process.put_input(0, b"one ", end=True) == 7
    assert await process.put_input(4, b"two!", end=True) == 8
    assert await process.put_input(4, b"two!", end=True) == 8
    with pytest.raises(InputClosedError):
        await process.put_input(8, b"more", end=False)

    assert (await finished(process)).stdout == b"one two!"


async def test_a_program_is_answered_line_by_line(box: Box):
    """What was sent reaches it without more."""
    process = await _started(box, 'while read -r line; do echo "got $line"; done')
    offset = 0
    for word in (b"one", b"two", b"three"):
        offset = await process.put_input(offset, word + b"\n", end=False)
        assert await read_until(process, b"\n") == b"got " + word + b"\n"
    await process.put_input(offset, b"", end=True)

    assert (await finished(process)).end.exit_code == 0


async def test_many_writers_at_once_give_each_byte_once(own_box: Box):
    """All send all of it, in pieces of their own, as if each knew nothing of the others."""
    data = os.urandom(60_000)
    process = await _started(own_box, "cat >got; sha256sum <got")
    others = [await _another(own_box, process) for _ in range(3)]

    async def write(writer: Process, size: int) -> None:
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            count = await writer.put_input(at, piece, end=at + size >= len(data))
            assert count >= at + len(piece)

    writers = zip((process, *others), (7_000, 11_000, 13_001, 60_000), strict=True)
    await asyncio.gather(*(write(writer, size) for writer, size in writers))
    ran = await finished(process)
    for it in others:
        await it.aclose()

    assert ran.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


_KILLER = """
while :; do
  for it in /proc/[0-9]*; do
    mapfile -d '' -t words <"$it/cmdline" && [[ ${words[2]} == *unread_m[a]x* ]] || continue
    [ "$((RANDOM % 2))" != 0 ] || kill -KILL "${it#/proc/}"
  done 2>/dev/null
  read -rt 0.02 <> <(:)
done
"""


async def test_a_writer_that_is_killed_half_way_has_counted_what_it_wrote(own_box: Box):
    """Whoever asks again goes on exactly there."""
    data = os.urandom(400_000)
    process = await _started(own_box, "cat >got; sha256sum <got")
    killer = await own_box.start(ShellCommand(_KILLER))
    offset = killed = 0

    async def put() -> bool:
        nonlocal offset, killed
        try:
            piece = data[offset : offset + 9_000]
            offset = await process.put_input(offset, piece, end=offset + len(piece) >= len(data))
        except (BackendUnavailableError, DiskFullError):
            killed += 1
        return offset == len(data) and killed > 5

    await until(put, limit_s=60, pause_s=0)
    await killer.kill(timedelta(0))
    await killer.aclose()
    await process.put_input(offset, b"", end=True)
    ran = await finished(process)

    assert ran.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


async def test_the_count_outlives_the_program(box: Box):
    """Its last input may have ended it before the answer came."""
    process = await _started(box, "read -r line; exit 4")
    await process.put_input(0, b"bye\n", end=True)
    await finished(process)

    assert await process.put_input(0, b"bye\n", end=True) == 4
    with pytest.raises(InputClosedError):
        await process.put_input(4, b"more", end=False)


async def test_who_reads_no_more_is_given_no_more(box: Box):
    """The first bytes may still have found room in the pipe."""
    process = await _started(box, "exec </dev/null; echo up; sleep 1000")
    await first_output(process)
    offset = 0

    async def refused() -> bool:
        nonlocal offset
        try:
            offset = await process.put_input(offset, b"x", end=False)
        except InputClosedError:
            return True
        return False

    await until(refused)
    assert list(await process.kill(timedelta(0))) == []
    await finished(process)


async def test_a_program_that_does_not_read_holds_up_only_its_writer(box: Box):
    """It can be signalled, what it was given before can be asked for, and its end ends the wait."""
    data = os.urandom(3_000_000)
    process = await _started(box, "trap 'echo usr' USR1; echo up; while :; do sleep 0.05; done")
    await first_output(process)
    given = await process.put_input(0, data[:1000], end=False)
    writing = asyncio.create_task(process.put_input(1000, data[1000:], end=True))

    async def much() -> bool:
        return await process.put_input(0, b"", end=False) > 200_000

    await until(much)
    assert await process.signal("USR1")
    assert await read_until(process, b"\n") == b"usr\n"
    assert await process.put_input(0, data[:1000], end=False) >= given
    assert not writing.done()
    assert list(await process.kill(timedelta(0))) == []
    with pytest.raises(InputClosedError):
        await writing
    assert (await finished(process)).end.signal == "KILL"


async def test_a_signal_does_not_reach_who_feeds_it(box: Box):
    """A program that lives on after TERM still gets its input, and nothing of it is lost."""
    process = await _started(
        box, "trap 'echo term' TERM; echo up; while read -r l; do echo $l; done"
    )
    await first_output(process)
    await process.signal("TERM")
    await read_until(process, b"term\n")
    await process.put_input(0, b"still\n", end=True)

    assert b"still\n" in (await finished(process)).stdout


@pytest.mark.parametrize("line", ["exit 0", "exec sleep 0", "kill -KILL $$"])
async def test_nothing_is_left_of_a_program_that_never_read(box: Box, line: str):
    """Who feeds it ends with it."""
    exec_id = f"x-{secrets.token_hex(6)}"
    process = await _started(box, f"read -r go; {line}", exec_id)
    looking = f"ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c '/{exec_id}[.]in'"
    seen = await box.run(ShellCommand(looking))
    await process.put_input(0, b"\n" + bytes(100_000), end=False)
    await finished(process)

    async def gone() -> bool:
        return (await box.run(ShellCommand(looking))).stdout == b"0\n"

    assert seen.stdout == b"1\n"
    await until(gone)
