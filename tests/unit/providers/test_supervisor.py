"""The supervisor, run by this machine's own bash: scripts are tried, not read."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox_service.domain.execs import Argv, Program, ShellCommand, SourceCode
from sandbox_service.domain.processes import Durable, ProcessSpec
from sandbox_service.domain.sandboxes import Language
from sandbox_service.providers.e2b import supervisor
from sandbox_service.providers.e2b.trailers import TrailerScanner

_NONCE = b"0123456789abcdef01234567"
_PYTHON = Language("python", ("python3", "-u"), ".py")


def _spec(program: Program, **options: object) -> ProcessSpec:
    return ProcessSpec(
        **{
            "marker": "the-mark",
            "program": program,
            "cwd": "",
            "env": {},
            "user": "",
            "stdin": False,
            "backstop": None,
            **options,
        }  # type: ignore[arg-type]
    )


@dataclass(frozen=True, slots=True)
class Ran:
    """What a supervised program left on each stream, and the shell's own status."""

    stdout: bytes
    stderr: bytes
    stdout_code: int | None
    stderr_code: int | None
    status: int


def _command(spec: ProcessSpec) -> list[str]:
    cmd, args, _ = supervisor.command_line(spec, _NONCE)
    return [cmd, *args]


def _environment(home: Path) -> dict[str, str]:
    # A home of its own: whatever the developer's profile prints is not the program's.
    return {"PATH": os.environ["PATH"], "HOME": str(home), supervisor.MARKER: "the-mark"}


@pytest.fixture
def run(tmp_path: Path):
    """Run a program under the supervisor, to the end of its streams."""

    def run(program: Program, **options: object) -> Ran:
        done = subprocess.run(
            _command(_spec(program, **options)),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=False,
            env=_environment(tmp_path),
            cwd=tmp_path,
        )
        scanners = [TrailerScanner(_NONCE) for _ in range(2)]
        streams = [
            scanner.feed(data) + scanner.rest()
            for scanner, data in zip(scanners, (done.stdout, done.stderr), strict=True)
        ]
        return Ran(*streams, scanners[0].code, scanners[1].code, done.returncode)

    return run


@pytest.mark.parametrize(
    "program",
    [
        ShellCommand("echo out; echo err >&2; exit 7"),
        Argv(("bash", "-c", "echo out; echo err >&2; exit 7")),
    ],
    ids=["line", "argv"],
)
def test_both_streams_end_with_the_code(run, program: Program):
    """Who has read both trailers has read everything, and the shell says the same."""
    ran = run(program)

    assert (ran.stdout, ran.stderr) == (b"out\n", b"err\n")
    assert (ran.stdout_code, ran.stderr_code, ran.status) == (7, 7, 7)


@pytest.mark.parametrize(
    "line",
    ["exec >/dev/null; exit 4", "exec 1>&-; exit 4", "exec >file; echo x; exit 4"],
    ids=["null", "closed", "file"],
)
def test_a_stream_that_was_redirected_gets_no_trailer(run, tmp_path: Path, line: str):
    """It would end up in the program's own file."""
    ran = run(ShellCommand(line))

    assert (ran.stdout, ran.stdout_code, ran.stderr_code) == (b"", None, 4)
    assert ran.status == 4
    if "file" in line:
        assert (tmp_path / "file").read_bytes() == b"x\n"


@pytest.mark.parametrize(
    ("line", "status"),
    [("exec true", 0), ("trap 'exit 5' EXIT", 5), ("kill -KILL $$", -9)],
    ids=["exec", "own trap", "killed"],
)
def test_a_program_that_takes_over_leaves_no_trailer(run, line: str, status: int):
    """Its true status is the backend's to tell."""
    ran = run(ShellCommand(line))

    assert (ran.stdout_code, ran.stderr_code, ran.status) == (None, None, status)


def test_a_child_that_a_signal_ends_prints_no_trailer(run):
    """A signal to the whole group may reach a child that is not yet its own program."""
    for _ in range(10):
        ran = run(ShellCommand("trap '' TERM; (trap - TERM; kill -TERM $BASHPID) & wait; echo end"))

        assert ran.stdout == b"end\n"
        assert ran.stdout_code == 0


def test_a_signal_to_its_own_group_leaves_one_trailer_at_most(run):
    """`kill 0` is how scripts clean up after themselves."""
    for _ in range(20):
        ran = run(ShellCommand("sleep 2 & sleep 2 & kill -TERM 0; wait"))

        assert ran.stdout == b""
        assert ran.status == -signal.SIGTERM


def test_the_program_sees_nothing_of_the_supervisor(run):
    """Neither its arguments nor its variables are the program's."""
    ran = run(
        ShellCommand('echo "$# [$*]"; compgen -e | grep -i sbx; [ $$ = $BASHPID ] && echo same')
    )

    assert ran.stdout == b"0 []\nsame\n"


def test_what_follows_a_comment_or_a_here_document_is_still_the_supervisors(run):
    """The line is evaluated by itself: it cannot swallow what comes after it."""
    ran = run(ShellCommand("cat <<END # no end\ntext"))
    comment = run(ShellCommand("echo x # and so on"))

    assert ran.stdout == b"text\n"
    assert ran.stdout_code == 0
    assert (comment.stdout, comment.stdout_code) == (b"x\n", 0)


@pytest.mark.parametrize("arguments", [("",), ("a b", "*", "$HOME", "'", '"', "\n", "-e", "--")])
def test_an_argv_arrives_as_it_was_given(run, arguments: tuple[str, ...]):
    """No shell reads it."""
    ran = run(Argv(("python3", "-c", "import sys; print(ascii(sys.argv[1:]))", *arguments)))

    assert ran.stdout.decode().strip() == ascii(list(arguments))


@pytest.mark.parametrize(
    ("args", "code"),
    [(("no-such-program-anywhere",), 127), (("/etc",), 126), (("cd", "/"), 127)],
    ids=["missing", "a folder", "a builtin"],
)
def test_an_argv_that_cannot_run_says_why(run, args: tuple[str, ...], code: int):
    """As a shell would, with the code that shells agree on."""
    ran = run(Argv(args))

    assert ran.stdout_code == code
    assert ran.stderr


def test_bash_adds_no_remark_about_a_killed_argv(run):
    """Its `Killed` on standard error would not be the program's output."""
    ran = run(Argv(("bash", "-c", "kill -KILL $$")))

    assert (ran.stdout_code, ran.stderr) == (137, b"")


def test_the_folder_of_source_code_is_deleted_afterwards(run, tmp_path: Path):
    """Whatever the program did to it meanwhile."""
    folder = tmp_path / "own folder"
    folder.mkdir()
    (folder / "main.py").write_text("import sys; print(sys.argv[1:]); open(__file__ + '.x', 'w')")

    ran = run(
        SourceCode("python", b"", ("a b",)),
        language=_PYTHON,
        source_path=str(folder / "main.py"),
    )

    assert ran.stdout == b"['a b']\n"
    assert ran.stdout_code == 0
    assert not folder.exists()
    assert tmp_path.exists()


def test_source_code_without_its_language_is_a_mistake_of_ours():
    """Nothing sensible could be run."""
    with pytest.raises(ValueError, match="language"):
        supervisor.command_line(_spec(SourceCode("python", b"")), _NONCE)


@pytest.mark.parametrize("durable", [None, Durable(exec_id="x", spool_limit_bytes=4096)])
def test_what_goes_into_the_sandbox_is_short(durable: Durable | None):
    """One argument is at most 128 KiB, and the caller's command needs room beside ours."""
    script = _command(_spec(ShellCommand(""), durable=durable))[4]

    assert len(script) < 8192
    assert not [line for line in script.splitlines() if line.lstrip().startswith("#")]


_EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\noom_group_kill 0\n"
_OOM_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


@pytest.mark.parametrize(
    ("counts", "code", "oom"),
    [
        ((_EVENTS.format(0), _EVENTS.format(1)), 137, True),
        ((_EVENTS.format(9), _EVENTS.format(10)), 137, True),
        ((_OOM_CONTROL.format(0), _OOM_CONTROL.format(2)), 137, True),
        ((_EVENTS.format(1), _EVENTS.format(1)), 137, False),
        ((_EVENTS.format(1), _EVENTS.format(2)), 1, False),
        (("", _EVENTS.format(1)), 137, False),
        ((None, _EVENTS.format(1)), 137, False),
        ((_EVENTS.format(1), None), 137, False),
        ((None, None), 137, False),
    ],
)
def test_memory_has_run_out_only_where_the_kernel_says_so(
    tmp_path: Path, counts: tuple[str | None, str | None], code: int, oom: bool
):
    """A child was killed, and the count of such kills rose while the program ran."""
    counter, later = tmp_path / "memory.events", tmp_path / "later"
    for file, text in zip((counter, later), counts, strict=True):
        if text is not None:
            file.write_text(text)
    line = f"rm -f {counter}; cp {later} {counter} 2>/dev/null; exit {code}"
    command = [
        part.replace("/sys/fs/cgroup/", f"{tmp_path}/")
        for part in _command(_spec(ShellCommand(line)))
    ]
    done = subprocess.run(
        command, capture_output=True, timeout=30, check=False, env=_environment(tmp_path)
    )
    scanner = TrailerScanner(_NONCE)

    assert scanner.feed(done.stdout) == b""
    assert scanner.trailer is not None
    assert (scanner.trailer.code, scanner.trailer.oom, done.stderr.count(b"\x1e")) == (code, oom, 2)


def _kept(home: Path, exec_id: str, before: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run a program that is kept by an id, after something of the test's own."""
    spec = _spec(ShellCommand("echo ran"), durable=Durable(exec_id=exec_id, spool_limit_bytes=0))
    command = _command(spec)
    command[4] = before + command[4]
    return subprocess.run(
        command, env=_environment(home), capture_output=True, timeout=30, check=False
    )


@pytest.fixture
def record():
    """Where the record of an exec of an id of its own is kept."""
    exec_id = f"t-{secrets.token_hex(8)}"
    path = Path(f"/var/tmp/.sandbox-execs-{os.geteuid()}/{exec_id}.exec")
    yield path
    for it in path.parent.glob(f"{exec_id}.*"):
        it.unlink()


def test_an_exec_that_is_kept_runs_once(tmp_path: Path, record: Path):
    """Whoever comes later is refused."""
    first, second = _kept(tmp_path, record.stem), _kept(tmp_path, record.stem)

    assert first.stdout.startswith(b"\x1e" + _NONCE + b"=ok\x1eran\n")
    assert (second.stdout, second.stderr) == (b"\x1e" + _NONCE + b"=taken\x1e", b"")


def test_a_record_that_is_still_empty_is_another_execs(tmp_path: Path, record: Path):
    """Two that start at once: the second must not take away what the first is about to write."""
    # As if the other one made its file just after this one has looked for it.
    late = f'set() {{ builtin set "$@"; [ "$1" != -C ] || : >|{record}; }}\n'

    ran = _kept(tmp_path, record.stem, late)

    assert (ran.stdout, ran.stderr) == (b"\x1e" + _NONCE + b"=taken\x1e", b"")
    assert record.read_bytes() == b""


def test_a_record_without_room_is_none(tmp_path: Path, record: Path):
    """And nothing is left of it, so that the exec can be started when there is room."""
    ran = _kept(tmp_path, record.stem, "trap '' XFSZ; ulimit -f 0\n")

    assert (ran.stdout, ran.stderr) == (b"\x1e" + _NONCE + b"=full\x1e", b"")
    assert not record.exists()
