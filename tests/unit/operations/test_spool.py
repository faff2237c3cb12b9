"""A durable exec's output that its journal has no more comes from the sandbox."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from sandbox_service.domain.errors import (
    BackendError,
    BackendUnavailableError,
    SandboxEndedError,
)
from sandbox_service.domain.exec_errors import TooManyExecsError
from sandbox_service.domain.execs import (
    ExecSpec,
    Exited,
    Gap,
    Output,
    Position,
    Positioned,
    Retention,
    Stream,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.operations.execs import spool
from tests.support.calls import until
from tests.unit.operations.exec_bench import COMMAND, Bench, Ran

_WHOLE = bytes(range(250)) * 100
_LIMIT = 5_000


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in seconds takes milliseconds."""
    monkeypatch.setattr(spool, "_PAUSES_S", (0.0, 0.001, 0.002))


def _spec(retention: Retention = Retention.DURABLE) -> ExecSpec:
    return ExecSpec(program=COMMAND, exec_id="one", retention=retention, block=False)


async def _written(bench: Bench, spec: ExecSpec) -> None:
    """Run a program that writes more than its journal keeps, to its end."""
    process = bench.provider.next
    for start in range(0, len(_WHOLE), 500):
        process.writes(_WHOLE[start : start + 500])
    process.ends(0)
    async with aclosing(bench.execs.run(bench.record(), spec)) as events:
        await anext(events)
    await until(lambda: not bench.execs.running("box"))


async def _attached(bench: Bench, position: Position | None = None) -> Ran:
    events: list[Positioned] = [
        it async for it in bench.execs.attach(bench.record(), "one", position)
    ]
    return Ran(events)


async def _bench(retention: Retention = Retention.DURABLE) -> Bench:
    bench = Bench(Limits(journal_bytes=_LIMIT))
    bench.provider.spools[Stream.STDOUT] = _WHOLE
    await _written(bench, _spec(retention))
    return bench


def _gaps(ran: Ran) -> list[Gap]:
    return [it.event for it in ran.events if isinstance(it.event, Gap)]


@pytest.mark.parametrize("offset", [0, 1, 777, 20_000, 24_000, 25_000])
async def test_an_evicted_position_is_read_from_the_spool(offset: int):
    """To the byte, and then the journal's own; all of it is counted as given."""
    bench = await _bench()

    ran = await _attached(bench, Position(offset, 0))

    assert _gaps(ran) == []
    assert ran.output() == _WHOLE[offset:]
    offsets = [it.event.offset for it in ran.events if isinstance(it.event, Output)]
    assert offsets == sorted(offsets)
    assert ran.events[-1].position == Position(25_000, 0)
    exited = ran.events[-1].event
    assert isinstance(exited, Exited)
    assert exited.counts[Stream.STDOUT].delivered_bytes == 25_000 - offset


async def test_a_reading_that_breaks_is_taken_up_where_it_was():
    """Nothing comes twice."""
    bench = await _bench()
    bench.provider.fail_spooled = [
        BackendUnavailableError("Lost."),
        BackendUnavailableError("Lost."),
    ]

    ran = await _attached(bench)

    assert ran.output() == _WHOLE
    assert _gaps(ran) == []


async def test_a_reading_that_breaks_often_goes_on_as_long_as_something_comes():
    """A long one may break more often than one that brings nothing is tried."""
    bench = await _bench()
    bench.provider.fail_spooled = [BackendError("Odd."), TooManyExecsError("Full.")] * 10

    ran = await _attached(bench)

    assert ran.output() == _WHOLE
    assert _gaps(ran) == []


async def test_what_cannot_be_read_now_is_no_gap():
    """Who comes back with the last position may have it yet."""
    bench = await _bench()
    bench.provider.spool_away = True
    events: list[Positioned] = []

    async def read() -> None:
        async for it in bench.execs.attach(bench.record(), "one"):
            events.append(it)

    with pytest.raises(BackendUnavailableError, match="last position"):
        await read()
    bench.provider.spool_away = False
    again = await _attached(bench, events[-1].position)

    assert Ran(events).output() + again.output() == _WHOLE
    assert _gaps(Ran(events)) == _gaps(again) == []


async def test_what_has_gone_with_its_sandbox_is_a_gap():
    """Of exactly what is missing."""
    bench = await _bench()
    bench.provider.fail_spooled = [SandboxEndedError("Gone.")]

    ran = await _attached(bench)
    (gap,) = _gaps(ran)

    assert gap.offset == 3
    assert gap.size == 20_000 - gap.offset
    assert ran.output() == _WHOLE[: gap.offset] + _WHOLE[20_000:]


async def test_a_spool_that_holds_less_leaves_a_gap():
    """It holds the first bytes only."""
    bench = await _bench()
    bench.provider.spools[Stream.STDOUT] = _WHOLE[:12_000]

    ran = await _attached(bench)

    assert _gaps(ran) == [Gap(Stream.STDOUT, 12_000, 8_000)]
    assert ran.output() == _WHOLE[:12_000] + _WHOLE[20_000:]


async def test_what_is_not_durable_has_no_spool():
    """Nobody asks the sandbox for one."""
    bench = await _bench(Retention.DETACHED)

    ran = await _attached(bench)

    assert _gaps(ran) == [Gap(Stream.STDOUT, 0, 20_000)]
