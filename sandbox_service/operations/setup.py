"""What happens between a sandbox's start and its being ready: files, then steps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sandbox_service.domain.errors import InvalidRequestError, SetupFailedError
from sandbox_service.domain.execs import Cause, Exited
from sandbox_service.domain.limits import SETUP_OUTPUT_TAIL_BYTES
from sandbox_service.domain.policy import UNCHECKED
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.sandboxes import InitialFile, SandboxRecord, SetupResult, SetupStep
from sandbox_service.domain.setup import SetupFailure
from sandbox_service.operations.commands import run_command
from sandbox_service.operations.execs.execs import Execs

_WRITES_AT_ONCE: Final = 8

_READER_GRACE: Final = timedelta(seconds=1)
"""Not zero, so that a step's output is kept for whoever attaches while Create waits."""

_CHMOD_TIMEOUT: Final = timedelta(seconds=30)


async def write_initial_files(
    provider: SandboxProvider, record: SandboxRecord, files: Sequence[InitialFile]
) -> None:
    """Write `files` and give them their modes.

    Raises:
        InvalidRequestError: One of them cannot be written there.
        DiskFullError: No space is left.
    """
    slots = asyncio.Semaphore(_WRITES_AT_ONCE)

    async def write(file: InitialFile) -> None:
        async with slots:
            await provider.write_file(record.sandbox_id, file.path, file.content)

    await asyncio.gather(*map(write, files))
    by_mode: dict[int, list[str]] = {}
    for file in files:
        if file.mode is not None:
            by_mode.setdefault(file.mode, []).append(file.path)
    for mode, named in by_mode.items():
        argv = ("chmod", "--", format(mode, "o"), *named)
        result = await run_command(provider, record.sandbox_id, argv, timeout=_CHMOD_TIMEOUT)
        if result.exit_code != 0:
            raise InvalidRequestError(f"The sandbox cannot set the mode {mode:o}.")


def numbered(steps: Sequence[SetupStep]) -> tuple[SetupStep, ...]:
    """Return steps with names and ids: `step-1` with the exec `setup-1`, and so on."""
    return tuple(
        replace(
            step,
            name=step.name or f"step-{number}",
            exec=replace(
                step.exec,
                exec_id=step.exec.exec_id or f"setup-{number}",
                reader_grace=_READER_GRACE,
            ),
        )
        for number, step in enumerate(steps, 1)
    )


def planned(steps: Sequence[SetupStep]) -> tuple[SetupResult, ...]:
    """Return what there is to say of steps that have not run."""
    return tuple(
        SetupResult(
            step_index=index,
            name=step.name,
            exec_id=step.exec.exec_id,
            duration=None,
            verdict=step.exec.verdict or UNCHECKED,
        )
        for index, step in enumerate(numbered(steps))
    )


async def run_setup(
    execs: Execs, record: SandboxRecord, steps: Sequence[SetupStep]
) -> tuple[SetupResult, ...]:
    """Run the steps one after another.

    Raises:
        SetupFailedError: One failed; those after it were not run.
    """
    results = []
    for index, step in enumerate(numbered(steps)):
        spec = step.exec
        began = time.monotonic()
        exited, tail = await execs.run_to_end(record, spec, SETUP_OUTPUT_TAIL_BYTES)
        if exited.cause is not Cause.EXIT or exited.exit_code != 0:
            raise _failed(index, step, exited, tail)
        results.append(
            SetupResult(
                step_index=index,
                name=step.name,
                exec_id=spec.exec_id,
                duration=timedelta(seconds=time.monotonic() - began),
                verdict=spec.verdict or UNCHECKED,
            )
        )
    return tuple(results)


def _failed(index: int, step: SetupStep, exited: Exited, tail: bytes) -> SetupFailedError:
    how = f"exit code {exited.exit_code}" if exited.cause is Cause.EXIT else exited.cause.value
    return SetupFailedError(
        f"Setup step {index} {step.name!r} failed ({how}). Nothing is left running; "
        "the details hold the last of its output.",
        SetupFailure(
            step_index=index,
            step_name=step.name,
            exec_id=exited.exec_id,
            exit_code=exited.exit_code,
            signal=exited.signal,
            cause=exited.cause.value,
            fault=exited.fault.value,
            output_tail=tail,
            output_truncated=exited.produced_bytes > len(tail),
        ),
    )
