"""What a machine keeps on disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import IsolationUnavailableError
from sandbox_service.e2b_local.machine.roots.staging import (
    InstanceFolder,
    choose_interpreter,
    is_passable,
    link_python,
    remove_tree,
)
from sandbox_service.e2b_local.machine.tiers import advice
from sandbox_service.e2b_local.machine.tiers.bubblewrap import Interpreter

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has sandboxes of other users")


@pytest.fixture
def base(monkeypatch, tmp_path):
    """A state folder as an ordinary user has it, whoever runs the test."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return tmp_path / "state"


def test_two_machines_share_a_state_folder(base):
    """A second server on one machine must not remove the first one's sandboxes."""
    first = InstanceFolder.create(base)
    second = InstanceFolder.create(base)

    assert first.path != second.path
    assert (first.path / "sandboxes").is_dir()
    first.remove()
    assert (second.path / "sandboxes").is_dir()
    second.remove()


def test_what_a_dead_machine_left_is_removed(base):
    """Nobody else will ever remove it."""
    script = (
        "import os, sys; from pathlib import Path\n"
        "from sandbox_service.e2b_local.machine.roots.staging import InstanceFolder\n"
        "os.geteuid = lambda: 1000\n"
        "print(InstanceFolder.create(Path(sys.argv[1])).path)\n"
    )
    dead = subprocess.run(
        [sys.executable, "-c", script, str(base)], capture_output=True, text=True, check=True
    )
    left = Path(dead.stdout.strip())
    assert left.is_dir()

    folder = InstanceFolder.create(base)

    assert not left.exists()
    folder.remove()


def test_nothing_is_left_after_removal(base):
    """But the lock that machines share."""
    InstanceFolder.create(base).remove()

    assert [path.name for path in base.iterdir()] == [".lock"]


def test_a_state_folder_that_cannot_be_made_is_refused(base):
    """With the cause, and what to do."""
    base.parent.mkdir(exist_ok=True)
    base.touch()

    with pytest.raises(IsolationUnavailableError) as caught:
        InstanceFolder.create(base)

    assert str(base) in caught.value.cause
    assert "SANDBOX_STATE_DIR" in caught.value.fix


@as_root
def test_a_closed_state_folder_is_refused_as_root(tmp_path):
    """Its sandboxes have uids of their own, and could not reach their files."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(IsolationUnavailableError):
        InstanceFolder.create(closed / "state")
    assert not (closed / "state").exists()


def test_guest_files_can_be_read_by_any_uid(base):
    """A sandbox may have another uid than the server, whose umask may be strict."""
    before = os.umask(0o077)
    try:
        folder = InstanceFolder.create(base)
        guest = folder.write_guest_files()
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode for path in guest.rglob("*")}
    names = {str(path.relative_to(guest)) for path in modes}

    assert {"agent/main.py", "bin/sudo", "seccomp.bpf"} <= names
    assert all(mode & stat.S_IROTH for mode in modes.values())
    assert modes[guest / "bin" / "sudo"] & stat.S_IXOTH
    folder.remove()


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["echo", "a b"], "a b\n"),
        (["-E", "-u", "root", "--", "echo", "x"], "x\n"),
        (["-n", "NAME=value", "sh", "-c", "echo $NAME"], "value\n"),
    ],
)
def test_sudo_runs_the_command_as_it_is(base, arguments, printed):
    """Scripts of language models say sudo; there is nobody else to become."""
    folder = InstanceFolder.create(base)
    sudo = folder.write_guest_files() / "bin" / "sudo"

    result = subprocess.run([sudo, *arguments], capture_output=True, text=True, check=True)

    assert result.stdout == printed
    folder.remove()


def test_the_agent_is_compiled_for_its_interpreter(base):
    """Compiling it at each boot would take a fifth of the boot."""
    folder = InstanceFolder.create(base)
    guest = folder.write_guest_files()
    folder.compile_agent(Interpreter(sys.executable))

    compiled = {path.name.split(".")[0] for path in guest.glob("agent/__pycache__/*.pyc")}
    assert compiled == {path.stem for path in guest.glob("agent/*.py")}
    assert {"main", "messages"} <= compiled
    folder.remove()


def test_an_interpreter_outside_usr_brings_its_folder(tmp_path):
    """Bound by itself it would not find its library."""
    program = tmp_path / "python" / "bin" / "python3.12"
    program.parent.mkdir(parents=True)
    program.touch()

    python = choose_interpreter(program)

    assert python == Interpreter(str(program), tmp_path / "python", tmp_path / "python")


def test_python_works_where_the_system_has_none(monkeypatch, tmp_path):
    """People type `python` and `python3`, whatever the distribution calls it."""
    monkeypatch.setattr("sandbox_service.e2b_local.machine.roots.staging._SYSTEM_PROGRAMS", ())
    link_python(tmp_path, Interpreter("/somewhere/bin/python3.12"))

    links = {path.name: str(path.readlink()) for path in tmp_path.iterdir()}
    assert links == dict.fromkeys(("python", "python3"), "/somewhere/bin/python3.12")


def test_a_folder_is_passable_when_all_its_parents_are(tmp_path):
    """One closed parent is enough to keep everybody out."""
    for parent in (Path("/usr"), Path("/usr/bin")):
        assert is_passable(parent)
    closed = tmp_path / "closed"
    (closed / "open").mkdir(parents=True, mode=0o755)
    closed.chmod(0o700)

    assert not is_passable(closed / "open")


def test_a_tree_is_removed_however_deep_and_closed(tmp_path):
    """A program in the sandbox can make both, to keep the disk full."""
    top = tmp_path / "top"
    top.mkdir()
    depth = 1500
    script = f"for i in $(seq {depth}); do mkdir d && cd d || exit 1; done; chmod 000 ."
    subprocess.run(["sh", "-c", script], cwd=top, check=True)
    (top / "closed").mkdir()
    (top / "closed" / "file").touch()
    (top / "closed").chmod(0)

    remove_tree(top)

    assert not top.exists()
    remove_tree(top)


@pytest.mark.parametrize(
    ("complaint", "advised"),
    [
        ("bwrap: setting up uid map: Permission denied", "apparmor"),
        ("bwrap: No permissions to create new namespace, likely because", "seccomp=unconfined"),
        ("bwrap: Creating new namespace failed: nesting depth or "
         "/proc/sys/user/max_*_namespaces exceeded (ENOSPC)", "max_user_namespaces"),
        ("bwrap: Unknown option --disable-userns", "bubblewrap 0.8"),
        ("bwrap: pivot_root: Invalid argument", "chroot"),
        ("bwrap: something else", "by hand"),
    ],
)  # fmt: skip
def test_what_the_system_says_becomes_advice(complaint, advised):
    """The message of the tool alone does not help whoever reads it for the first time."""
    error = advice.explain([("PATH", "first"), ("package", complaint)])

    assert complaint in error.cause
    assert advised in error.fix


def test_no_bubblewrap_at_all_names_two_ways_to_get_one():
    """The commonest cause on a fresh machine."""
    error = advice.explain([])

    assert "apt install bubblewrap" in error.fix
    assert "pip install" in error.fix
