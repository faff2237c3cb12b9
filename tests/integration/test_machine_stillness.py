"""A sandbox that is frozen, or whose programs are held still, and goes on afterwards."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from sandbox_service.e2b_local.machine import (
    Guest,
    GuestFrozenError,
    GuestLostError,
    GuestProcess,
    Machine,
    MachineConfig,
    PtySize,
    SpawnSpec,
)
from sandbox_service.e2b_local.machine.process_tree import (
    find_children,
    measure_tree,
    read_status,
)
from tests.integration.machine_bench import (
    count_descriptors,
    exists,
    finish,
    read_all,
    read_line,
    run,
    sh,
    until,
)

COUNT = "import itertools\nfor n in itertools.count(): print(n, flush=True)"
SPIN = "while :; do :; done"
# Processes that live for a moment and make the next ones, for ever.
CHURN = """
import os, threading
print(flush=True)
for _ in range(4):
    os.fork()
while True:
    if os.fork() == 0:
        os._exit(0) if os.fork() else os._exit(0)
    os.wait()
"""


def states(guest: Guest) -> dict[str, str]:
    """State of each process of a sandbox, by its pid on the host; pid 1 first."""
    found: dict[str, str] = {}
    pending = [guest._launched.init_pid]
    while pending:
        pid = pending.pop()
        try:
            found[str(pid)] = read_status(f"/proc/{pid}/stat").state
            pending += find_children(pid)
        except OSError:
            continue  # It has just ended.
    return found


def ticks(guest: Guest) -> float:
    return measure_tree(guest._launched.init_pid).cpu_seconds


async def time_passes(neighbour: Guest) -> None:
    """Return when another sandbox has had a good share of a CPU."""
    process = await neighbour.spawn(SpawnSpec(argv=("/bin/sh", "-c", SPIN)))
    enough = ticks(neighbour) + 0.15
    await until(lambda: ticks(neighbour) >= enough)
    await neighbour.signal(process.pid, signal.SIGKILL)
    await finish(process)


async def start(guest: Guest, *argv: str, **spec) -> GuestProcess:
    """Start a program and wait for its first line."""
    process = await guest.spawn(SpawnSpec(argv=argv, **spec))
    assert process.stdout is not None
    await read_line(process.stdout)
    return process


def drain(descriptor: int) -> bytes:
    """Read what is there."""
    data = b""
    try:
        while part := os.read(descriptor, 65536):
            data += part
    except BlockingIOError:
        pass
    return data


async def read_until(descriptor: int, words: bytes) -> bytes:
    """Read until something has been said."""
    said = b""
    loop = asyncio.get_running_loop()
    while words not in said:
        ready = asyncio.Event()
        loop.add_reader(descriptor, ready.set)
        try:
            await asyncio.wait_for(ready.wait(), 20)
        except TimeoutError:
            pytest.fail(f"{words!r} was not said, but {said[-1000:]!r}")
        finally:
            loop.remove_reader(descriptor)
        said += os.read(descriptor, 65536)
    return said


async def test_a_frozen_sandbox_uses_and_says_nothing(machine, guest):
    """And goes on as if nothing had been: no line is lost, none comes twice."""
    neighbour = await machine.boot("neighbour")
    counter = await start(guest, "python3", "-c", COUNT)
    spinner = await start(guest, "/bin/bash", "-c", f"echo; {SPIN}")
    await guest.freeze()
    said = drain(counter.stdout)
    before = ticks(guest)
    await time_passes(neighbour)

    assert guest.frozen
    assert ticks(guest) == before
    assert drain(counter.stdout) == b""
    assert set(states(guest).values()) == {"T"}

    await guest.thaw()
    said += await read_until(counter.stdout, b"\n")
    while said.count(b"\n") < 1000:
        said += await read_until(counter.stdout, b"\n")
    await guest.signal(counter.pid, signal.SIGKILL)
    said += await read_all(counter.stdout)

    numbers = [int(line) for line in said.split(b"\n")[:-1]]
    assert not guest.frozen
    assert numbers == list(range(1, 1 + len(numbers)))
    assert await sh(guest, "echo alive") == "alive\n"
    await guest.signal(spinner.pid, signal.SIGKILL)
    await finish(spinner)


async def test_threads_stand_still_too(machine, guest):
    """A process has stopped only when all of it has."""
    neighbour = await machine.boot("neighbour")
    code = (
        "import threading\n"
        "def spin():\n  while True: pass\n"
        "for _ in range(8): threading.Thread(target=spin).start()\n"
        "print(flush=True)"
    )
    process = await start(guest, "python3", "-c", code)
    for _ in range(3):
        await guest.freeze()
        before = ticks(guest)
        await time_passes(neighbour)
        assert ticks(guest) == before
        await guest.thaw()
    process.close()


async def test_what_was_stopped_before_stays_stopped(guest):
    """Whoever stopped it inside means to continue it himself."""
    command = "sleep 600 & kill -STOP $!; sleep 601 & echo $$; wait"
    shell = await start(guest, "/bin/bash", "-c", command)
    await until(lambda: sorted(states(guest).values()) == ["S", "S", "S", "T"])
    before = states(guest)
    for _ in range(5):
        await guest.freeze()
        assert set(states(guest).values()) == {"T"}
        await guest.thaw()
        await until(lambda: sorted(states(guest).values()) == ["S", "S", "S", "T"])

    assert states(guest) == before
    shell.close()


async def test_a_shell_at_a_terminal_does_not_notice(guest):
    """A shell that saw its job stop would say so and take the terminal back."""
    process = await guest.spawn(
        SpawnSpec(argv=("/bin/bash", "--norc", "-i"), pty=PtySize(cols=80, rows=24))
    )
    assert process.pty is not None
    os.write(process.pty, b"PS1=; sleep 600 &\n sleep 601 | cat &\n")
    os.write(process.pty, b"bind 'set enable-bracketed-paste off'; echo re''ady; cat\n")
    said = await read_until(process.pty, b"ready")
    for number in range(20):
        await guest.freeze()
        os.write(process.pty, b"line %d\n" % number)
        await guest.thaw()
        # Once from the terminal, once from `cat`: the job in the foreground still has it.
        words = b"line %d\r\nline %d" % (number, number)
        said += await read_until(process.pty, words)
    os.write(process.pty, b"\x04jobs; kill %1 %2; exit\n")
    outcome = await finish(process)

    said += outcome.out
    assert b"Stopped" not in said
    assert said.count(b"Running") == 2


async def test_a_sandbox_full_of_forks_freezes(machine, guest):
    """New processes appear while the others are being stopped."""
    neighbour = await machine.boot("neighbour")
    process = await start(guest, "python3", "-c", CHURN)
    for _ in range(10):
        await guest.freeze()
        assert set(states(guest).values()) <= {"T", "Z"}
        await guest.thaw()
    await guest.freeze()
    before, count = ticks(guest), len(states(guest))
    await time_passes(neighbour)

    assert (ticks(guest), len(states(guest))) == (before, count)

    await guest.thaw()
    await until(lambda: ticks(guest) > before)
    process.close()


async def test_a_frozen_fork_bomb_can_be_killed(state_dir):
    """Nothing of it is left, though none of it can run."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir, process_limit=300))
    descriptors = count_descriptors()
    guest = await machine.boot("bomb")
    bomb = await guest.spawn(SpawnSpec(argv=("/bin/bash", "-c", "f() { f | f & }; f; sleep 600")))
    await until(lambda: len(states(guest)) >= 100)
    await guest.freeze()
    members = states(guest)
    await guest.kill()

    assert set(members.values()) <= {"T", "Z"}
    assert not [pid for pid in members if exists(f"/proc/{pid}")]
    assert await guest.ended == "it was killed"
    with pytest.raises(GuestLostError):
        await bomb.exit
    bomb.close()
    with pytest.raises(GuestLostError):
        await guest.freeze()
    with pytest.raises(GuestLostError):
        await guest.thaw()
    assert not guest.frozen
    assert count_descriptors() <= descriptors
    await machine.close()


async def test_a_frozen_sandbox_refuses_at_once(guest):
    """Its agent cannot answer, and nobody knows for how long."""
    await sh(guest, "touch f")
    await guest.freeze()
    await guest.freeze()
    attempts = [
        guest.spawn(SpawnSpec(argv=("true",))),
        guest.signal(2, signal.SIGTERM),
        guest.open("/home/user/f", os.O_RDONLY),
        guest.stat("/home/user/f"),
        guest.list_dir("/home/user"),
        guest.make_dir("/home/user/d"),
        guest.move("/home/user/f", "/home/user/g"),
        guest.remove("/home/user/f"),
        guest.chmod("/home/user/f", 0o600),
        guest.connect(80),
    ]
    outcomes = await asyncio.wait_for(asyncio.gather(*attempts, return_exceptions=True), 10)
    usage = await guest.usage()

    assert [type(outcome) for outcome in outcomes] == [GuestFrozenError] * len(attempts)
    assert usage.process_count == 1
    assert usage.memory_rss_bytes > 0

    await guest.thaw()
    await guest.thaw()
    assert await sh(guest, "ls") == "f\n"


async def test_what_was_asked_before_is_answered_after(guest):
    """A call that is under way does not fail because the sandbox sleeps a while."""
    starting = asyncio.ensure_future(run(guest, "/bin/sh", "-c", "sleep 0.3; echo done"))
    await until(lambda: len(states(guest)) > 1)
    await guest.freeze()
    asked = asyncio.ensure_future(guest._channel.ask("ping"))
    await asyncio.sleep(0)
    assert not asked.done()
    await guest.thaw()

    await asked
    assert (await starting).out == b"done\n"


async def test_a_cancelled_freeze_lets_everything_go_on(guest):
    """Its caller does not know that it has to thaw."""
    process = await start(guest, "/bin/bash", "-c", f"echo; {SPIN}")
    freezing = asyncio.ensure_future(guest.freeze())
    await asyncio.sleep(0)
    freezing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await freezing

    assert not guest.frozen
    before = ticks(guest)
    await until(lambda: ticks(guest) > before)
    assert await sh(guest, "echo alive") == "alive\n"
    process.close()


async def test_programs_are_held_while_the_agent_answers(machine, guest):
    """So that files can be copied that belong together."""
    neighbour = await machine.boot("neighbour")
    counter = await start(guest, "python3", "-c", COUNT)
    init = str(guest._launched.init_pid)
    async with guest.programs_stopped():
        drain(counter.stdout)
        await time_passes(neighbour)
        assert drain(counter.stdout) == b""
        assert (await guest.stat("/home/user")).owner == "user"
        async with guest.programs_stopped():
            pass
        held = states(guest)
        late = asyncio.ensure_future(run(guest, "echo", "late"))
        await time_passes(neighbour)
        assert not late.done()
        assert len(states(guest)) == len(held)

    assert held.pop(init) != "T"
    assert set(held.values()) == {"T"}
    assert (await late).out == b"late\n"
    assert await read_until(counter.stdout, b"\n")
    counter.close()


async def test_programs_go_on_however_the_block_ends(guest):
    """By an error, or because whoever copied was cancelled."""
    process = await start(guest, "/bin/bash", "-c", f"echo; {SPIN}")

    async def copy(stopped: asyncio.Event) -> None:
        async with guest.programs_stopped():
            stopped.set()
            await asyncio.Event().wait()

    stopped = asyncio.Event()
    copying = asyncio.ensure_future(copy(stopped))
    await stopped.wait()
    assert "T" in states(guest).values()
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    with pytest.raises(ZeroDivisionError):
        async with guest.programs_stopped():
            raise ZeroDivisionError

    assert "T" not in states(guest).values()
    process.close()


async def test_holding_and_freezing_can_be_nested_either_way(guest):
    """In a frozen sandbox the agent alone goes on for the block; a freeze in one stays."""
    process = await start(guest, "/bin/bash", "-c", f"echo; {SPIN}")
    await guest.freeze()
    async with guest.programs_stopped():
        assert not guest.frozen
        assert sorted(states(guest).values(), reverse=True)[0] == "T"
        assert (await guest.stat("/tmp")).name == "tmp"
    assert guest.frozen
    assert set(states(guest).values()) == {"T"}
    await guest.thaw()
    async with guest.programs_stopped():
        await guest.freeze()
        with pytest.raises(GuestFrozenError):
            await guest.stat("/tmp")
    assert set(states(guest).values()) == {"T"}
    await guest.thaw()

    assert "T" not in states(guest).values()
    assert await sh(guest, "echo alive") == "alive\n"
    process.close()


async def test_a_sandbox_may_die_while_it_is_held(guest):
    """Nobody waits for it for ever."""
    await guest.spawn(SpawnSpec(argv=("sleep", "600")))
    async with guest.programs_stopped():
        late = asyncio.ensure_future(guest.spawn(SpawnSpec(argv=("true",))))
        await asyncio.sleep(0)
        os.kill(guest._launched.init_pid, signal.SIGKILL)
        await asyncio.wait_for(guest.ended, 10)
        with pytest.raises(GuestLostError):
            await late
    with pytest.raises(GuestLostError):
        async with guest.programs_stopped():
            pass
