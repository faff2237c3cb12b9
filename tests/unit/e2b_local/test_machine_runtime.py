"""The interpreter that the agent brings into root filesystems."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import IsolationUnavailableError
from sandbox_service.e2b_local.machine.roots import runtime
from sandbox_service.e2b_local.machine.tiers.bubblewrap import OWN_PATH

AGENT = Path(runtime.__file__).parents[1] / "agent"
PYTHON = Path(sys.executable).resolve()


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "own"
    (folder / "agent").mkdir(parents=True)
    for source in AGENT.glob("*.py"):
        (folder / "agent" / source.name).write_bytes(source.read_bytes())
    return folder


def outside(own: Path, command: tuple[str, ...]) -> list[str]:
    """The command with paths of the host."""
    return [part.replace(OWN_PATH, str(own)) for part in command]


def test_the_copy_runs_with_its_own_libraries_alone(own):
    """In an image there may be other ones, or none."""
    staged = runtime.stage(own, PYTHON)
    shown = Path(staged.standard_library_inside.replace(OWN_PATH, str(own)))
    shown.rmdir()
    shown.symlink_to(staged.standard_library)
    script = (
        f"import sys; sys.path.insert(0, {str(own)!r})\n"
        "import agent.main, agent.files, ctypes, json, shutil\n"
        "print(sys.prefix)\n"
        "print([line.split()[-1] for line in open('/proc/self/maps')"
        " if '.so' in line and 'lib-dynload' not in line])"
    )

    command = [*outside(own, staged.command), "-I", "-S", "-c", script]
    done = subprocess.run(command, env={"LC_ALL": "C"}, capture_output=True, text=True, check=True)

    prefix, libraries = done.stdout.splitlines()
    assert prefix == str(own / "python")
    assert libraries.count("/") > 0
    foreign = [path for path in eval(libraries) if not path.startswith(str(own))]
    assert foreign == []


def test_an_interpreter_that_does_not_run_is_told(own):
    """With what to install instead."""
    with pytest.raises(IsolationUnavailableError) as caught:
        runtime.stage(own, Path("/bin/false"))

    assert "/bin/false" in caught.value.cause
    assert "python3" in caught.value.fix


def test_the_hosts_tar_comes_along(own):
    """What a small image has knows neither attributes nor holes."""
    staged = runtime.stage(own, PYTHON)
    command = [*outside(own, staged.tar), "--create", "--xattrs", "--sparse", "/dev/null"]
    done = subprocess.run(command, env={}, capture_output=True, check=True)

    assert len(done.stdout) % 10240 == 0
    assert all(OWN_PATH in part or part.startswith("--") for part in staged.tar)


def test_no_tar_is_no_reason_to_refuse(own, monkeypatch):
    """Only pauses and copies of some sandboxes need it."""
    monkeypatch.setattr(runtime.shutil, "which", lambda *_, **__: None)

    assert runtime.stage(own, PYTHON).tar == ()
