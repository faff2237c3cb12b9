"""Programs whose output is not spooled, after contact with them was lost."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_service.domain.execs import Position, ShellCommand, Stream
from sandbox_service.domain.processes import ProcessGap
from tests.conformance.sandbox_backends import Box, finished, first_output, read_so_far
from tests.support.calls import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_without_a_spool_a_hole_is_told_on_each_stream(box: Box):
    """Whether anything was missed nobody knows, so it is never hidden."""
    process = await box.start(
        ShellCommand("echo up; echo up >&2; read -r go; echo end; exit 3"), stdin=True
    )
    out, err, position = await read_so_far(process, 6)
    await process.reconnect(position)
    reading = asyncio.create_task(finished(process))
    await process.write_stdin(b"\n")
    ran = await reading

    assert (out, err) == (b"up\n", b"up\n")
    assert set(ran.gaps) == {ProcessGap(Stream.STDOUT), ProcessGap(Stream.STDERR)}
    assert ran.stdout == b"end\n"
    assert ran.end.exit_code == 3


async def test_the_end_that_came_while_contact_was_lost_is_known_for_a_while(box: Box):
    """The backend keeps it; its output is gone."""
    process = await box.start(ShellCommand("echo up; read -r go; echo end; exit 3"), stdin=True)
    await first_output(process)
    await process.aclose()
    await process.write_stdin(b"\n")
    await until(lambda: _gone(box, process.pid))
    await process.reconnect(Position(3, 0))
    ran = await finished(process)

    assert (ran.stdout, ran.end.exit_code, len(ran.gaps)) == (b"", 3, 2)


async def test_an_end_behind_a_child_is_known_after_contact_was_lost(box: Box):
    """The trailers were missed, and a child holds the output open."""
    process = await box.start(ShellCommand("sleep 8765 & echo up; read -r go; exit 3"), stdin=True)
    await first_output(process)
    await process.aclose()
    await process.write_stdin(b"\n")
    await until(lambda: _gone(box, process.pid))
    await process.reconnect(Position(3, 0))
    ran = await asyncio.wait_for(finished(process), 20)

    assert ran.end.exit_code == 3
    await box.end_all("sleep 8765")


async def _gone(box: Box, pid: int) -> bool:
    return await box.state(pid) in ("", "Z")
