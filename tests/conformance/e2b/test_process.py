"""Commands, as the SDK runs them."""

from __future__ import annotations

import asyncio
import signal

import e2b
import pytest

from tests.support.connect_wire import until

LIVES = "while kill -0 {} 2>/dev/null; do sleep 0.01; done"


async def run(sandbox, command, **options):
    return (await sandbox.commands.run(command, **options)).stdout


async def test_a_command_runs_where_and_as_what_it_was_asked(sandbox):
    """Folder, variables and user, and both outputs apart."""
    result = await sandbox.commands.run(
        "pwd; echo $A-$E2B_SANDBOX-$E2B_SANDBOX_ID; whoami; echo $HOME; echo oops >&2",
        cwd="/tmp",
        envs={"A": "b c"},
    )

    assert result.stdout.splitlines() == [
        "/tmp",
        f"b c-true-{sandbox.sandbox_id}",
        "user",
        "/home/user",
    ]
    assert result.stderr == "oops\n"
    assert (result.exit_code, result.error) == (0, None)


async def test_without_a_folder_it_runs_at_home(sandbox):
    """Where files go, too."""
    assert await run(sandbox, "pwd") == "/home/user\n"
    assert await run(sandbox, "pwd", cwd="") == "/home/user\n"


async def test_variables_of_the_command_win(sdk):
    """Over those of the sandbox, which win over nothing."""
    sandbox = await sdk.create(envs={"A": "sandbox", "B": "sandbox"})

    assert await run(sandbox, "echo $A $B", envs={"A": "command"}) == "command sandbox\n"


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        ("exit 3", 3, "exit status 3"),
        ("exit 137", 137, "exit status 137"),
        ("kill -9 $$", -1, "signal: killed"),
        ("kill -15 $$", -1, "signal: terminated"),
        ("no-such-program", 127, "exit status 127"),
    ],
)
async def test_a_failed_command_tells_how_it_ended(sandbox, command, code, error):
    """A signal is not an exit code."""
    with pytest.raises(e2b.CommandExitException) as caught:
        await sandbox.commands.run(command)

    assert caught.value.exit_code == code
    assert caught.value.error == error


async def test_a_missing_folder_and_an_unknown_user_are_refused(sandbox):
    """Nothing is started in another place, or as somebody else."""
    with pytest.raises(e2b.InvalidArgumentException, match="cwd '/nope' does not exist"):
        await sandbox.commands.run("true", cwd="/nope")
    with pytest.raises(e2b.AuthenticationException, match="invalid username: 'bob'"):
        await sandbox.commands.run("true", user="bob")


async def test_root_is_asked_for_by_name(sandbox):
    """And has a home of its own."""
    assert await run(sandbox, "echo $USER $HOME; cd; pwd", user="root") == "root /root\n/root\n"


async def test_output_comes_while_the_command_runs(sandbox):
    """In order, and before its end."""
    handle = await sandbox.commands.run(
        "echo one; read line; echo two >&2; exit 4", background=True, stdin=True
    )
    await sandbox.commands.send_stdin(handle.pid, "\n")
    out, err = [], []
    if hasattr(handle, "_it"):
        waited = handle.wait(on_stdout=out.append, on_stderr=err.append)
    else:
        waited = handle.wait()
    with pytest.raises(e2b.CommandExitException) as caught:
        await waited

    assert caught.value.stdout == "one\n"
    assert caught.value.stderr == "two\n"
    assert caught.value.exit_code == 4
    assert "".join(out) in {"", "one\n"}


async def test_callbacks_are_called_as_output_comes(async_sdk, shared):
    """Not all at the end."""
    sandbox = await async_sdk.connect(shared["sandboxID"])
    first = asyncio.Event()
    pieces = []

    def took(piece):
        pieces.append(piece)
        first.set()

    handle = await sandbox.commands.run(
        "echo one; read line; echo two", background=True, stdin=True, on_stdout=took
    )
    async with asyncio.timeout(10):
        await first.wait()
    await handle.send_stdin("\n")
    await handle.wait()

    assert pieces[0] == "one\n"
    assert "".join(pieces) == "one\ntwo\n"


async def test_text_that_is_cut_between_two_frames_is_whole(sandbox):
    """A character may have four bytes."""
    result = await run(sandbox, "python3 -c \"print('\\U0001F600ü' * 30000)\"")

    assert result == "\U0001f600ü" * 30000 + "\n"


async def test_a_long_command_line_is_run_or_refused(sandbox):
    """Up to 128 KiB, as Linux has it."""
    assert await run(sandbox, f": {'x' * 100_000}; echo fine") == "fine\n"
    with pytest.raises(e2b.InvalidArgumentException):
        await sandbox.commands.run(f": {'x' * 140_000}")


# Lists and ends


async def test_running_commands_are_listed_until_they_end(sandbox, name):
    """With what they were started as; gone once the end was told."""
    handle = await sandbox.commands.run(
        f"read line # {name}", background=True, stdin=True, envs={"A": "b"}, cwd="/tmp"
    )
    (listed,) = [it for it in await sandbox.commands.list() if it.pid == handle.pid]
    await sandbox.commands.send_stdin(handle.pid, "\n")
    await handle.wait()

    assert listed.cmd == "/bin/bash"
    assert listed.args == ["-l", "-c", f"read line # {name}"]
    assert listed.envs["A"] == "b"
    assert listed.cwd == "/tmp"
    assert handle.pid not in [it.pid for it in await sandbox.commands.list()]


async def test_a_kill_ends_a_command_and_tells_whether_it_ran(sandbox):
    """The second one finds nothing."""
    handle = await sandbox.commands.run("sleep 600", background=True)
    assert await sandbox.commands.kill(handle.pid) is True
    with pytest.raises(e2b.CommandExitException) as caught:
        await handle.wait()

    assert caught.value.exit_code == -1
    assert caught.value.error == "signal: killed"
    assert await sandbox.commands.kill(handle.pid) is False
    assert await sandbox.commands.kill(999_999) is False


async def test_a_timeout_kills_the_leader_alone(sandbox, name):
    """Its children live on: they are somebody's daemons."""
    command = f"(exec -a {name}-child sleep 600) & exec -a {name}-leader sleep 600"
    with pytest.raises(e2b.TimeoutException):
        await sandbox.commands.run(command, timeout=0.5)

    async def leader_gone():
        return not (await run(sandbox, f"pgrep -f '[{name[0]}]{name[1:]}-leader' || true"))

    await until(leader_gone)
    child = f"[{name[0]}]{name[1:]}-child"
    left = await run(sandbox, f"pgrep -f '{child}'; pkill -f '{child}'")
    assert len(left.split()) == 1


async def test_a_timeout_also_ends_what_runs_in_the_background(sandbox):
    """It is the last safety net of a client that was lost."""
    handle = await sandbox.commands.run("exec sleep 600", background=True, timeout=0.3)
    with pytest.raises(e2b.TimeoutException):
        await handle.wait()

    async def gone():
        return handle.pid not in [it.pid for it in await sandbox.commands.list()]

    await until(gone)


async def test_no_timeout_is_no_limit(sandbox):
    """`timeout=0`."""
    assert await run(sandbox, "sleep 0.5; echo done", timeout=0) == "done\n"


async def test_a_child_in_the_background_holds_the_end(sandbox):
    """As envd does: output may still come, until the caller has had enough."""
    assert await run(sandbox, "(sleep 0.5; echo late) & echo early") == "early\nlate\n"

    handle = await sandbox.commands.run("sleep 600 & echo $!", background=True)
    await sandbox.commands.run(LIVES.format(handle.pid))
    assert await sandbox.commands.kill(handle.pid)
    result = await handle.wait()

    assert result.exit_code == 0
    await sandbox.commands.run(f"kill {result.stdout}")


async def test_a_child_without_the_pipes_holds_nothing(sandbox):
    """Daemons do it properly."""
    assert await run(sandbox, "sleep 600 >/dev/null 2>&1 </dev/null & echo $!") != ""


# Taken up again


async def test_a_second_reader_gets_what_comes_from_now_on(sandbox):
    """A dropped connection is resumed by pid."""
    first = await sandbox.commands.run(
        "echo before; read line; echo got $line", background=True, stdin=True
    )
    second = await sandbox.commands.connect(first.pid)
    await sandbox.commands.send_stdin(first.pid, "it\n")

    assert (await first.wait()).stdout == "before\ngot it\n"
    assert "got it\n" in (await second.wait()).stdout


async def test_a_late_reader_learns_how_it_ended(sandbox):
    """For half a minute: the code, and no output."""
    handle = await sandbox.commands.run("echo out; exit 7", background=True)
    with pytest.raises(e2b.CommandExitException):
        await handle.wait()
    late = await sandbox.commands.connect(handle.pid)
    with pytest.raises(e2b.CommandExitException) as caught:
        await late.wait()

    assert (caught.value.exit_code, caught.value.stdout) == (7, "")
    with pytest.raises(e2b.NotFoundException, match="999999"):
        await sandbox.commands.connect(999_999)


async def test_a_reader_that_leaves_leaves_the_command(sandbox):
    """Ending it is another call."""
    handle = await sandbox.commands.run("sleep 600", background=True)
    await handle.disconnect()

    assert handle.pid in [it.pid for it in await sandbox.commands.list()]
    assert await sandbox.commands.kill(handle.pid)


async def test_signals_reach_a_program(async_sdk, shared):
    """A TERM that it may handle; here by itself, for the SDK only kills."""
    sandbox = await async_sdk.connect(shared["sandboxID"])
    command = "trap 'echo stopping; exit 9' TERM; echo ready; while :; do sleep 0.01; done"
    ready = asyncio.Event()
    handle = await sandbox.commands.run(command, background=True, on_stdout=lambda _: ready.set())
    async with asyncio.timeout(10):
        await ready.wait()
    await sandbox.commands.run(f"kill -{int(signal.SIGTERM)} {handle.pid}")
    with pytest.raises(e2b.CommandExitException) as caught:
        await handle.wait()

    assert caught.value.exit_code == 9
    assert caught.value.stdout == "ready\nstopping\n"


async def test_programs_of_the_template_answer(sandbox):
    """What agents type first."""
    versions = await run(sandbox, "python3 --version; python --version; bash --version")

    assert versions.count("Python 3") == 2
    assert "GNU bash" in versions
