"""Programs that are talked to: terminals, input, signals; and what a program used."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sandbox_service.domain.exec_errors import ExecIdReusedError, InputClosedError
from sandbox_service.domain.execs import Argv, PtySize, ShellCommand, Stream
from sandbox_service.domain.processes import Durable
from tests.conformance.sandbox_backends import Box, finished, first_output, read_until
from tests.support.calls import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SIZE = PtySize(cols=97, rows=31)
_GRACE = timedelta(milliseconds=500)


@pytest.mark.parametrize(
    "program",
    [
        ShellCommand("tty; stty size; echo err >&2; exit 7"),
        Argv(("bash", "-c", "tty; stty size; echo err >&2; exit 7")),
    ],
    ids=["line", "argv"],
)
async def test_a_terminal_is_one_stream_of_the_size_asked_for(box: Box, program):
    """Both outputs of the program go to it, and nothing of the supervisor's."""
    ran = await box.run(program, pty=_SIZE)

    tty, size, error = ran.terminal.split(b"\r\n")[:3]
    assert tty.startswith(b"/dev/pts/")
    assert (size, error) == (b"31 97", b"err")
    assert ran.terminal.endswith(b"err\r\n")
    assert set(ran.written) == {Stream.PTY}
    assert (ran.end.exit_code, ran.end.signal) == (7, "")


async def test_a_terminals_exec_id_is_claimed_without_a_trace_on_it(box: Box):
    """What the supervisor says of that is for the provider alone."""
    durable = Durable(exec_id="terminal-1", spool_limit_bytes=0)

    ran = await box.run(ShellCommand("echo only this; exit 2"), pty=_SIZE, durable=durable)

    assert (ran.terminal, ran.end.exit_code) == (b"only this\r\n", 2)
    with pytest.raises(ExecIdReusedError):
        await box.start(ShellCommand("true"), pty=_SIZE, durable=durable)


async def test_an_interactive_shell_is_typed_at(box: Box):
    """Job control works, keys are what a person would press, and Ctrl-D ends it."""
    process = await box.start(Argv(("bash", "--norc", "-i")), pty=_SIZE, env={"PS1": "ready> "})
    await read_until(process, b"ready> ", Stream.PTY)
    await process.write_stdin(b"sleep 600\r")
    await until(lambda: _runs(box, "sleep 600"))
    await process.write_stdin(b"\x03")
    await read_until(process, b"ready> ", Stream.PTY)
    await process.write_stdin(b"echo $((6 * 7)); exit 3\r")

    ran = await finished(process)

    assert b"\r42\r\n" in ran.terminal
    assert ran.end.exit_code == 3


async def test_the_end_of_input_can_be_typed(box: Box):
    """What `close_stdin` means on a terminal."""
    process = await box.start(ShellCommand("cat; echo over"), pty=_SIZE)
    await process.write_stdin(b"line\r")
    await process.close_stdin()

    ran = await finished(process)

    assert ran.terminal.endswith(b"over\r\n")
    assert ran.end.exit_code == 0


async def test_a_terminal_changes_its_size_and_tells_the_program(box: Box):
    """By the signal that programs on terminals redraw at."""
    process = await box.start(
        ShellCommand("trap 'stty size; exit 0' WINCH; echo up; while :; do sleep 0.02; done"),
        pty=_SIZE,
    )
    await read_until(process, b"up\r\n", Stream.PTY)

    await process.resize(PtySize(cols=120, rows=50))
    ran = await finished(process)
    await process.resize(PtySize(cols=1, rows=1))

    assert ran.terminal == b"50 120\r\n"


async def test_a_terminal_knows_its_kind_unless_the_caller_does(box: Box):
    """Colours and letters work without a word of the caller's."""
    line = ShellCommand('echo "$TERM $LANG"')

    default = await box.run(line, pty=_SIZE)
    given = await box.run(line, pty=_SIZE, env={"TERM": "dumb"})

    assert default.terminal == b"xterm-256color C.UTF-8\r\n"
    assert given.terminal == b"dumb C.UTF-8\r\n"


async def test_a_terminals_program_dies_with_all_it_started(box: Box):
    """Also what an interactive shell put into groups of their own."""
    process = await box.start(Argv(("bash", "--norc", "-i")), pty=_SIZE, env={"PS1": "ready> "})
    await read_until(process, b"ready> ", Stream.PTY)
    await process.write_stdin(b"sleep 4321 & sleep 4321\r")
    await until(lambda: _runs(box, "sleep 4321", times=2))

    left = await process.kill(_GRACE)
    await finished(process)

    assert list(left) == []
    assert await _runs(box, "sleep 4321", times=0)


async def test_input_comes_in_pieces_while_output_is_read(box: Box):
    """A conversation: each answer is read before the next question is asked."""
    process = await box.start(ShellCommand("while read -r it; do echo got $it; done"), stdin=True)
    for number in range(5):
        await process.write_stdin(f"{number}\n".encode())
        assert await first_output(process) == f"got {number}\n".encode()
    await process.close_stdin()

    assert (await finished(process)).end.exit_code == 0


async def test_a_program_that_does_not_read_makes_the_writer_wait(box: Box):
    """Input is not gathered anywhere on its way."""
    process = await box.start(ShellCommand("echo up; kill -STOP $$; exec wc -c"), stdin=True)
    await first_output(process)
    await until(lambda: _stopped(box, process.pid))
    writing = asyncio.create_task(process.write_stdin(b"x" * 3_000_000))
    await box.run(ShellCommand("sleep 0.3"))

    assert not writing.done()
    assert await process.signal("CONT")
    await writing
    await process.close_stdin()
    ran = await finished(process)

    assert ran.stdout == b"3000000\n"


@pytest.mark.parametrize("line", ["exec 0<&-; echo up; exec sleep 600", "true"])
async def test_writing_where_nobody_reads_is_told(box: Box, line: str):
    """The program closed its input, or has ended."""
    process = await box.start(ShellCommand(line), stdin=True)
    if line == "true":
        await finished(process)
    else:
        await first_output(process)

    with pytest.raises(InputClosedError):
        await process.write_stdin(b"x" * 10_000_000)

    await process.kill(timedelta(0))
    await process.aclose()


@pytest.mark.parametrize("name", ["USR1", "HUP", "WINCH"])
async def test_any_signal_reaches_the_program(box: Box, name: str):
    """By its POSIX name; envd itself knows only two."""
    process = await box.start(
        ShellCommand(f"trap 'echo caught; exit 5' {name}; echo up; while :; do sleep 0.02; done")
    )
    await first_output(process)

    assert await process.signal(name)
    ran = await finished(process)

    assert (ran.stdout, ran.end.exit_code) == (b"caught\n", 5)


async def test_a_signal_reaches_those_that_left_the_group(box: Box):
    """All processes of the exec, not the leader alone."""
    process = await box.start(
        ShellCommand("setsid sleep 7654 & sleep 7654 & trap '' TERM; echo up; wait; wait; wait")
    )
    await first_output(process)
    await until(lambda: _runs(box, "sleep 7654", times=2))

    assert await process.signal("TERM")
    await finished(process)

    assert await _runs(box, "sleep 7654", times=0)


async def test_a_signal_to_what_has_ended_reaches_nobody(box: Box):
    """It says so; no error."""
    process = await box.start(ShellCommand("true"))
    await finished(process)

    assert not await process.signal("USR1")


async def test_many_kills_at_once_end_all_of_them(box: Box):
    """As when a client with two hundred programs goes away."""
    programs = [await box.start(ShellCommand("echo up; sleep 3456")) for _ in range(100)]
    for process in programs:
        await first_output(process)

    left = await asyncio.gather(*(process.kill(_GRACE) for process in programs))
    ended = await asyncio.gather(*(finished(process) for process in programs))

    assert left == [[]] * 100
    # A shell may see its child killed before it sees its own signal.
    assert all(it.end.signal in ("TERM", "KILL") or it.end.exit_code == 143 for it in ended)
    assert await _runs(box, "sleep 3456", times=0)


async def test_what_an_instance_left_running_is_ended(box: Box):
    """After a crash of the service; what another instance runs stays."""
    theirs = await box.start(ShellCommand("echo up; setsid sleep 5432 & wait"), instance="dead-1")
    ours = await box.start(ShellCommand("echo up; exec sleep 600"), instance="living-1")
    await first_output(theirs)
    await first_output(ours)

    assert await box.provider.end_leftovers(box.id, "dead-1") >= 2
    assert await _runs(box, "sleep 5432", times=0)
    assert await ours.signal("CONT")
    assert await box.provider.end_leftovers(box.id, "dead-1") == 0
    await ours.kill(timedelta(0))
    await ours.aclose()
    await theirs.aclose()


async def test_the_time_that_a_program_used_is_known(box: Box):
    """Of it and the children that it waited for."""
    process = await box.start(
        ShellCommand(
            "timeout 0.6 bash -c 'while :; do :; done'; (while ((i++ < 30000)); do :; done)"
        )
    )
    await finished(process)

    usage = process.usage()

    assert usage is not None
    assert usage.cpu_time is not None
    assert usage.cpu_time > timedelta(milliseconds=100)


async def test_memory_that_did_not_run_out_is_never_blamed(box: Box):
    """Neither a KILL nor its number means that."""
    killed = await box.run(ShellCommand("kill -KILL $$"))
    number = await box.run(ShellCommand("exit 137"))
    child = await box.run(Argv(("bash", "-c", "kill -KILL $$")))

    assert [it.end.oom for it in (killed, number, child)] == [False, False, False]


async def test_memory_that_ran_out_is_told_where_it_can_be_seen(own_box: Box):
    """The kernel counts whom it killed for it; a sandbox may not be shown that count."""
    counted = await own_box.run(
        ShellCommand("grep -qs oom_kill /sys/fs/cgroup/memory{.events,/memory.oom_control}")
    )
    if counted.end.exit_code != 0:
        pytest.skip("this backend does not let a sandbox see it")

    hog = await own_box.run(ShellCommand("tr '\\0' x </dev/zero | tail -n 1"))
    after = await own_box.run(ShellCommand("exit 137"))

    assert (hog.end.exit_code, hog.end.oom) == (137, True)
    assert (after.end.exit_code, after.end.oom) == (137, False)


async def _runs(box: Box, command: str, times: int = 1) -> bool:
    return len(await box.pids(command)) == times


async def _stopped(box: Box, pid: int) -> bool:
    return await box.state(pid) == "T"
