"""What is written down of a sandbox that others pause, at moments that cannot be met for real."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from sandbox_service.domain.errors import BackendQuotaExceededError, SandboxEndedError
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.lifecycle import moved
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.ports import BackendSandbox, RecordFilter
from sandbox_service.domain.sandboxes import SandboxRecord, SandboxState
from sandbox_service.operations.resumption import Resumption
from sandbox_service.operations.sandboxes import TENANT, Sandboxes
from sandbox_service.telemetry.metrics import Metrics
from tests.support.scripted import SetClock, running_record

LIMITS = Limits(lifetime_default=timedelta(minutes=5), lifetime_max=timedelta(hours=2))
MINE = Caller(tenant="tenant")


class Kept:
    """A store of records.

    Attributes:
        answered: What the answer to a write waits for.
    """

    def __init__(self) -> None:
        self.records: dict[str, SandboxRecord] = {}
        self.answered = asyncio.Event()
        self.answered.set()

    async def put(self, record: SandboxRecord) -> None:
        self.records[record.sandbox_id] = record
        await self.answered.wait()

    async def get(self, sandbox_id: str) -> SandboxRecord | None:
        return self.records.get(sandbox_id)

    async def list(self, which: RecordFilter, limit: int) -> Sequence[SandboxRecord]:
        return list(self.records.values())

    async def forget_before(self, time: datetime) -> int:
        return 0


class Backend:
    """A sandbox that is paused until it is resumed.

    Attributes:
        seen: How it is.
        lifetimes: Of each resumption.
        gate: What every answer waits for.
        fail: Raised by a resumption.
    """

    def __init__(self, record: SandboxRecord) -> None:
        self.seen: BackendSandbox | None = BackendSandbox(
            sandbox_id=record.sandbox_id,
            template_id="base",
            running=False,
            metadata={},
            start_time=record.create_time,
            end_time=record.expire_time,
        )
        self.lifetimes: list[timedelta] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail: Exception | None = None

    async def get(self, sandbox_id: str) -> BackendSandbox | None:
        seen = self.seen
        await self.gate.wait()
        return seen

    async def list(self, metadata: Mapping[str, str]) -> Sequence[BackendSandbox]:
        return [] if self.seen is None else [self.seen]

    async def resume(self, sandbox_id: str, left: timedelta) -> BackendSandbox:
        self.lifetimes.append(left)
        await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        assert self.seen is not None
        self.seen = replace(self.seen, running=True)
        return self.seen


class World:
    def __init__(self) -> None:
        self.clock = SetClock()
        running = running_record(self.clock)
        self.backend = Backend(running)
        self.record = moved(running, SandboxState.PAUSED, self.clock.now())
        self.store = Kept()
        self.registry = CollectorRegistry()
        self.sandboxes = Sandboxes(
            self.store, self.backend, self.clock, Metrics(self.registry), "test", LIMITS
        )

    def counted(self, state: SandboxState) -> float:
        labels = {"state": state.value}
        return self.registry.get_sample_value("sandbox_sandboxes", labels) or 0.0

    async def use(self) -> SandboxRecord:
        using = self.sandboxes.using(MINE, self.record.sandbox_id, auto_resume=True)
        async with using as record:
            return record


@pytest.fixture
async def world() -> World:
    world = World()
    await world.sandboxes.put(world.record)
    return world


async def test_all_who_ask_at_once_share_a_resumption(world):
    """And the generation that comes of it."""
    used = await asyncio.gather(*(world.use() for _ in range(50)))

    assert len(world.backend.lifetimes) == 1
    assert {(it.state, it.generation) for it in used} == {(SandboxState.RUNNING, 2)}


async def test_an_answer_from_before_a_resumption_is_no_news(world):
    """The sandbox would be told as paused, and be resumed twice."""
    world.backend.gate.clear()
    late = asyncio.create_task(world.sandboxes.refreshed(world.record))
    await asyncio.sleep(0)
    answer, world.backend.gate = world.backend.gate, asyncio.Event()
    world.backend.gate.set()
    await world.use()
    answer.set()

    assert (await late).state is SandboxState.RUNNING
    assert (await world.use()).generation == 2
    assert len(world.backend.lifetimes) == 1


async def test_a_sandbox_that_is_gone_is_gone_whatever_was_resumed(world):
    """No generation follows an end."""
    await world.use()
    world.backend.seen = None

    assert (await world.sandboxes.refreshed(world.record)).state is SandboxState.ENDED


async def test_a_resumption_goes_on_without_whoever_asked_first(world):
    """Others may wait for it."""
    world.backend.gate.clear()
    resumption = Resumption(world.backend, LIMITS)
    first, second = (asyncio.create_task(resumption.of(world.record)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    world.backend.gate.set()

    assert (await second).running
    assert first.cancelled()
    assert len(world.backend.lifetimes) == 1


async def test_a_resumption_that_failed_is_tried_anew(world):
    """Whoever waited for it is told; who comes later asks again."""
    world.backend.fail = BackendQuotaExceededError("Full.")
    failed = await asyncio.gather(*(world.use() for _ in range(3)), return_exceptions=True)
    world.backend.fail = None

    assert {type(it) for it in failed} == {BackendQuotaExceededError}
    assert (await world.use()).state is SandboxState.RUNNING
    assert len(world.backend.lifetimes) == 2


async def test_one_that_ends_under_its_resumption_is_told_as_ended(world):
    """And written down as that."""

    async def gone(sandbox_id: str, left: timedelta) -> BackendSandbox:
        world.backend.seen = None
        raise SandboxEndedError("It has ended.")

    world.backend.resume = gone
    with pytest.raises(SandboxEndedError):
        await world.use()

    found = await world.sandboxes.find(MINE, world.record.sandbox_id)
    assert found.state is SandboxState.ENDED


async def test_a_paused_sandbox_that_nobody_knew_is_paused_since_its_end(world):
    """Not since its start: it would live for all of that time again."""
    started = world.clock.now() - timedelta(hours=1)
    world.backend.seen = replace(
        world.backend.seen,
        sandbox_id="forgotten",
        start_time=started,
        end_time=started + timedelta(minutes=3),
        metadata={TENANT: MINE.tenant},
    )
    await world.sandboxes.keep_house()
    found = await world.sandboxes.find(MINE, "forgotten")

    assert (found.state, found.state_time) == (SandboxState.PAUSED, found.expire_time)


@pytest.mark.parametrize(
    ("left", "lifetime"),
    [
        (timedelta(minutes=50), timedelta(minutes=50)),
        (timedelta(minutes=1), LIMITS.lifetime_default),
        (timedelta(0), LIMITS.lifetime_default),
        (timedelta(hours=30), LIMITS.lifetime_max),
    ],
)
async def test_it_lives_for_what_it_had_left_or_more(world, left, lifetime):
    """As long as it would have; one whose lifetime had ended, for the default."""
    record = replace(world.record, expire_time=world.record.state_time + left)
    await Resumption(world.backend, LIMITS).of(record)

    assert world.backend.lifetimes == [lifetime]


async def test_a_write_that_was_given_up_is_not_counted_and_not_taken_back():
    """Its caller left; the end of the sandbox, which is noted then, counted it away."""
    world = World()
    world.backend.seen = None
    new = replace(world.record, state=SandboxState.SETTING_UP)
    world.store.answered.clear()
    writing = asyncio.create_task(world.sandboxes.put(new))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    world.store.answered.set()
    ended = await world.sandboxes.gone(new)

    assert ended.state is SandboxState.ENDED
    assert world.counted(SandboxState.SETTING_UP) == 0


async def test_another_instances_sandbox_is_not_counted_away():
    """This one never counted it, and only learns that it is gone."""
    world = World()
    world.backend.seen = None
    world.store.records[world.record.sandbox_id] = world.record
    found = await world.sandboxes.find(MINE, world.record.sandbox_id)
    ended = await world.sandboxes.gone(found)

    assert ended.state is SandboxState.ENDED
    assert world.counted(SandboxState.PAUSED) == 0
