"""Who wishes a sandbox to stand still, and what that comes to."""

from __future__ import annotations

import asyncio
import contextlib
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.e2b_local.machine.freezer import Level, RestlessError
from sandbox_service.e2b_local.machine.model import GuestOSError
from sandbox_service.e2b_local.machine.stillness import Stillness


class RecordingFreezer:
    """Does what it is told, or refuses."""

    def __init__(self) -> None:
        self.level = Level.RUNNING
        self.restless = False

    def hold(self, level: Level) -> None:
        if self.restless and level is not Level.RUNNING:
            raise RestlessError("too many")
        self.level = level


async def settle() -> None:
    """An agent that has nothing else to do."""


def expected(stack: list[str]) -> Level:
    """What a history of blocks and freezes comes to: the last of them decides."""
    if not stack:
        return Level.RUNNING
    return Level.FROZEN if stack[-1] == "freeze" else Level.PROGRAMS_STOPPED


@given(st.lists(st.sampled_from(["freeze", "block", "back"]), max_size=12))
async def test_the_innermost_wish_decides_and_all_are_undone(moves):
    """Whatever is nested in whatever, the sandbox runs in the end."""
    freezer = RecordingFreezer()
    stillness = Stillness(freezer, settle)
    stack: list[str] = []
    blocks: list[contextlib.AbstractAsyncContextManager[None]] = []
    for move in moves:
        if move == "freeze" and "freeze" not in stack:
            await stillness.freeze()
            stack.append("freeze")
        elif move == "block":
            blocks.append(stillness.programs_stopped())
            await blocks[-1].__aenter__()
            stack.append("block")
        elif move == "back" and stack:
            if stack.pop() == "block":
                await blocks.pop().__aexit__(None, None, None)
            else:
                await stillness.thaw()
        assert freezer.level is expected(stack), stack
        assert stillness.frozen is (freezer.level is Level.FROZEN)
        assert stillness.holding is ("block" in stack)
    while blocks:
        await blocks.pop().__aexit__(None, None, None)
    assert freezer.level is (Level.FROZEN if "freeze" in stack else Level.RUNNING)
    await stillness.thaw()

    assert freezer.level is Level.RUNNING
    await asyncio.wait_for(stillness.wait_until_released(), 1)


async def test_what_cannot_be_stopped_is_told_and_not_wished_any_more():
    """Else its next thaw would wake what never slept."""
    freezer = RecordingFreezer()
    stillness = Stillness(freezer, settle)
    freezer.restless = True
    with pytest.raises(GuestOSError) as caught:
        await stillness.freeze()
    with pytest.raises(GuestOSError):
        async with stillness.programs_stopped():
            pytest.fail("nothing was stopped")

    assert caught.value.errno == errno.EBUSY
    assert not stillness.frozen
    assert not stillness.holding
    freezer.restless = False
    await stillness.freeze()
    assert freezer.level is Level.FROZEN


async def test_an_agent_that_is_lost_holds_nothing():
    """The block is not entered when the agent cannot say that it is ready."""

    async def fail() -> None:
        raise ConnectionError

    freezer = RecordingFreezer()
    stillness = Stillness(freezer, fail)
    with pytest.raises(ConnectionError):
        async with stillness.programs_stopped():
            pytest.fail("entered")

    assert not stillness.holding
    assert freezer.level is Level.RUNNING


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancelled_block_is_left(turns):
    """At whatever moment it is cancelled."""
    freezer = RecordingFreezer()
    stillness = Stillness(freezer, settle)

    async def hold() -> None:
        async with stillness.programs_stopped():
            await asyncio.Event().wait()

    holding = asyncio.ensure_future(hold())
    for _ in range(turns):
        await asyncio.sleep(0)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding

    assert freezer.level is Level.RUNNING
    assert not stillness.holding


async def test_a_cancelled_freeze_does_not_thaw_what_was_frozen_before():
    """The second freeze had nothing to do, so it has nothing to undo."""
    freezer = RecordingFreezer()
    stillness = Stillness(freezer, settle)
    await stillness.freeze()
    again = asyncio.ensure_future(stillness.freeze())
    await asyncio.sleep(0)
    again.cancel()
    with pytest.raises(asyncio.CancelledError):
        await again

    assert freezer.level is Level.FROZEN


async def test_who_waits_for_programs_hears_of_the_end():
    """A dead sandbox never releases anything."""
    stillness = Stillness(RecordingFreezer(), settle)
    async with stillness.programs_stopped():
        waiting = asyncio.ensure_future(stillness.wait_until_released())
        await asyncio.sleep(0)
        assert not waiting.done()
        stillness.close()
        await asyncio.wait_for(waiting, 1)

    assert not stillness.holding
    assert not stillness.frozen


async def test_nobody_starts_a_program_while_the_others_are_killed():
    """It would be killed with them, and its caller would wonder why."""
    held = []

    class KillingFreezer(RecordingFreezer):
        def kill_programs(self) -> None:
            held.append(stillness.holding)

    stillness = Stillness(KillingFreezer(), settle)
    await stillness.kill_programs()

    assert held == [True]
    assert not stillness.holding
    await asyncio.wait_for(stillness.wait_until_released(), 1)


async def test_programs_that_cannot_be_killed_are_told():
    class HelplessFreezer(RecordingFreezer):
        def kill_programs(self) -> None:
            raise RestlessError("too many")

    stillness = Stillness(HelplessFreezer(), settle)
    with pytest.raises(GuestOSError) as caught:
        await stillness.kill_programs()

    assert caught.value.errno == errno.EBUSY
    assert not stillness.holding


async def test_the_dead_have_no_programs():
    stillness = Stillness(RecordingFreezer(), settle)
    stillness.close()

    await stillness.kill_programs()
