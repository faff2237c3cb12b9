"""The killer, by this machine's own bash: it finds all of an exec, and nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox_service.domain.errors import BackendUnavailableError
from sandbox_service.domain.execs import ShellCommand
from sandbox_service.domain.processes import ProcessSpec
from sandbox_service.providers.e2b import supervisor
from sandbox_service.providers.e2b.killer import TreeKiller
from tests.support.calls import until
from tests.support.processes import Watched, family

_MARK = "the-mark"


class Bash:
    """Runs what the killer asks for, here.

    Attributes:
        commands: How often it was asked.
        fail: Raised instead.
    """

    def __init__(self) -> None:
        self.commands = 0
        self.fail: Exception | None = None

    async def __call__(self, arguments: Sequence[str]) -> bytes:
        self.commands += 1
        if self.fail is not None:
            raise self.fail
        process = await asyncio.create_subprocess_exec(
            "/bin/bash", *arguments, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await asyncio.wait_for(process.communicate(), 30)
        return printed


@pytest.fixture
def bash() -> Bash:
    return Bash()


@pytest.fixture
def killer(bash: Bash) -> TreeKiller:
    return TreeKiller(bash)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    started.end()


class Started:
    """Programs under the supervisor that are gone after the test, whatever it did."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running: list[subprocess.Popen[bytes]] = []

    def __call__(
        self, line: str, marker: str = _MARK, instance: str = ""
    ) -> tuple[subprocess.Popen[bytes], Watched]:
        """Start a line that says when all of its tree is up."""
        spec = ProcessSpec(
            marker=marker,
            program=ShellCommand(line),
            cwd="",
            env={"PATH": os.environ["PATH"], "HOME": str(self._home)},
            user="",
            stdin=False,
            backstop=None,
            instance=instance,
        )
        cmd, args, env = supervisor.command_line(spec, b"0" * 24)
        process = subprocess.Popen(
            # As envd starts programs: what the tests ignore, as under nohup, bash could not trap.
            ["/usr/bin/env", "--default-signal", cmd, *args],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=env,
            cwd=self._home,
        )
        self._running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process, Watched(family(process.pid))

    def end(self) -> None:
        for process in self._running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


@pytest.mark.parametrize("grace_s", [0.2, 0.0], ids=["grace", "none"])
@pytest.mark.parametrize(
    "line",
    [
        "echo up; sleep 600",
        "sleep 600 & sleep 600 & echo up; wait",
        "setsid sleep 600 & setsid bash -c 'sleep 600 & wait' & echo up; wait",
        "env -i sleep 600 & echo up; wait",
        "trap '' TERM; sleep 600 & echo up; while :; do sleep 600; done",
        "sleep 600 & kill -STOP $!; echo up; wait",
    ],
    ids=["waiting", "background", "sessions", "no environment", "deaf", "stopped"],
)
async def test_the_killer_leaves_nobody(started, killer, line: str, grace_s: float):
    """And says so, when all of them have gone."""
    process, tree = started(line)

    assert await killer.kill(process.pid, _MARK, grace_s) == []
    assert tree.left_after(5) == []
    assert len(tree) >= 1


async def test_the_killer_lets_a_program_use_its_grace(started, killer):
    """TERM first, and once; KILL only when the time is over."""
    line = "trap 'echo cleaned; sleep 0.5; exit 9' TERM; echo up; while :; do sleep 0.02; done"
    process, _ = started(line)

    await killer.kill(process.pid, _MARK, 10)

    assert process.wait(10) == 9
    assert process.stdout is not None
    assert process.stdout.read().startswith(b"cleaned\n\x1e")


async def test_the_killer_does_not_wait_when_all_have_gone(started, killer, bash):
    """A long grace is an upper limit, not a price."""
    process, tree = started("echo up; exec sleep 600")

    await killer.kill(process.pid, _MARK, 20)

    assert tree.left_after(0) == []
    assert bash.commands == 1


async def test_the_killer_spares_what_is_not_the_execs(started, killer):
    """Its own shell, its parents, and programs of other execs."""
    process, _ = started("echo up; exec sleep 600")
    bystander, _ = started("echo up; exec sleep 600", marker="the-mark-of-another")

    await killer.kill(process.pid, _MARK, 0.2)

    assert bystander.poll() is None


async def test_who_waits_at_the_same_moment_is_served_by_one_command(started, killer, bash):
    """Each looks through every process: a hundred at once would leave a sandbox no time."""
    trees = {}
    for number in range(20):
        process, trees[number] = started("echo up; sleep 600", marker=f"mark-{number}")
        trees[number].pid = process.pid
    kills = [killer.kill(tree.pid, f"mark-{it}", 5) for it, tree in trees.items()]
    left = await asyncio.gather(*kills)

    assert left == [[]] * 20
    assert all(tree.left_after(0) == [] for tree in trees.values())
    assert bash.commands <= 3


async def test_a_stubborn_program_holds_up_nobody(started, killer):
    """Its grace is its own: another's kill is done long before."""
    deaf, _ = started("trap '' TERM; echo up; while :; do sleep 0.1; done", marker="deaf")
    other, tree = started("echo up; sleep 600")
    killing = asyncio.create_task(killer.kill(deaf.pid, "deaf", 600))
    await asyncio.sleep(0)

    assert await asyncio.wait_for(killer.kill(other.pid, _MARK, 600), 20) == []
    assert tree.left_after(0) == []
    assert not killing.done()
    deaf.kill()
    await killing


@pytest.mark.parametrize("name", ["HUP", "USR1", "CONT"])
async def test_a_signal_reaches_every_process_once(started, killer, tmp_path: Path, name: str):
    """Also those that left the group; a second Ctrl-C would mean something else."""
    # Without children: bash can lose a signal that meets it between fork and exec.
    wait = "exec 9<>pipe; while :; do read -rt 0.05 -u 9; done"
    told = f"trap 'echo got >>$1' {name}; touch $1.up; {wait}"
    line = (
        f"cd {tmp_path}; mkfifo pipe; "
        f'f() {{ {told}; }}; (f inner) & setsid bash -c "$(declare -f f); f outer" & '
        f"until [ -e inner.up ] && [ -e outer.up ]; do sleep 0.02; done; "
        f"trap : {name}; echo up; {wait}"
    )
    process, _ = started(line)

    assert await killer.signal(process.pid, _MARK, name) >= 3
    for who in ("inner", "outer"):
        await until((tmp_path / who).exists)
    await killer.kill(process.pid, _MARK, 0)

    assert (tmp_path / "inner").read_text() == (tmp_path / "outer").read_text() == "got\n"


async def test_a_signal_to_what_has_ended_reaches_nobody(killer):
    """That is told, not an error."""
    assert await killer.signal(2**22 - 1, "no-such-mark", "TERM") == 0


async def test_what_an_instance_left_is_ended_and_nothing_else(started, killer):
    """By what its programs carry; who outlives it carries nothing of it."""
    _, first = started("echo up; sleep 600", marker="a", instance="dead-one")
    _, second = started("setsid sleep 600 & echo up; wait", marker="b", instance="dead-one")
    living, _ = started("echo up; sleep 600", marker="c", instance="another-one")

    assert await killer.end_instance("dead-one", 0.5) >= 4
    assert first.left_after(0) + second.left_after(0) == []
    assert living.poll() is None
    assert await killer.end_instance("dead-one", 0.5) == 0


async def test_a_command_that_fails_fails_for_all_who_wait(killer, bash):
    """Each of them falls back on what it can."""
    bash.fail = BackendUnavailableError("no process")

    outcomes = await asyncio.gather(
        *(killer.kill(2**22 - 1, f"m{it}", 1) for it in range(3)), return_exceptions=True
    )

    assert [type(it) for it in outcomes] == [BackendUnavailableError] * 3
    bash.fail = None
    assert await killer.kill(2**22 - 1, "m", 1) == []


async def test_whoever_stops_waiting_changes_nothing_for_others(started, killer):
    """A cancelled kill is cancelled and nothing else."""
    process, tree = started("echo up; sleep 600")
    given_up = asyncio.create_task(killer.kill(2**22 - 1, "m", 1))
    killing = asyncio.create_task(killer.kill(process.pid, _MARK, 1))
    await asyncio.sleep(0)
    given_up.cancel()

    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert await killing == []
    assert tree.left_after(5) == []
