"""Sandboxes that are gone while their streams only hang."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from sandbox_service.domain.errors import BackendUnavailableError
from sandbox_service.domain.execs import Cause, ExecSpec, Exited
from sandbox_service.operations.execs import running as running_exec
from sandbox_service.operations.execs import vigil
from tests.support.calls import until
from tests.unit.operations.exec_bench import COMMAND, Bench


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in seconds takes milliseconds."""
    monkeypatch.setattr(vigil, "_LOOK_S", 0.01)
    monkeypatch.setattr(vigil, "_LOOK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(running_exec, "_LAST_WORDS_S", 0.01)


async def _ended(bench: Bench) -> Exited:
    last = (await asyncio.wait_for(bench.run(), 10)).events[-1].event
    assert isinstance(last, Exited)
    return last


async def test_a_sandbox_that_is_gone_behind_a_silent_stream_is_lost():
    """Nobody else would ever tell."""
    bench = Bench()
    bench.provider.gone = True

    assert (await _ended(bench)).cause is Cause.SANDBOX_LOST


@pytest.mark.parametrize("answer", [BackendUnavailableError("No."), None], ids=["fails", "hangs"])
async def test_a_sandbox_that_cannot_be_asked_is_asked_after(answer: Exception | None):
    """The backend knows whether there is one; that the sandbox does not answer proves nothing."""
    bench = Bench()

    async def healthy(_: str) -> bool:
        if answer is None:
            await asyncio.Event().wait()
        else:
            bench.provider.gone = True
            raise answer
        return True

    bench.provider.gone = answer is None
    bench.provider.healthy = healthy  # type: ignore[method-assign]

    assert (await _ended(bench)).cause is Cause.SANDBOX_LOST


async def test_what_only_sleeps_is_left_alone_and_what_writes_is_not_asked_after():
    """And when nothing runs any more, nobody is asked at all."""
    bench = Bench()
    process = bench.provider.next
    asked: list[str] = []

    async def healthy(sandbox_id: str) -> bool:
        asked.append(sandbox_id)
        return True

    bench.provider.healthy = healthy  # type: ignore[method-assign]
    async with aclosing(bench.execs.run(bench.record(), ExecSpec(program=COMMAND))) as events:
        await anext(events)
        await until(lambda: len(asked) > 2)
        process.ends(0)
        *_, last = [it.event async for it in events]
    tasks = {it.get_coro().__qualname__ for it in asyncio.all_tasks()}  # type: ignore[union-attr]
    await until(lambda: not any("Vigil" in str(it.get_coro()) for it in asyncio.all_tasks()))

    assert last.cause is Cause.EXIT
    assert "Vigil._watch" in tasks
    assert set(asked) == {"box"}


async def test_a_program_that_writes_is_alive_without_being_asked():
    """Output is the better answer."""
    bench = Bench()
    process = bench.provider.next
    bench.provider.gone = True
    writing = asyncio.create_task(_write(process))
    async with aclosing(bench.execs.run(bench.record(), ExecSpec(program=COMMAND))) as events:
        seen = 0
        async for _ in events:
            seen += 1
            if seen > 100:
                break
        writing.cancel()
        process.ends(0)

    assert seen > 100


async def _write(process) -> None:
    while True:
        process.writes(b"x")
        await asyncio.sleep(0.001)
