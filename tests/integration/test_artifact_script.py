"""The script that looks for artifacts, run by this machine's own bash."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sandbox_service.operations.artifact_search import SCRIPT, Globs, _escaped, _parsed
from sandbox_service.operations.commands import CommandResult

PROGRAMS = ("find", "sort", "head", "timeout", "sha256sum")


def look(cwd: Path, *, room: int = 1 << 30, seconds: str = "15", path: str = "") -> CommandResult:
    globs = Globs.of(["**"])
    arguments = [str(cwd), "0", "256", str(room), seconds, _escaped(globs.expression), ".own", "."]
    done = subprocess.run(
        ["/bin/bash", "-c", SCRIPT, "artifacts", *arguments],
        env={"PATH": path or os.environ["PATH"]},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return CommandResult(done.returncode, "", done.stdout, done.stderr)


@pytest.fixture
def programs(tmp_path):
    """A folder of the programs that the script needs, and of nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).symlink_to(shutil.which(name))
    return folder


@pytest.fixture
def cwd(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_it_needs_these_programs_and_no_others(cwd, programs):
    """All are in the smallest Debian."""
    (cwd / "a").write_bytes(b"x")
    found = _parsed(look(cwd, path=str(programs)))

    assert [(it.path, len(it.sha256)) for it in found.artifacts] == [(f"{cwd}/a", 32)]


@pytest.mark.parametrize("name", ["find", "sort", "head"])
def test_without_one_of_them_it_does_not_tell_that_there_is_nothing(cwd, programs, name):
    """A template may lack it."""
    (cwd / "a").write_bytes(b"x")
    (programs / name).unlink()

    assert _parsed(look(cwd, path=str(programs))).failure_reason == "NOT_SUPPORTED_BY_BACKEND"


def test_an_empty_folder_has_nothing(cwd, programs):
    """That is no failure."""
    found = _parsed(look(cwd, path=str(programs)))

    assert (found.count, found.artifacts, found.failure_reason) == (0, (), "")


def test_a_file_that_takes_too_long_to_read_costs_only_its_hash(cwd):
    """So does one that somebody goes on writing: what was found is told all the same."""
    (cwd / "a").write_bytes(b"x")
    with (cwd / "z").open("wb") as file:
        file.truncate(1 << 40)
    found = _parsed(look(cwd, room=1 << 41, seconds="3"))

    assert [len(it.sha256) for it in found.artifacts] == [32, 0]
    assert (found.count, found.size, found.failure_reason) == (2, (1 << 40) + 1, "")


def test_of_many_files_all_are_counted(cwd):
    """Also of those that are not told."""
    for it in range(300):
        (cwd / f"{it:03}").write_bytes(b"12345")
    found = _parsed(look(cwd))

    assert (found.count, found.size, len(found.artifacts)) == (300, 1500, 256)
    assert found.artifacts[-1].path == f"{cwd}/255"
