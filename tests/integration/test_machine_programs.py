"""Programs in a sandbox: how they start, what passes to and from them, and how they end."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import signal
import struct
import termios

import pytest

from sandbox_service.e2b_local.machine import GuestOSError, PtySize, SpawnRefusedError, SpawnSpec
from tests.integration.machine_bench import count_descriptors, finish, read_line, run, sh


async def test_a_login_shell_is_quiet_and_finds_what_people_type(guest):
    """Whatever the SDK runs, it runs in a login shell."""
    found = await sh(guest, "command -v python python3 sudo bash; python -c 'print(6 * 7)'")

    assert len(found.splitlines()) == 5
    assert found.endswith("42\n")
    assert await sh(guest, "sudo whoami; pwd; echo $HOME $USER") == (
        "user\n/home/user\n/home/user user\n"
    )


async def test_root_is_a_name_with_a_home(guest):
    """Templates expect it; it has no more power."""
    assert await sh(guest, "pwd; echo $HOME $USER; touch x; id -u", user="root") == (
        "/root\n/root root\n1000\n"
    )


async def test_output_is_exact(guest):
    """Bytes are bytes, whatever they mean in any encoding."""
    command = "head -c 5000000 /dev/urandom | tee /tmp/copy; sha256sum < /tmp/copy >&2"
    outcome = await run(guest, "/bin/bash", "-c", command)

    assert len(outcome.out) == 5_000_000
    assert outcome.err.split()[0].decode() == hashlib.sha256(outcome.out).hexdigest()


async def test_input_is_exact_and_its_end_is_seen(guest):
    """A program that reads to the end must get there."""
    process = await guest.spawn(SpawnSpec(argv=("sha256sum",), stdin=True))
    data = bytes(range(256)) * 200
    assert process.stdin is not None
    assert os.write(process.stdin, data) == len(data)
    os.close(process.stdin)

    outcome = await finish(process)
    assert outcome.out.split()[0].decode() == hashlib.sha256(data).hexdigest()


async def test_without_input_there_is_none(guest):
    """Not the server's terminal, and nothing to wait for."""
    assert (await run(guest, "cat")).out == b""


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9)])
async def test_an_end_is_told_as_it_was(guest, command, code):
    """A signal is not an exit code of 137."""
    assert (await run(guest, "/bin/bash", "-c", command)).code == code


async def test_an_exit_is_told_while_others_hold_the_pipes(guest):
    """The caller decides how long to wait for what a child left behind."""
    process = await guest.spawn(SpawnSpec(argv=("/bin/bash", "-c", "sleep 600 & exit 3")))

    assert os.waitstatus_to_exitcode(await process.exit) == 3
    process.close()


@pytest.mark.parametrize("setsid", ["setsid", "/usr/bin/setsid"])
async def test_piped_programs_stay_in_the_agents_session(guest, setsid):
    """As in envd: `setsid` then execs in place and keeps its pid."""
    command = "ps -o pid=,sid=,pgid=,comm= -p $$; true"
    process = await guest.spawn(SpawnSpec(argv=(setsid, "/bin/bash", "-c", command)))
    told = (await finish(process)).out.split()

    assert told == [*[str(process.pid).encode()] * 3, b"bash"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--wait", "/bin/sh", "-c", "exit 7"), 7), (("/nowhere",), 127), ((), 1)],
    ids=["option", "no program", "nothing"],
)
async def test_setsid_is_what_it_is(guest, arguments, code):
    """What the agent does in its place for one program, it does for no other use of it."""
    process = await guest.spawn(SpawnSpec(argv=("/usr/bin/setsid", *arguments)))

    assert (await finish(process)).code == code


@pytest.mark.parametrize(
    ("script", "code"),
    [("#!/nowhere\n", 127), ("#!/proc/self/mem\n", 126), ("exit 9\n", 9)],
    ids=["no interpreter", "one that cannot run", "none named"],
)
async def test_setsid_itself_tells_what_it_cannot_run(guest, script, code):
    """A program that started and failed, as in envd; not one that could not be started."""
    await sh(guest, f"printf '{script}' >/tmp/script; chmod +x /tmp/script")
    process = await guest.spawn(SpawnSpec(argv=("/usr/bin/setsid", "/tmp/script")))

    assert (await finish(process)).code == code


async def test_a_terminal_is_a_terminal(guest):
    """With a size, a session, and a signal when the size changes."""
    command = "trap 'stty size; exit 5' WINCH; tty; stty size; echo ready; while :; do read; done"
    process = await guest.spawn(
        SpawnSpec(argv=("/bin/bash", "-c", command), pty=PtySize(cols=120, rows=40))
    )
    assert process.pty is not None
    lines = [await read_line(process.pty) for _ in range(3)]
    assert lines == [b"/dev/pts/0\r\n", b"40 120\r\n", b"ready\r\n"]
    fcntl.ioctl(process.pty, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 90, 0, 0))
    os.write(process.pty, b"\n")
    outcome = await finish(process)

    assert b"50 90" in outcome.out
    assert outcome.code == 5


async def test_signals_reach_one_process_or_a_group(guest):
    """And it is told when there is nobody to signal."""
    process = await guest.spawn(
        SpawnSpec(argv=("setsid", "/bin/bash", "-c", "sleep 600 & echo $!; wait"))
    )
    assert process.stdout is not None
    child = int(await read_line(process.stdout))
    assert await guest.signal(process.pid, signal.SIGTERM, group=True)
    assert os.WTERMSIG(await process.exit) == signal.SIGTERM
    await finish(process)

    assert not await guest.signal(process.pid, signal.SIGTERM)
    assert not await guest.signal(child, 0)
    with pytest.raises(GuestOSError):
        await guest.signal(-1, signal.SIGKILL)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"argv": ("true",), "cwd": "/missing"}, "cwd"),
        ({"argv": ("true",), "cwd": "/etc/passwd"}, "cwd"),
        ({"argv": ("true",), "user": "somebody"}, "user"),
        ({"argv": ("no-such-program",)}, "exec"),
        ({"argv": ("/etc/passwd",)}, "exec"),
        ({"argv": ("/bin/echo", "x" * 200_000)}, "exec"),
        ({"argv": ("nul\0",)}, "exec"),
        ({"argv": ()}, "exec"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_start_is_refused_with_a_kind(guest, spec, kind):
    """The caller is told what to change; nothing is left of the attempt."""
    before = count_descriptors()
    with pytest.raises(SpawnRefusedError) as caught:
        await guest.spawn(SpawnSpec(**spec))

    assert caught.value.kind == kind
    assert count_descriptors() <= before


async def test_an_argument_may_be_as_long_as_the_kernel_allows(guest):
    """Far longer than one message to the agent."""
    outcome = await run(guest, "/bin/echo", "-n", "x" * 120_000, env={"LONG": "y" * 120_000})

    assert len(outcome.out) == 120_000


async def test_a_script_without_a_shebang_runs_as_in_a_shell(guest):
    """The kernel does not know it; shells and envd do."""
    await sh(guest, "echo 'echo from $1' > script; chmod +x script")

    assert (await run(guest, "./script", "here")).out == b"from here\n"


async def test_the_standard_streams_can_be_opened_by_name(guest):
    """`> /dev/stderr` opens the pipe anew, which the owner of the pipe alone may."""
    outcome = await run(guest, "/bin/sh", "-c", "echo e > /dev/stderr; echo o > /dev/stdout")

    assert (outcome.out, outcome.err, outcome.code) == (b"o\n", b"e\n", 0)


async def test_two_hundred_programs_at_once_all_finish(guest):
    """And every one of them gets its own output."""
    outcomes = await asyncio.gather(
        *(run(guest, "/bin/sh", "-c", f"sleep 0.2; echo {number}") for number in range(200))
    )

    assert [int(outcome.out) for outcome in outcomes] == list(range(200))


async def test_a_cancelled_start_leaves_no_program(guest):
    """The caller has gone and will never learn its pid."""
    for _ in range(20):
        starting = asyncio.ensure_future(guest.spawn(SpawnSpec(argv=("sleep", "600"))))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    await sh(guest, "while pgrep sleep >/dev/null; do :; done")


async def test_orphans_are_reaped(guest):
    """Zombies would count against the limit of processes."""
    await sh(guest, "for i in 1 2 3 4 5; do setsid sh -c 'sleep 0.05' >/dev/null & done")
    waiting = "while [ $(ls -d /proc/[0-9]* | wc -l) -gt 4 ]; do :; done"
    await sh(guest, f"{waiting}; ! grep -q 'State:.Z' /proc/[0-9]*/status")
