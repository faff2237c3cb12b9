"""Exec: what can be run, with what, and how its end is told."""

from __future__ import annotations

import hashlib
import os

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import failure, first_output, source, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_shell_command_streams_both_outputs_and_its_exit_code(box):
    """The main job."""
    ran = await box.run("echo out; echo err >&2; exit 3")

    assert ran.stdout == b"out\n"
    assert ran.stderr == b"err\n"
    assert ran.outcome == ("EXIT", 3)
    assert ran.exited.fault == pb.FAULT_USER


async def test_a_program_that_succeeds_is_nobodys_fault(box):
    """Who reads results by their fault has to see that there is none."""
    ran = await box.run("true")

    assert ran.outcome == ("EXIT", 0)
    assert ran.exited.fault == pb.FAULT_UNSPECIFIED
    assert not ran.exited.HasField("signal")


async def test_an_argv_is_not_read_by_a_shell(box):
    """Arguments of a program may hold anything."""
    arguments = ["printf", "%s|", "a b", "$HOME", "`id`", "*", "", "'\"\\", "ä\n"]
    ran = await box.run(arguments)

    assert ran.text == "".join(f"{it}|" for it in arguments[2:])


@pytest.mark.parametrize(
    ("language", "code", "said"),
    [
        ("python", "import sys\nprint(6 * 7, sys.argv[1:])", "42 ['a b', 'c']\n"),
        ("javascript", "console.log(6 * 7, process.argv.slice(2).join('|'))", "42 a b|c\n"),
        ("bash", 'echo "$((6 * 7)) $1|$2"', "42 a b|c\n"),
    ],
)
async def test_source_code_runs_in_its_language_with_its_arguments(box, language, code, said):
    """Code of a language model comes without a file."""
    ran = await box.run(source(language, code, "a b", "c"))

    assert ran.text == said
    assert ran.outcome == ("EXIT", 0)


async def test_source_code_that_fails_shows_its_traceback_and_leaves_no_file(box):
    """A failing program is a result; its source is not left for the next one to find."""
    ran = await box.run(source("python", "1 / 0"))
    left = await box.run("ls -A /tmp/.sandbox-exec 2>/dev/null | wc -l")

    assert b"ZeroDivisionError" in ran.stderr
    assert ran.outcome == ("EXIT", 1)
    assert left.text.strip() == "0"


async def test_a_language_that_no_template_has_is_refused(box):
    """Rather than an interpreter's absence as exit code 127."""
    error = await failure(box.run(source("fortran", "end")))

    assert error.seen == ("INVALID_ARGUMENT", "LANGUAGE_NOT_SUPPORTED")
    assert error.metadata["language"] == "fortran"


async def test_stdin_bytes_reach_the_program_unchanged_and_end(box):
    """A megabyte is the largest that one message brings; NUL and all."""
    data = os.urandom(1 << 20)
    ran = await box.run("sha256sum", stdin={"mode": pb.STDIN_MODE_BYTES, "data": data})

    assert ran.text.split()[0] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("stdin", [None, {}, {"mode": pb.STDIN_MODE_NONE}, {"mode": 2}])
async def test_without_input_a_program_reads_the_end_at_once(box, stdin):
    """A program that asks a question must not hang for ever."""
    ran = await box.run("wc -c", **({} if stdin is None else {"stdin": stdin}))

    assert ran.text.strip() == "0"


async def test_a_program_may_end_without_reading_its_input(box):
    """A closed pipe is no failure of the call."""
    ran = await box.run("head -c 1", stdin={"data": b"x" * 1_000_000})

    assert ran.stdout == b"x"
    assert ran.outcome == ("EXIT", 0)


async def test_it_runs_in_the_folder_that_was_asked_for(box):
    """And says in which."""
    ran = await box.run("pwd", cwd="/usr/share")

    assert ran.text == "/usr/share\n"
    assert ran.started.cwd == "/usr/share"


async def test_started_tells_where_and_as_whom_it_runs_if_that_was_asked_for(box):
    """Empty means the template's own user, and that user's home."""
    asked = await box.run("pwd; id -un", cwd="/tmp", user="user")
    unset = await box.run("pwd; id -un")

    assert [asked.started.cwd, asked.started.user] == asked.text.split() == ["/tmp", "user"]
    assert (unset.started.cwd, unset.started.user) == ("", "")
    assert unset.text.split() == ["/home/user", "user"]


async def test_started_echoes_every_effective_value(box):
    """What was unset is told as what it came to."""
    started = (await box.run("true")).started

    assert started.exec_id
    assert started.pid > 1
    assert not started.reused
    assert started.timeout.seconds > 60
    assert not started.timeout_clamped
    assert started.retention == pb.RETENTION_ATTACHED
    assert started.HasField("reader_grace")
    assert started.kill_grace.ToMilliseconds() == 500
    assert started.overflow == pb.OVERFLOW_BLOCK
    assert started.journal_limit == 8 << 20
    assert not started.HasField("output_limit")
    assert started.heartbeat_interval.seconds == 15
    assert started.reconnect_limit.seconds == 60
    assert not started.HasField("spool_limit")
    assert not started.HasField("pty")


async def test_the_pid_is_that_of_the_programs_process_group(box):
    """People look for it with ps."""
    ran = await box.run("echo $$; ps -o pgid= -p $$ | tr -d ' '")

    assert {int(it) for it in ran.text.split()} == {ran.started.pid}


async def test_env_reaches_the_program_and_wins_over_the_sandboxs(client):
    """Precedence is part of the contract."""
    box = await client.sandbox(env={"A": "sandbox", "B": "sandbox"})
    ran = await box.run('printf "%s %s %s" "$A" "$B" "$C"', env={"A": "exec", "C": "ä b\n$x"})

    assert ran.text == "exec sandbox ä b\n$x"


async def test_user_decides_as_whom_it_runs(box):
    """Some set-ups need root, or what passes for it: each user has a home of its own."""
    ran = [await box.run("echo $USER $HOME; pwd", user=user) for user in ("user", "root")]

    assert [it.text.split() for it in ran] == [
        ["user", "/home/user", "/home/user"],
        ["root", "/root", "/root"],
    ]
    assert [it.started.user for it in ran] == ["user", "root"]


async def test_a_folder_that_is_not_there_is_told_before_anything_starts(box):
    """Rather than as an exit code that a program could have chosen."""
    error = await failure(box.run("touch /tmp/started", cwd="/nowhere"))

    assert error.seen == ("FAILED_PRECONDITION", "DIRECTORY_NOT_FOUND")
    assert error.metadata["cwd"] == "/nowhere"
    assert (await box.run("test -e /tmp/started")).outcome == ("EXIT", 1)


async def test_a_relative_folder_is_refused(box):
    """Relative to what?"""
    error = await failure(box.run("pwd", cwd="usr"))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PATH")
    assert error.fields == ["cwd"]


async def test_a_user_that_is_not_there_is_told(box):
    """Rather than a program that runs as somebody else."""
    error = await failure(box.run("id", user="nemo"))

    assert error.seen == ("FAILED_PRECONDITION", "USER_NOT_FOUND")
    assert error.metadata["user"] == "nemo"


async def test_a_program_that_is_not_there_is_exit_127(box):
    """As a user of a shell expects."""
    ran = await box.run(["no-such-program"])

    assert ran.outcome == ("EXIT", 127)


async def test_a_signal_is_told_by_name_and_an_exit_code_of_137_is_an_exit(box):
    """Codes above 128 are a shell's convention, not an observation."""
    killed = await box.run("kill -9 $$")
    chose = await box.run("exit 137")
    terminated = await box.run("exec python3 -c 'import os; os.kill(os.getpid(), 15)'")
    of_a_child = await box.run("sh -c 'kill -9 $$'")

    assert killed.outcome == ("SIGNAL", None)
    assert killed.exited.signal == "KILL"
    assert killed.exited.fault == pb.FAULT_USER
    assert chose.outcome == ("EXIT", 137)
    assert terminated.outcome == ("SIGNAL", None)
    assert terminated.exited.signal == "TERM"
    assert of_a_child.outcome == ("EXIT", 137)


async def test_exited_says_when_and_how_long_each_phase_took(box):
    """Where time went is told with each result."""
    exited = (await box.run("echo x; sleep 0.2")).exited
    phases = {it.phase: it.duration.ToMilliseconds() for it in exited.timings}

    assert exited.HasField("end_time")
    assert {"queue", "start", "first_byte", "run"} <= set(phases)
    assert 190 <= phases["run"] < 2000


async def test_totals_count_what_was_written_and_what_was_delivered(box):
    """So that a reader can tell whether it has everything."""
    exited = (await box.run("head -c 300000 /dev/zero; head -c 10 /dev/zero >&2")).exited
    totals = {it.stream: (it.produced_bytes, it.delivered_bytes) for it in exited.totals}

    assert totals == {
        pb.OUTPUT_STREAM_STDOUT: (300_000, 300_000),
        pb.OUTPUT_STREAM_STDERR: (10, 10),
    }


async def test_a_used_exec_id_never_runs_twice(box):
    """It makes an exec idempotent for as long as its sandbox lives."""
    first = await box.run("mktemp /tmp/once.XXXXXX", exec_id="once-1")
    other = await failure(box.run("echo other; mktemp /tmp/once.XXXXXX", exec_id="once-1"))
    ran = await box.run("ls /tmp/once.* | wc -l; rm /tmp/once.*")

    assert first.started.exec_id == "once-1"
    assert other.seen == ("ALREADY_EXISTS", "EXEC_ID_REUSED")
    assert other.metadata["exec_id"] == "once-1"
    assert ran.text.strip() == "1"


async def test_an_exec_that_could_not_start_leaves_its_id_free(box):
    """The retry with a corrected folder is the same exec."""
    await failure(box.run("true", exec_id="mended", cwd="/nowhere"))
    ran = await box.run("true", exec_id="mended")

    assert ran.outcome == ("EXIT", 0)


async def test_output_beyond_its_limit_is_cut_and_counted(box):
    """TRUNCATE: the program runs on."""
    ran = await box.run("head -c 100000 /dev/zero; echo end >&2; exit 4", output_limit=1000)
    written = {it.stream: it.produced_bytes for it in ran.exited.totals}

    assert len(ran.stdout) + len(ran.stderr) == 1000
    assert ran.exited.truncated
    assert ran.outcome == ("EXIT", 4)
    assert written == {pb.OUTPUT_STREAM_STDOUT: 100_000, pb.OUTPUT_STREAM_STDERR: 4}
    assert ran.started.output_limit == 1000
    assert ran.started.on_output_limit == pb.ON_OUTPUT_LIMIT_TRUNCATE


async def test_a_program_that_stays_below_its_limit_is_not_truncated(box):
    """The limit itself is allowed."""
    ran = await box.run("head -c 1000 /dev/zero", output_limit=1000)

    assert len(ran.stdout) == 1000
    assert not ran.exited.truncated


async def test_a_limit_of_zero_is_not_no_limit(box):
    """Unset is not zero."""
    ran = await box.run("echo x", output_limit=0)

    assert ran.stdout == b""
    assert ran.exited.truncated


async def test_a_program_is_killed_at_its_limit_when_that_was_asked_for(box):
    """A flood costs money."""
    ran = await box.run("yes", output_limit=100_000, on_output_limit=pb.ON_OUTPUT_LIMIT_KILL)

    assert len(ran.stdout) == 100_000
    assert ran.outcome[0] == "OUTPUT_LIMIT"
    assert ran.exited.fault == pb.FAULT_USER


async def test_heartbeats_come_while_a_program_is_silent(box):
    """So that a proxy between keeps the stream, and a reader knows that it lives."""
    ran = await box.run("sleep 2.3; echo x", heartbeat_interval={"seconds": 1})
    beats = [event for event in ran.events if event.HasField("heartbeat")]

    assert len(beats) == 2
    assert {it.heartbeat.connection for it in beats} == {pb.BACKEND_CONNECTION_CONNECTED}
    assert ran.started.heartbeat_interval.seconds == 1


async def test_running_execs_are_seen_in_status_and_gone_afterwards(box):
    """What runs is part of a sandbox's state."""
    call = box.exec("echo x; sleep 30", exec_id="seen-1")
    await first_output(call)
    status = await box.client.status(box.sandbox_id)
    (seen,) = [it for it in status.running_execs if it.exec_id == "seen-1"]
    call.cancel()

    async def ended():
        status = await box.client.status(box.sandbox_id)
        return all(it.exec_id != "seen-1" for it in status.running_execs)

    assert seen.state == pb.EXEC_STATE_RUNNING
    assert seen.program == "echo x; sleep 30"
    assert seen.readers == 1
    assert seen.position.stdout_offset == 2
    await until(ended)
