"""How a process is started under limits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import Limits
from sandbox_service.e2b_local.machine.limits.confinement import AgentLimits, Confinement, Means


@pytest.fixture
def confinement() -> Iterator[Confinement]:
    with ThreadPoolExecutor(1) as launcher:
        means = Means(launcher, None, None, freezer=False)
        told = AgentLimits("{}", {})
        yield Confinement(Limits(), told, Path("/nowhere"), None, None, None, means)


class Started:
    """A process that was started."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def kill(self) -> None:
        self.done.append("killed")

    def wait(self) -> int:
        self.done.append("waited for")
        return 0


async def cancel_while_it_starts(confinement, outcome) -> asyncio.Task[object]:
    begun, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def start():
        loop.call_soon_threadsafe(begun.set)
        go.wait(10)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    task = asyncio.create_task(confinement.start(start))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait((task,))
    return task


async def test_one_that_nobody_wants_any_more_is_ended(confinement):
    """Nothing is left of it when whoever asked for it goes on."""
    started = Started()
    task = await cancel_while_it_starts(confinement, started)

    assert task.cancelled()
    assert started.done == ["killed", "waited for"]


async def test_who_was_cancelled_is_even_if_it_could_not_be_started(confinement):
    """Whoever cancelled waits for that, and for nothing else."""
    task = await cancel_while_it_starts(confinement, OSError("no processes left"))

    assert task.cancelled()
