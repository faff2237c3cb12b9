"""Execs that outlive whoever started them: found again, read on exactly, ended right."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import secrets
from collections.abc import Mapping
from datetime import timedelta

import pytest

from sandbox_service.domain.exec_errors import ExecIdReusedError, ExecLostError
from sandbox_service.domain.execs import Argv, Position, ShellCommand, Stream
from sandbox_service.domain.processes import Durable, FoundExec, ProcessGap
from sandbox_service.providers.e2b import kept
from tests.conformance.sandbox_backends import (
    Box,
    finished,
    first_output,
    read_so_far,
    read_until,
)
from tests.support.calls import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LIMIT = 1024 * 1024
_GRACE = timedelta(milliseconds=500)
_NUMBERS = "for ((i = 0; i < {0}; i++)); do echo $i; echo e$i >&2; done"


def _durable(
    limit: int = _LIMIT, exec_id: str = "", record: Mapping[str, object] | None = None
) -> Durable:
    return Durable(
        exec_id=exec_id or f"x-{secrets.token_hex(6)}",
        spool_limit_bytes=limit,
        record=record or {},
    )


def _numbers(count: int, before: str = "") -> bytes:
    return "".join(f"{before}{number}\n" for number in range(count)).encode()


async def _found(box: Box, durable: Durable) -> FoundExec:
    found = await box.provider.find_exec(box.id, durable.exec_id)
    assert found is not None
    return found


async def _spooled(box: Box, durable: Durable, size: int) -> bool:
    return (await _found(box, durable)).stdout_bytes >= size


async def _ended(box: Box, durable: Durable) -> FoundExec:
    async def ended() -> bool:
        return not (await _found(box, durable)).alive

    await until(ended)
    return await _found(box, durable)


@pytest.mark.parametrize(
    ("line", "code", "signal"),
    [
        ("exit 7", 7, ""),
        ("exec sh -c 'exit 3'", 3, ""),
        ("exit 137", 137, ""),
        ("kill -TERM $$", None, "TERM"),
        ("kill -KILL $$", None, "KILL"),
        ("trap 'exit 5' TERM; kill -TERM $$; sleep 60", 5, ""),
        ("trap 'echo bye; exit 6' EXIT; true", 6, ""),
    ],
)
async def test_a_spooled_program_ends_as_any_other(
    box: Box, line: str, code: int | None, signal: str
):
    """Whoever is there to see it sees nothing of the spool."""
    ran = await box.run(ShellCommand(f"echo out; echo err >&2; {line}"), durable=_durable())

    assert (ran.stdout.removesuffix(b"bye\n"), ran.stderr, ran.gaps) == (b"out\n", b"err\n", ())
    assert (ran.end.exit_code, ran.end.signal) == (code, signal)
    assert not ran.end.output_still_open


async def test_it_is_found_with_what_its_starter_gave(box: Box):
    """Also by an instance that knows nothing of it; and that it has ended, and how."""
    durable = _durable(record={"digests": {"program": "ab", "ü": 'c"\n'}, "deadline": 1.5})
    process = await box.start(
        ShellCommand("echo up; read -r go; exit 4"), stdin=True, durable=durable, instance="one"
    )
    await first_output(process)

    await until(lambda: _spooled(box, durable, len(b"up\n")))
    running = await _found(box, durable)
    await process.put_input(0, b"\n", end=False)
    await finished(process)
    ended = await _ended(box, durable)

    assert running.record == ended.record == durable.record
    assert (running.exec_id, running.instance) == (durable.exec_id, "one")
    assert (running.pid, running.spool_limit_bytes) == (process.pid, _LIMIT)
    assert (running.alive, running.end, running.restarted) == (True, None, False)
    assert ended.end is not None
    assert (ended.end.exit_code, ended.end.signal) == (4, "")
    assert ended.end_time is not None
    assert ended.start_time <= ended.end_time
    assert ended.usage is not None
    assert durable.exec_id in [it.exec_id for it in await box.provider.exec_records(box.id)]


async def test_what_was_never_started_is_not_found(box: Box):
    """No exec of another id is taken for it."""
    assert await box.provider.find_exec(box.id, "no-such-exec") is None


@pytest.mark.parametrize("limit", [_LIMIT, 0], ids=["spooled", "claimed only"])
async def test_no_exec_id_runs_twice(own_box: Box, limit: int):
    """The sandbox itself refuses, whoever asks, even at the same moment."""
    durable = _durable(limit)
    start = own_box.start(ShellCommand("echo $$ >>~/ran"), durable=durable)
    others = [own_box.start(ShellCommand("echo $$ >>~/ran"), durable=durable) for _ in range(7)]

    outcomes = await asyncio.gather(start, *others, return_exceptions=True)
    refused = [it for it in outcomes if isinstance(it, ExecIdReusedError)]
    (process,) = [it for it in outcomes if not isinstance(it, BaseException)]
    await finished(process)
    with pytest.raises(ExecIdReusedError):
        await own_box.start(ShellCommand("echo $$ >>~/ran"), durable=durable)

    assert len(refused) == 7
    assert (await own_box.run(ShellCommand("wc -l <~/ran"))).stdout == b"1\n"


async def test_a_claimed_id_keeps_no_output(own_box: Box):
    """That it was used and by whom is all; listings of spools do not show it."""
    durable = _durable(0, record={"a": 1})
    ran = await own_box.run(
        ShellCommand("echo out; echo err >&2; exit 2"), durable=durable, instance="one"
    )
    found = await _found(own_box, durable)

    assert (ran.stdout, ran.stderr, ran.end.exit_code) == (b"out\n", b"err\n", 2)
    assert (found.record, found.instance, found.spool_limit_bytes) == ({"a": 1}, "one", 0)
    assert found.end is not None
    assert list(await own_box.provider.exec_records(own_box.id)) == []


@pytest.mark.parametrize("program", ["line", "argv"])
async def test_reading_goes_on_exactly_where_contact_was_lost(box: Box, program: str):
    """Not a byte is missing or there twice, on either stream."""
    line = f"{_NUMBERS.format(2000)}; sleep 0.5; {_NUMBERS.format(3000)}; exit 9"
    process = await box.start(
        ShellCommand(line) if program == "line" else Argv(("bash", "-c", line)),
        durable=_durable(),
    )
    out, err, position = await read_so_far(process, 1000)
    await process.reconnect(position)
    more_out, more_err, further = await read_so_far(process, 5000)
    await process.reconnect(
        Position(
            position.stdout_offset + further.stdout_offset,
            position.stderr_offset + further.stderr_offset,
        )
    )
    rest = await finished(process)

    assert out + more_out + rest.stdout == _numbers(2000) + _numbers(3000)
    assert err + more_err + rest.stderr == _numbers(2000, "e") + _numbers(3000, "e")
    assert rest.gaps == ()
    assert (rest.end.exit_code, rest.end.output_still_open) == (9, False)


async def test_what_ended_meanwhile_is_read_to_its_end(box: Box):
    """All of it is in the spool."""
    durable = _durable()
    process = await box.start(ShellCommand(f"{_NUMBERS.format(500)}; exit 9"), durable=durable)
    out, err, position = await read_so_far(process, 1)
    await _ended(box, durable)
    await process.reconnect(position)
    rest = await finished(process)

    assert (out + rest.stdout, err + rest.stderr) == (_numbers(500), _numbers(500, "e"))
    assert (rest.end.exit_code, rest.gaps) == (9, ())
    usage = process.usage()
    assert usage is not None
    assert usage.cpu_time is not None


@pytest.mark.parametrize("when", ["running", "ended"])
async def test_another_instance_reads_it_from_the_beginning(box: Box, when: str):
    """The store may be lost, and whoever started it."""
    durable = _durable()
    line = f"{_NUMBERS.format(1000)}; {'read -r go;' if when == 'running' else ''} echo end; exit 3"
    process = await box.start(ShellCommand(line), stdin=True, durable=durable, instance="dead")
    await read_so_far(process, 1)
    if when == "ended":
        await _ended(box, durable)
    await box.provider.end_leftovers(box.id, "dead")

    adopted = await box.provider.adopt(box.id, await _found(box, durable))
    reading = asyncio.create_task(finished(adopted))
    if when == "running":
        await adopted.put_input(0, b"\n", end=False)
    ran = await reading

    assert adopted.pid == process.pid
    assert ran.stdout == _numbers(1000) + b"end\n"
    assert ran.stderr == _numbers(1000, "e")
    assert (ran.end.exit_code, ran.end.signal, ran.gaps) == (3, "", ())


async def test_an_adopted_program_is_signalled_and_killed(box: Box):
    """With all that it started; what it wrote last is not lost."""
    durable = _durable()
    process = await box.start(
        ShellCommand(
            "trap 'echo usr' USR1; trap 'echo bye; exit 8' TERM; echo up; "
            "setsid sleep 6543 & while :; do sleep 0.02; done"
        ),
        durable=durable,
    )
    await first_output(process)
    await process.aclose()
    adopted = await box.provider.adopt(box.id, await _found(box, durable), Position(3, 0))

    assert await adopted.signal("USR1")
    assert await read_until(adopted, b"\n") == b"usr\n"
    assert list(await adopted.kill(_GRACE)) == []
    ran = await finished(adopted)

    assert (ran.stdout, ran.end.exit_code) == (b"bye\n", 8)
    assert await box.pids("sleep 6543") == []


@pytest.mark.parametrize("grace", [_GRACE, timedelta(0)], ids=["term", "kill"])
async def test_a_kill_loses_nothing_that_was_written(box: Box, grace: timedelta):
    """Who writes the spool is not among the killed."""
    process = await box.start(
        ShellCommand("trap '' TERM; head -c 300000 /dev/zero; echo; echo up >&2; sleep 600"),
        durable=_durable(),
    )
    events = process.events()
    received = b""
    async for event in events:
        if event.stream is Stream.STDERR:
            break
        received += event.data

    assert list(await process.kill(grace)) == []
    async for event in events:
        if not hasattr(event, "data"):
            break
        received += event.data

    assert len(received) == 300_001
    assert event.signal == "KILL"


async def test_beyond_the_limit_a_gap_is_told_and_reading_goes_on_live(box: Box):
    """The first bytes are exact; how many are missing nobody knows."""
    durable = _durable(4096)
    process = await box.start(
        ShellCommand("head -c 50000 /dev/zero | tr '\\0' x; echo err >&2; read -r go; echo late"),
        stdin=True,
        durable=durable,
    )
    await read_so_far(process, 50_004)
    adopted = await box.provider.adopt(box.id, await _found(box, durable))
    events = adopted.events()
    spooled, gap = b"", None
    async for event in events:
        if isinstance(event, ProcessGap):
            gap = event
            break
        if event.stream is Stream.STDOUT:
            spooled += event.data
    await adopted.put_input(0, b"\n", end=False)
    later = b"".join([it.data async for it in events if getattr(it, "stream", 0) is Stream.STDOUT])

    assert gap == ProcessGap(Stream.STDOUT, spool_limit=True)
    assert set(spooled) == {ord("x")}
    assert 4096 <= len(spooled) <= 4096 + 2048
    assert later == b"late\n"


async def test_output_of_exactly_the_limit_is_whole(box: Box):
    """There is no gap where nothing is missing."""
    durable = _durable(4096)
    process = await box.start(ShellCommand("head -c 4096 /dev/zero"), durable=durable)
    await finished(process)
    adopted = await box.provider.adopt(box.id, await _ended(box, durable))
    ran = await finished(adopted)

    assert (len(ran.stdout), ran.gaps, ran.end.exit_code) == (4096, (), 0)


async def test_megabytes_are_spooled_unharmed(box: Box):
    """Bytes of any kind, more than all pipes hold, while the live reader gets them too."""
    durable = _durable(16 * 1024 * 1024)
    live = await box.run(ShellCommand("head -c 8000000 /dev/urandom"), durable=durable)
    adopted = await box.provider.adopt(box.id, await _ended(box, durable))
    spooled = await finished(adopted)

    assert len(live.stdout) == 8_000_000
    assert hashlib.sha256(live.stdout).digest() == hashlib.sha256(spooled.stdout).digest()


async def test_a_killed_leader_leaves_its_output_but_not_its_end(box: Box):
    """Nobody guesses how it ended when nobody saw it; the output is read all the same."""
    durable = _durable()
    process = await box.start(ShellCommand("echo up; exec sleep 600"), durable=durable)
    await first_output(process)
    await process.aclose()
    await process.kill(timedelta(0))
    found = await _ended(box, durable)
    # Long after: the backend has forgotten that program, which no pid of the past is.
    unknown = dataclasses.replace(found, pid=2**22 - 2)
    adopted = await box.provider.adopt(box.id, unknown)
    events = adopted.events()

    assert found.end is None
    assert (await anext(events)).data == b"up\n"
    with pytest.raises(ExecLostError):
        await anext(events)


async def test_a_restarted_sandbox_keeps_the_output(own_box: Box):
    """What ran there is lost, and that is told."""
    durable = _durable()
    process = await own_box.start(ShellCommand("echo up; sleep 600"), durable=durable)
    await first_output(process)
    await own_box.run(
        ShellCommand(
            f"f=$(echo /var/tmp/.sandbox-execs-*/{durable.exec_id}.exec); "
            "sed -i '1s/[0-9a-f-]*[.][0-9]*/another-boot.1/' $f"
        )
    )

    found = await _found(own_box, durable)
    adopted = await own_box.provider.adopt(own_box.id, found)
    events = adopted.events()

    assert (found.alive, found.restarted, found.end) == (False, True, None)
    assert (await anext(events)).data == b"up\n"
    with pytest.raises(ExecLostError):
        await anext(events)


async def test_a_background_child_does_not_hold_back_an_adopted_end(box: Box):
    """As everywhere: the result is there when the program has ended."""
    durable = _durable()
    process = await box.start(
        ShellCommand("sleep 5678 & echo up; read -r go; echo end; exit 3"),
        stdin=True,
        durable=durable,
    )
    await first_output(process)
    await process.reconnect(Position(3, 0))
    reading = asyncio.create_task(finished(process))
    await process.put_input(0, b"\n", end=False)
    ran = await asyncio.wait_for(reading, 20)
    again = await box.provider.adopt(box.id, await _ended(box, durable))
    whole = await asyncio.wait_for(finished(again), 20)

    assert (ran.stdout, ran.end.exit_code, ran.end.output_still_open) == (b"end\n", 3, True)
    assert (whole.stdout, whole.end.exit_code) == (b"up\nend\n", 3)
    await box.end_all("sleep 5678")


async def test_spools_are_bounded_in_number(own_box: Box, monkeypatch: pytest.MonkeyPatch):
    """The oldest that have ended go first; that they ran is still known."""
    monkeypatch.setattr(kept, "_SPOOLS_MAX", 3)
    monkeypatch.setattr(kept, "SWEEP_EVERY", 8)
    first = _durable()
    await own_box.run(ShellCommand("echo out; exit 4"), durable=first)
    running = _durable()
    process = await own_box.start(ShellCommand("echo up; exec sleep 600"), durable=running)
    for _ in range(6):
        await own_box.run(ShellCommand("echo out"), durable=_durable())

    async def swept() -> bool:
        return len(await own_box.provider.exec_records(own_box.id)) <= 6

    await until(swept)
    found = await _found(own_box, first)
    adopted = await own_box.provider.adopt(own_box.id, found)
    ran = await finished(adopted)

    assert running.exec_id in [it.exec_id for it in await own_box.provider.exec_records(own_box.id)]
    assert (ran.stdout, len(ran.gaps), ran.end.exit_code) == (b"", 2, 4)
    await process.kill(timedelta(0))
    await process.aclose()
