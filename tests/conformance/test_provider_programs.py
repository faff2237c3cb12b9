"""How programs run in every provider's sandboxes: what they get, write, and how they end."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from datetime import timedelta

import pytest

from sandbox_service.domain.errors import (
    DirectoryNotFoundError,
    SandboxError,
    UserNotFoundError,
)
from sandbox_service.domain.execs import Argv, ShellCommand, SourceCode, Stream
from sandbox_service.domain.processes import ProcessEnd
from sandbox_service.domain.sandboxes import Language
from tests.conformance.sandbox_backends import Box, finished, first_output
from tests.support.calls import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

_EVERY_BYTE = bytes(range(256))
_GRACE = timedelta(milliseconds=500)


async def test_a_shell_command_is_a_whole_line_of_bash(box: Box):
    """Pipes, variables, several commands: whatever a login shell takes."""
    ran = await box.run(ShellCommand("x=5; echo $((x * 2)) | tr 1 9; [[ $0 = */bash ]] && echo ok"))

    assert ran.stdout == b"90\nok\n"
    assert ran.stderr == b""
    assert ran.end.exit_code == 0


async def test_an_argv_is_read_by_no_shell(box: Box):
    """What looks like shell is data."""
    arguments = ("", "two words", "$HOME", "*", "; exit 9", "'", "new\nline", "-n", "ü")

    ran = await box.run(Argv(("printf", "<%s>", *arguments)))

    assert ran.stdout.decode() == "".join(f"<{each}>" for each in arguments)
    assert ran.end.exit_code == 0


async def test_an_argv_names_a_program_not_a_word_of_the_shell(box: Box):
    """`exit` and `cd` exist in shells only."""
    ran = await box.run(Argv(("exit", "0")))

    assert ran.end.exit_code == 127


async def test_source_code_runs_with_its_arguments_and_leaves_no_file(box: Box):
    """The caller gave code, not a file: nothing of it stays in the sandbox."""
    path = "/tmp/.sandbox-exec/conformance/main.sh"
    code = b"printf '%s.' \"$@\" '\xc3\xbc'\nexit 7\n"
    await box.provider.write_file(box.id, path, code)

    ran = await box.run(
        SourceCode("bash", code, ("a b", "$x")),
        language=Language("bash", ("bash",), ".sh"),
        source_path=path,
    )
    left = await box.run(ShellCommand(f"ls -d {path} $(dirname {path})"))

    assert ran.stdout == b"a b.$x.\xc3\xbc."
    assert ran.end.exit_code == 7
    assert left.end.exit_code != 0


async def test_every_byte_comes_unchanged_on_both_streams(box: Box):
    """Output is bytes: what is no UTF-8 is not replaced, and streams are not mixed up."""
    escaped = "".join(f"\\x{byte:02x}" for byte in _EVERY_BYTE)

    ran = await box.run(ShellCommand(f"printf '{escaped}'; printf 'err{escaped}' >&2"))

    assert ran.stdout == _EVERY_BYTE
    assert ran.stderr == b"err" + _EVERY_BYTE


@pytest.mark.parametrize(
    "tail",
    [b"", b"\x1e", b"\x1e0123", b"\x1e" * 40, b"\n\n"],
    ids=["none", "rs", "digits", "many", "lf"],
)
async def test_output_that_looks_like_a_mark_of_ours_is_output(box: Box, tail: bytes):
    """Whatever the provider adds to find the end, it takes only that away again."""
    escaped = "".join(f"\\x{byte:02x}" for byte in tail)

    ran = await box.run(ShellCommand(f"printf 'body{escaped}'"))

    assert ran.stdout == b"body" + tail
    assert ran.end.exit_code == 0


async def test_megabytes_arrive_whole(box: Box):
    """Random bytes, told apart by their hash, more than all pipes between hold."""
    command = "head -c 8000000 /dev/urandom | tee >(sha256sum >&2)"

    ran = await box.run(ShellCommand(f"{command}; wait"))

    assert len(ran.stdout) == 8_000_000
    assert ran.stderr.split()[0].decode() == hashlib.sha256(ran.stdout).hexdigest()


async def test_who_does_not_read_makes_the_program_wait(box: Box):
    """The back-pressure that `overflow: BLOCK` stands on."""
    process = await box.start(
        ShellCommand("head -c 200000000 /dev/zero; touch /tmp/wrote-all; echo done >&2")
    )
    events = process.events()
    first = await anext(events)
    # A second program finishing meanwhile shows that the sandbox had time.
    meanwhile = await box.run(ShellCommand("sleep 0.5; ls /tmp/wrote-all"))
    received = len(first.data)
    async for event in events:
        if isinstance(event, ProcessEnd):
            break
        received += len(event.data) if event.stream is Stream.STDOUT else 0
    await process.aclose()

    assert meanwhile.end.exit_code != 0
    assert received == 200_000_000


async def test_input_of_any_bytes_reaches_the_program(box: Box):
    """And its end does: `cat` would wait for ever."""
    data = _EVERY_BYTE * 8192
    process = await box.start(ShellCommand("sha256sum; echo more"), stdin=True)

    reading = asyncio.create_task(finished(process))
    await process.write_stdin(data[:100])
    await process.write_stdin(data[100:])
    await process.close_stdin()
    ran = await reading

    assert ran.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert ran.stdout.endswith(b"more\n")


async def test_input_is_larger_than_what_is_read(box: Box):
    """Writing to a program that has ended is told, and hangs nobody."""
    process = await box.start(ShellCommand("head -c 3"), stdin=True)
    reading = asyncio.create_task(finished(process))

    with pytest.raises(SandboxError):
        await asyncio.wait_for(process.write_stdin(b"x" * 10_000_000), 20)
    ran = await reading

    assert ran.stdout == b"xxx"
    assert ran.end.exit_code == 0


async def test_without_input_a_program_reads_its_end(box: Box):
    """A program that asks a question does not wait for an answer that cannot come."""
    ran = await box.run(ShellCommand("cat; echo $?"))

    assert ran.stdout == b"0\n"


@pytest.mark.parametrize("code", [0, 1, 2, 126, 127, 137, 255])
async def test_an_exit_code_is_the_programs_own(box: Box, code: int):
    """137 is a number like any other: no signal is made of it."""
    shell = await box.run(ShellCommand(f"exit {code}"))
    argv = await box.run(Argv(("bash", "-c", f"exit {code}")))

    assert (shell.end.exit_code, shell.end.signal) == (code, "")
    assert (argv.end.exit_code, argv.end.signal) == (code, "")


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "HUP", "INT", "USR1", "PIPE", "ABRT"])
async def test_a_signal_that_ended_the_program_is_named(box: Box, name: str):
    """Never a code that was made of it: none was observed."""
    ran = await box.run(ShellCommand(f"kill -{name} $$"))

    assert ran.end.signal == name
    assert ran.end.exit_code is None


async def test_a_killed_child_is_an_exit_of_the_shell(box: Box):
    """What a shell's user expects: 128 and the signal's number, and no remark of the shell's."""
    ran = await box.run(Argv(("bash", "-c", "kill -9 $$")))

    assert ran.end.exit_code == 128 + signal.SIGKILL
    assert ran.stderr == b""


@pytest.mark.parametrize(
    ("command", "code", "stdout"),
    [
        ("exec echo replaced", 0, b"replaced\n"),
        ("trap 'echo own trap' EXIT; exit 3", 3, b"own trap\n"),
        ("exec >/dev/null; echo hidden; exit 4", 4, b""),
        ("set -e; false; echo not reached", 1, b""),
        ("set -u; echo $nothing", 127, b""),
        ("if then", 2, b""),
        ("exec 1>&- 2>&-; exit 5", 5, b""),
        ("echo a; (exit 6)", 6, b"a\n"),
    ],
)
async def test_a_program_that_takes_the_shell_over_still_ends_right(
    box: Box, command: str, code: int, stdout: bytes
):
    """The supervisor is in the program's hands; the result is right all the same."""
    ran = await box.run(ShellCommand(command))

    assert ran.end.exit_code == code
    assert ran.stdout == stdout


async def test_a_background_child_does_not_hold_back_the_result(box: Box):
    """`server & echo started` answers at once, and says that its output is still open."""
    async with asyncio.timeout(20):
        ran = await box.run(ShellCommand("sleep 600 & echo hi; exit 3"))

    assert ran.stdout == b"hi\n"
    assert ran.end.exit_code == 3
    assert ran.end.output_still_open
    await box.end_all("sleep *")


async def test_all_output_of_an_ended_program_is_read_though_a_child_goes_on(box: Box):
    """The last bytes before the end are there, on both streams."""
    ran = await box.run(
        ShellCommand("sleep 600 & head -c 3000000 /dev/zero; head -c 1000000 /dev/zero >&2")
    )

    assert (len(ran.stdout), len(ran.stderr)) == (3_000_000, 1_000_000)
    assert ran.end.output_still_open
    await box.end_all("sleep *")


_TREES = {
    "waiting": "sleep {0}",
    "background": "sleep {0} & sleep {0} & wait",
    "own_session": "setsid sleep {0} & wait",
    "no_environment": "env -i sleep {0} & wait",
    "orphaned": "(sleep {0} &) ; (setsid sleep {0} &) ; sleep {0}",
    "deaf": "trap '' TERM HUP INT; sleep {0} & while :; do sleep {0}; done",
    "nested": 'bash -c \'bash -c "setsid bash -c \\"sleep {0} & sleep {0}\\" & wait"\'',
}


@pytest.mark.parametrize(("name", "command"), _TREES.items(), ids=list(_TREES))
async def test_a_kill_ends_the_whole_tree(box: Box, name: str, command: str):
    """Whatever a program started goes with it; other programs stay."""
    mark = str(7_000 + list(_TREES).index(name))
    process = await box.start(ShellCommand(f"echo up; {command.format(mark)}"))
    await first_output(process)
    await until(lambda: _sleepers(box, mark))
    bystander = await box.start(ShellCommand("echo up; exec sleep 9999"))
    await first_output(bystander)

    survivors = await process.kill(_GRACE)
    left = await _sleepers(box, mark)
    ran = await finished(process)
    others = await _sleepers(box, "9999")
    await bystander.kill(timedelta(0))
    await bystander.aclose()

    assert list(survivors) == []
    assert left == 0
    assert ran.end.signal in ("TERM", "KILL")
    assert others == 1


async def _sleepers(box: Box, mark: str) -> int:
    return len(await box.pids(f"sleep {mark}"))


async def test_a_program_may_use_its_grace_to_clean_up(box: Box):
    """TERM comes first, and time to act on it."""
    process = await box.start(
        ShellCommand("trap 'echo cleaned; exit 9' TERM; echo up; while :; do sleep 0.05; done")
    )
    await first_output(process)

    await process.kill(timedelta(seconds=10))
    ran = await finished(process)

    assert ran.stdout == b"cleaned\n"
    assert ran.end.exit_code == 9


async def test_killing_what_has_ended_is_no_error(box: Box):
    """A kill and an end may cross."""
    process = await box.start(ShellCommand("true"))
    await finished(process)

    assert list(await process.kill(_GRACE)) == []


async def test_leaving_a_program_does_not_end_it(box: Box):
    """`aclose` is for readers; only `kill` is for programs."""
    process = await box.start(ShellCommand("echo up; exec sleep 8888"))
    await first_output(process)

    await process.aclose()

    assert await _sleepers(box, "8888") == 1
    await box.end_all("sleep 8888")


async def test_the_backstop_ends_a_program_that_this_service_forgot(box: Box):
    """Should this service be gone, the backend itself kills."""
    process = await box.start(
        ShellCommand("echo up; exec sleep 6666"), backstop=timedelta(seconds=1)
    )
    await first_output(process)

    with pytest.raises(SandboxError):
        await asyncio.wait_for(finished(process), 30)

    await until(lambda: _none(box, "6666"))


async def _none(box: Box, mark: str) -> bool:
    return await _sleepers(box, mark) == 0


async def test_a_program_leads_a_group_of_its_own(box: Box):
    """`kill 0` in a program reaches its own tree and nobody else's."""
    bystander = await box.start(ShellCommand("echo up; exec sleep 5555"))
    await first_output(bystander)

    process = await box.start(
        ShellCommand("cut -d ' ' -f 5 /proc/$$/stat; sleep 4444 & kill -TERM 0; wait")
    )
    ran = await finished(process)
    others = await _sleepers(box, "5555")
    await bystander.kill(timedelta(0))
    await bystander.aclose()

    assert ran.stdout.strip() == str(process.pid).encode()
    assert ran.end.signal == "TERM"
    assert others == 1


async def test_a_folder_that_does_not_exist_is_named(box: Box):
    """The caller corrects `cwd`; nothing has started."""
    with pytest.raises(DirectoryNotFoundError) as caught:
        await box.start(ShellCommand("true"), cwd="/no/such/folder")

    assert caught.value.metadata == {"cwd": "/no/such/folder"}


async def test_a_user_that_does_not_exist_is_named(box: Box):
    """The caller corrects `user`; the service's own credentials are not in question."""
    with pytest.raises(UserNotFoundError) as caught:
        await box.start(ShellCommand("true"), user="nosuchuser")

    assert caught.value.metadata == {"user": "nosuchuser"}


async def test_a_program_begins_where_and_as_whom_it_was_asked(box: Box):
    """Unset, it begins in its user's home."""
    home = await box.run(ShellCommand('[ "$PWD" = "$HOME" ] && echo "$USER"'))
    there = await box.run(Argv(("pwd",)), cwd="/usr/bin")
    root = await box.run(ShellCommand('echo "$USER $HOME $PWD"'), user="root")

    assert home.stdout == b"user\n"
    assert there.stdout == b"/usr/bin\n"
    # Whether its uid is 0 is the backend's: one without privileges has one uid.
    assert root.stdout == b"root /root /root\n"


async def test_variables_are_given_exactly(box: Box):
    """A value is data, whatever it holds."""
    value = "two words $HOME \"quoted\" 'single' \\ new\nline ü"

    ran = await box.run(Argv(("printenv", "GIVEN")), env={"GIVEN": value, "OTHER": ""})

    assert ran.stdout.decode() == value + "\n"


async def test_two_hundred_programs_run_at_once(box: Box):
    """Each on a connection of its own: no limit of the client's makes them wait for one another."""
    barrier = "/tmp/barrier"
    await box.run(ShellCommand(f"rm -f {barrier}; mkfifo {barrier}"))
    waiting = f"echo $$; exec 3<>{barrier}; read -n 1 -u 3; exit 7"

    async with asyncio.timeout(60):
        programs = [await box.start(ShellCommand(waiting)) for _ in range(200)]
        followed = [asyncio.create_task(finished(each)) for each in programs]
        await box.run(ShellCommand(f"head -c 200 /dev/zero | tr '\\0' x 1<>{barrier} >&1"))
        ended = await asyncio.gather(*followed)

    assert [ran.end.exit_code for ran in ended] == [7] * 200
    assert len({ran.stdout for ran in ended}) == 200
