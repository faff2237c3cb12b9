"""The processes that parse strangers' code: what becomes of them is nobody else's business."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox_service.app.policy_process import PolicyProcesses
from sandbox_service.operations.policy.code_policy import UncheckedError
from sandbox_service.operations.policy.engine import Code, Engine
from sandbox_service.operations.policy.rules import RuleSet
from tests.support.processes import alive, command

WORKER = "sandbox_service.app.policy_worker"
SHIPPED = RuleSet.load(None)
SHORT = Code("bash", "sudo rm -rf /")
# Its parts are few and its parse is long.
LONG = Code("bash", "rm |" * 50_000 + " a")


@pytest.fixture
async def processes() -> AsyncIterator[PolicyProcesses]:
    running = PolicyProcesses(SHIPPED)
    yield running
    await running.aclose()
    assert workers() == []


def workers() -> list[int]:
    """Return the policy's processes that this one has started; a service has others."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return [pid for pid in found if WORKER in command(pid) and alive(pid)]


async def test_a_process_finds_what_the_engine_finds(processes):
    """Nothing is lost on the way there and back."""
    codes = [SHORT, Code("python", "os.system('''\nrm -rf /''')"), Code("bash", "# é\u2028\0 rm")]

    for code in codes:
        assert tuple(await processes.findings(code)) == Engine(SHIPPED).findings(code)


async def test_nothing_runs_before_it_is_needed_and_nothing_is_started_twice(processes):
    """Most deployments' programs never need it."""
    assert workers() == []
    await asyncio.gather(*(processes.findings(SHORT) for _ in range(20)))
    assert len(workers()) == 1


async def test_the_process_knows_no_secret(processes, monkeypatch):
    """It parses what strangers write."""
    monkeypatch.setenv("E2B_API_KEY", "a-secret")
    await processes.findings(SHORT)
    [pid] = workers()

    environment = await asyncio.to_thread(Path(f"/proc/{pid}/environ").read_bytes)

    assert b"a-secret" not in environment


async def test_a_check_that_takes_too_long_is_given_up_and_the_next_one_works():
    """Whatever the parser is at."""
    processes = PolicyProcesses(SHIPPED, limit_s=0.1)
    try:
        with pytest.raises(UncheckedError, match="too long"):
            await processes.findings(LONG)
        assert len(await processes.findings(SHORT)) == 1
        with pytest.raises(UncheckedError, match="too long"):
            await processes.findings(LONG)
    finally:
        await processes.aclose()
    assert workers() == []


async def test_long_code_does_not_hold_up_short_code(processes):
    """They are looked at in different processes."""
    await processes.findings(SHORT)
    waiting = asyncio.create_task(processes.findings(LONG))
    await asyncio.sleep(0)

    assert len(await processes.findings(SHORT)) == 1
    assert not waiting.done()
    waiting.cancel()


async def test_a_process_that_crashes_is_replaced(processes):
    """A bug in a parser costs one verdict."""
    await processes.findings(SHORT)
    [pid] = workers()
    asking = asyncio.create_task(processes.findings(Code("bash", "rm " + "a " * 8000)))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(UncheckedError, match="the parser failed"):
        await asking

    assert len(await processes.findings(SHORT)) == 1
    assert workers() != [pid]


async def test_a_caller_that_leaves_takes_nobodys_answer_along(processes):
    """Answers belong to questions by their order alone."""
    await processes.findings(SHORT)
    leaving = [asyncio.create_task(processes.findings(SHORT)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()

    assert await processes.findings(Code("bash", "rm x")) == []
    assert len(await processes.findings(SHORT)) == 1


async def test_more_than_is_looked_into_is_said(processes):
    """As the engine says it."""
    with pytest.raises(UncheckedError, match="too much code within code"):
        await processes.findings(Code("bash", "sudo true\n" * 1001 + "rm -rf /"))
