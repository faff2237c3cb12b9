"""Programs that are found again: by another process of the service, or after a restart."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest

from sandbox_service.domain.exec_errors import (
    ExecIdReusedError,
    ExecLostError,
    ExecOnOtherInstanceError,
)
from sandbox_service.domain.execs import (
    Cause,
    ExecSpec,
    ExecState,
    Output,
    Position,
    Retention,
    Started,
    Stream,
)
from sandbox_service.domain.processes import FoundExec, ProcessEnd
from sandbox_service.operations.execs.recovery import recover_all
from sandbox_service.operations.execs.start import ThisInstance
from tests.support.calls import until
from tests.unit.operations.exec_bench import COMMAND, Bench, Ran


def _durable(**fields: object) -> ExecSpec:
    options = {"program": COMMAND, "exec_id": "one", "retention": Retention.DURABLE, **fields}
    return ExecSpec(**{"block": False, **options})  # type: ignore[arg-type]


def _found(bench: Bench, **fields: object) -> FoundExec:
    """What a sandbox knows of a durable exec that another process started."""
    started = {
        "exec_id": "one",
        "record": {"digests": {"program": "a"}, "program": "make", "timeout_s": 60.0},
        "instance": "other",
        "spool_limit_bytes": 1000,
        "pid": 7,
        "start_time": bench.clock.now() - timedelta(seconds=10),
        "alive": True,
    }
    return FoundExec(**{**started, **fields})  # type: ignore[arg-type]


async def test_a_durable_exec_is_kept_in_the_sandbox_with_what_serves_it_again():
    """And one with an id of its caller's, as far as it takes not to run it twice."""
    bench = Bench(instance=ThisInstance("me", "10.0.0.1:50051"))
    specs = [
        _durable(request_digests={"program": "a"}, spool_limit_bytes=5000),
        ExecSpec(program=COMMAND, exec_id="two", request_digests={"program": "b"}),
        ExecSpec(program=COMMAND),
    ]
    for spec in specs:
        bench.provider.next.ends(0)
        await (await bench.execs.start(bench.record(), spec)).wait()

    durable, plain, nameless = (it.durable for it in bench.provider.specs)
    assert durable is not None
    assert (durable.exec_id, durable.spool_limit_bytes) == ("one", 5000)
    assert durable.record["digests"] == {"program": "a"}
    assert plain is not None
    assert (plain.exec_id, plain.spool_limit_bytes) == ("two", 0)
    assert plain.record["address"] == "10.0.0.1:50051"
    assert nameless is None
    assert {it.instance for it in bench.provider.specs} == {"me"}


async def test_a_durable_exec_of_a_former_process_is_served_from_its_spool():
    """Attach on any instance; the timeout goes on from where it was."""
    bench = Bench()
    process = bench.provider.next
    bench.provider.found["one"] = _found(bench)
    process.writes(b"0123456789")
    async with aclosing(bench.execs.attach(bench.record(), "one", Position(4, 0))) as events:
        started = (await anext(events)).event
        # The journal is rebuilt from the beginning, and has come to no place yet.
        output = (await anext(events)).event
        process.ends(0)
        rest = Ran([it async for it in events])

    assert isinstance(started, Started)
    assert started.reused
    assert (started.pid, started.timeout) == (process.pid, timedelta(seconds=60))
    assert started.retention is Retention.DURABLE
    assert output == Output(Stream.STDOUT, b"456789", 4)
    assert rest.exited.cause is Cause.EXIT
    assert rest.exited.counts[Stream.STDOUT].produced_bytes == 10
    assert [position for _, position in bench.provider.adopted] == [Position()]


async def test_two_who_attach_at_once_share_what_is_rebuilt():
    """One spool is read once."""
    bench = Bench()
    process = bench.provider.next
    bench.provider.found["one"] = _found(bench)

    async def read() -> Ran:
        return Ran([it async for it in bench.execs.attach(bench.record(), "one")])

    reads = [asyncio.create_task(read()) for _ in range(3)]
    process.writes(b"x")
    process.ends(0)

    assert [it.output() for it in [await read for read in reads]] == [b"x"] * 3
    assert len(bench.provider.adopted) == 1


async def test_a_timeout_that_passed_while_nobody_was_there_holds():
    """The record says when it should have ended."""
    bench = Bench()
    process = bench.provider.next
    early = bench.clock.now() - timedelta(seconds=100)
    bench.provider.found["one"] = _found(bench, start_time=early)

    ran = Ran([it async for it in bench.execs.attach(bench.record(), "one")])

    assert ran.exited.cause is Cause.TIMEOUT
    assert process.kills


async def test_an_exec_that_had_ended_long_ago_is_told_as_it_ended():
    """Its timeout is no matter any more."""
    bench = Bench()
    process = bench.provider.next
    early = bench.clock.now() - timedelta(seconds=100)
    end = early + timedelta(seconds=3)
    bench.provider.found["one"] = _found(
        bench, start_time=early, end_time=end, alive=False, end=ProcessEnd(3, "")
    )
    await asyncio.sleep(0)
    process.writes(b"x")
    process.ends(3)

    ran = Ran([it async for it in bench.execs.attach(bench.record(), "one")])

    assert (ran.exited.cause, ran.exited.exit_code) == (Cause.EXIT, 3)
    assert ran.exited.end_time == end
    assert 2.9 < ran.exited.phases.ran < 3.5
    assert process.kills == []


async def test_an_exec_whose_id_the_sandbox_knows_is_not_run_again():
    """After a restart, and by another instance: the same request reads along."""
    bench = Bench()
    bench.provider.fail_start = ExecIdReusedError("Known.")
    bench.provider.found["one"] = _found(bench)
    spec = _durable(request_digests={"program": "a"})
    bench.provider.next.ends(0)

    ran = Ran([it async for it in bench.execs.run(bench.record(), spec)])
    other = _durable(request_digests={"program": "b"})
    bench2 = Bench()
    bench2.provider.fail_start = ExecIdReusedError("Known.")
    bench2.provider.found["one"] = _found(bench2)
    with pytest.raises(ExecIdReusedError) as caught:
        await anext(bench2.execs.run(bench2.record(), other))

    assert ran.exited.cause is Cause.EXIT
    assert caught.value.metadata["differs"] == "program"
    assert bench.provider.specs == []


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"record": {"address": "10.0.0.2:1"}}, ExecOnOtherInstanceError),
        ({"record": {"address": ""}}, ExecLostError),
        ({"record": {"address": "10.0.0.1:1"}}, ExecLostError),
        ({"record": {"address": "10.0.0.2:1"}, "alive": False}, ExecLostError),
        ({"record": {"address": "10.0.0.2:1"}, "instance": "me"}, ExecLostError),
        ({"record": {"address": 7, "digests": [1]}}, ExecLostError),
    ],
    ids=["other", "nobody knows", "before a restart", "ended", "evicted", "nonsense"],
)
async def test_an_exec_that_is_not_durable_is_where_it_was_started_or_lost(fields, error):
    """Where that is, only its record can tell."""
    bench = Bench(instance=ThisInstance("me", "10.0.0.1:1"))
    bench.provider.found["one"] = _found(bench, spool_limit_bytes=0, **fields)

    with pytest.raises(error) as caught:
        await anext(bench.execs.attach(bench.record(), "one"))

    if error is ExecOnOtherInstanceError:
        assert caught.value.metadata["instance"] == "10.0.0.2:1"
    assert caught.value.metadata["exec_id"] == "one"


async def test_a_list_tells_what_runs_what_ran_and_what_is_lost():
    """Also what is at another instance, as far as the sandbox knows."""
    bench = Bench()
    running = bench.provider.next
    await bench.execs.start(bench.record(), ExecSpec(program=COMMAND, exec_id="runs"))
    bench.provider.next.ends(2)
    await bench.run(exec_id="ran")
    end = {"alive": False, "end": ProcessEnd(None, "KILL"), "end_time": bench.clock.now()}
    bench.provider.found = {
        "far": _found(bench, exec_id="far", stdout_bytes=5),
        "over": _found(bench, exec_id="over", **end),
        "gone": _found(bench, exec_id="gone", alive=False),
        "ran": _found(bench, exec_id="ran"),
    }

    listed = {it.exec_id: it for it in await bench.execs.list(bench.record())}
    running.ends(0)

    assert {name: it.state for name, it in listed.items()} == {
        "runs": ExecState.RUNNING,
        "ran": ExecState.EXITED,
        "far": ExecState.RUNNING,
        "over": ExecState.EXITED,
        "gone": ExecState.LOST,
    }
    assert listed["far"].program == "make"
    assert listed["far"].position == Position(5, 0)
    assert listed["over"].exited is not None
    assert listed["over"].exited.cause is Cause.SIGNAL
    assert listed["ran"].exited is not None
    assert listed["ran"].exited.exit_code == 2


async def test_a_restart_ends_what_was_left_and_follows_what_is_durable():
    """Nothing runs on that nobody can reach; what is durable keeps its timeout."""
    bench = Bench()
    process = bench.provider.next
    bench.provider.found = {
        "one": _found(bench, instance="before"),
        "two": _found(bench, exec_id="two", instance="another, which lives"),
        "three": _found(bench, exec_id="three", instance="before", alive=False),
    }

    await recover_all(bench.execs, bench.live, ("before",))
    (followed,) = bench.execs.running("box")
    process.ends(0)

    assert bench.provider.leftovers == ["before"]
    assert followed.exec_id == "one"
    await until(lambda: process.closed)
