"""Running a short command in a sandbox for the service's own sake."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sandbox_service.domain.errors import (
    BackendError,
    BackendUnavailableError,
    OutcomeUnknownError,
)
from sandbox_service.domain.execs import Argv, Stream
from sandbox_service.domain.limits import MIB
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.processes import Process, ProcessEnd, ProcessGap, ProcessSpec

_KILL_GRACE: Final = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended, and all that it wrote.

    Attributes:
        exit_code: None when a signal ended it.
        signal: The signal's name without SIG, or empty.
    """

    exit_code: int | None
    signal: str
    stdout: bytes
    stderr: bytes


def command_spec(argv: Sequence[str], user: str, *, backstop: timedelta) -> ProcessSpec:
    """Return what to start, to run a program in its user's home, without input.

    Args:
        argv: The program and its arguments. No shell reads them.
        user: Empty: the template's default user.
        backstop: When the backend is to kill it, should nobody else.
    """
    return ProcessSpec(
        marker=secrets.token_hex(16),
        program=Argv(tuple(argv)),
        cwd="",
        env={},
        user=user,
        stdin=False,
        backstop=backstop,
    )


async def run_command(
    provider: SandboxProvider,
    sandbox_id: str,
    argv: Sequence[str],
    *,
    user: str = "",
    timeout: timedelta,
    output_limit: int = MIB,
) -> CommandResult:
    """Run a program in its user's home, without input, and wait for its end.

    A program that fails is a result. Cancelling the call kills it.

    Args:
        provider: Where the sandbox is.
        sandbox_id: The sandbox.
        argv: The program and its arguments. No shell reads them.
        user: Empty: the template's default user.
        timeout: From start to kill.
        output_limit: Bytes of both streams together.

    Raises:
        BackendError: It wrote more than `output_limit` and was killed.
        OutcomeUnknownError: It took longer than `timeout` and was killed, or
            contact was lost after it had started.
        BackendUnavailableError: It was not started.
        SandboxError: Whatever the provider says of starting or of reading.
    """
    spec = command_spec(argv, user, backstop=timeout + timedelta(seconds=10))
    cancels = _cancels()
    process = await provider.start(sandbox_id, spec)
    try:
        if _cancels() > cancels:
            # asyncio.wait_for, in the SDK, loses a cancellation that comes with the answer.
            raise asyncio.CancelledError
        async with asyncio.timeout(timeout.total_seconds()):
            return await _read(process, output_limit)
    except (TimeoutError, asyncio.CancelledError, BackendError) as error:
        await process.kill(_KILL_GRACE)
        if isinstance(error, TimeoutError):
            raise OutcomeUnknownError(
                f"A command of the service did not end within {timeout.total_seconds():g} s "
                "and was stopped. Look at what it changed, then repeat the call.",
                metadata={"sandbox_id": sandbox_id},
            ) from None
        raise
    except BackendUnavailableError:
        raise OutcomeUnknownError(
            "Contact was lost while a command of the service ran. "
            "Look at what it changed, then repeat the call.",
            metadata={"sandbox_id": sandbox_id},
        ) from None
    finally:
        await process.aclose()


def _cancels() -> int:
    """Return how often this task has been asked to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def _read(process: Process, output_limit: int) -> CommandResult:
    written = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
    left = output_limit
    async for event in process.events():
        if isinstance(event, ProcessEnd):
            return CommandResult(
                exit_code=event.exit_code,
                signal=event.signal,
                stdout=bytes(written[Stream.STDOUT]),
                stderr=bytes(written[Stream.STDERR]),
            )
        if isinstance(event, ProcessGap):
            raise BackendError("A part of a command's output is missing. Repeat the call.")
        left -= len(event.data)
        if left < 0:
            raise BackendError(
                f"A command of the service wrote more than {output_limit} bytes and was stopped."
            )
        written[event.stream] += event.data
    raise BackendError("A command's output ended without its end. Repeat the call.")
