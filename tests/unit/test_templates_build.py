"""The command that builds a root filesystem; that it builds one is shown where one is used."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parents[2] / "deploy/templates/build"


def build(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BUILD, *arguments],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_says_how_it_is_used():
    """All options, and what without them."""
    shown = build("--help")

    assert shown.returncode == 0
    for option in ("--minimal", "--include", "--pypi", "--run", "--suite", "--mirror"):
        assert option in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the one file"),
        (("a.tar", "b.tar"), "name the one file"),
        (("--wrong", "a.tar"), "no option --wrong"),
        (("--run",), "--run needs a command"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_fetched(arguments, said):
    """It takes minutes otherwise."""
    done = build(*arguments)

    assert done.returncode == 1
    assert said in done.stderr


def test_what_is_missing_is_named(tmp_path):
    """With the package that has it."""
    for name in ("bash", "id", "cat"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = build("a.tar", PATH=str(tmp_path))

    assert done.returncode == 1
    assert "apt install mmdebstrap" in done.stderr
