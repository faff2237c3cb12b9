"""Running a command for the service's own sake."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sandbox_service.domain.errors import BackendError, OutcomeUnknownError
from sandbox_service.domain.execs import Stream
from sandbox_service.domain.processes import ProcessEnd, ProcessOutput, ProcessSpec
from sandbox_service.operations.commands import CommandResult, run_command
from tests.unit.operations.canned_sandbox import CannedSandbox, out, settle


async def test_a_command_that_writes_too_much_or_takes_too_long_is_killed() -> None:
    """The service's own commands have limits too."""
    sandbox = CannedSandbox(out(b"12345"), out(b"6"), ProcessEnd(0, ""))
    second = timedelta(seconds=1)
    with pytest.raises(BackendError):
        await run_command(sandbox, "s", ["x"], timeout=second, output_limit=5)  # type: ignore[arg-type]
    sandbox.until = asyncio.Event()
    with pytest.raises(OutcomeUnknownError):
        await run_command(sandbox, "s", ["x"], timeout=timedelta(milliseconds=1))  # type: ignore[arg-type]
    call = asyncio.create_task(run_command(sandbox, "s", ["x"], timeout=second))  # type: ignore[arg-type]
    await settle()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert all(process.killed and process.closed for process in sandbox.processes)


async def test_a_cancellation_that_is_lost_while_a_command_starts_still_ends_it() -> None:
    """What comes together with the backend's answer, the SDK's own wait may swallow."""
    sandbox = CannedSandbox()
    sandbox.until = asyncio.Event()
    start, answered = sandbox.start, asyncio.Event()

    async def deaf(sandbox_id: str, spec: ProcessSpec) -> object:
        try:
            await answered.wait()
        except asyncio.CancelledError:
            return await start(sandbox_id, spec)
        raise AssertionError("nobody cancelled")

    sandbox.start = deaf  # type: ignore[method-assign]
    second = timedelta(seconds=1)
    call = asyncio.create_task(run_command(sandbox, "s", ["x"], timeout=second))  # type: ignore[arg-type]
    await settle()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert [process.killed for process in sandbox.processes] == [True]


async def test_a_command_returns_both_streams_and_its_end() -> None:
    """A program that fails is a result."""
    sandbox = CannedSandbox(
        out(b"a"), ProcessOutput(Stream.STDERR, b"e"), out(b"b"), ProcessEnd(7, "")
    )

    result = await run_command(sandbox, "s", ["x"], timeout=timedelta(seconds=1))  # type: ignore[arg-type]

    assert result == CommandResult(7, "", b"ab", b"e")
    assert sandbox.processes[0].closed
    assert not sandbox.processes[0].killed
