"""Taking over what an instance that is gone has left, though not all of it works at once."""

from __future__ import annotations

from sandbox_service.domain.errors import (
    BackendError,
    BackendUnavailableError,
    SandboxEndedError,
)
from sandbox_service.domain.sandboxes import SandboxRecord
from sandbox_service.operations.execs.recovery import recover_all
from tests.unit.operations.exec_bench import Bench


async def test_a_restart_takes_over_again_where_it_failed_until_it_works():
    """The backend may be as unwell as when this process' predecessor died of it."""
    bench = Bench()
    bench.provider.fail_leftovers = [BackendUnavailableError("Gone."), BackendError("Odd.")]

    await recover_all(bench.execs, bench.live, ("before", "earlier"), pauses_s=(0,))

    assert bench.provider.leftovers == ["before", "earlier"]


async def test_a_restart_has_nothing_to_take_over_of_a_sandbox_that_ended():
    """Nor of one that was paused meanwhile, or when nobody was there before."""
    bench = Bench()
    rounds = [[bench.record()], []]

    async def fewer() -> list[SandboxRecord]:
        return rounds.pop(0)

    bench.provider.fail_leftovers = [SandboxEndedError("Over.")]
    await recover_all(bench.execs, bench.live, ("before",), pauses_s=())
    bench.provider.fail_leftovers = [BackendUnavailableError("Gone.")]
    await recover_all(bench.execs, fewer, ("before",), pauses_s=(0,))
    await recover_all(bench.execs, bench.live, ())

    assert not rounds
    assert bench.provider.leftovers == []


async def test_a_restart_asks_the_store_again_when_it_does_not_answer():
    """What is left runs on as long as nobody knows where to look."""
    bench = Bench()
    answers: list[Exception | list[SandboxRecord]] = [
        BackendUnavailableError("No store."),
        [bench.record()],
    ]

    async def answer() -> list[SandboxRecord]:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    await recover_all(bench.execs, answer, ("before",), pauses_s=(0,))

    assert bench.provider.leftovers == ["before"]
