"""`sandbox-service check`: the policy's dry run for files."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from sandbox_service.app.cli import cli


def check(*arguments, text=""):
    done = CliRunner().invoke(cli, ["check", *map(str, arguments)], input=text)
    return done.exit_code, done.output


def test_it_says_what_it_finds_and_where(tmp_path):
    """In the form that editors read; the exit code says whether it would run."""
    (tmp_path / "a.py").write_text("import os\nos.system('rm -rf /')\n")
    (tmp_path / "b.sh").write_text("cat /etc/shadow\n")
    (tmp_path / "c.js").write_text("console.log(1)\n")
    code, said = check(tmp_path / "a.py", tmp_path / "b.sh", tmp_path / "c.js")

    assert code == 1
    assert said.splitlines() == [
        f"{tmp_path}/a.py:2:12: DENY no-removing-the-system: This removes the system's own files.",
        f"{tmp_path}/b.sh:1:1: WARN reading-secrets: This reads a file of secrets.",
    ]
    assert check(tmp_path / "b.sh")[0] == 0


def test_it_reads_standard_input_and_takes_a_language():
    """What has no name has no suffix."""
    assert check("-", text="rm -rf /")[0] == 1
    assert check("-", "--language=python", text="shutil.rmtree('/')")[0] == 1
    assert check("-", "--language=python", text="rm -rf /")[0] == 0


@pytest.mark.parametrize(
    "arguments", [("missing.py",), ("-", "--language=klingon"), ("-", "--rules=/no")]
)
def test_what_cannot_be_checked_is_another_thing_than_what_is_denied(arguments):
    """A build has to tell the two apart."""
    code, said = check(*arguments, text="x")

    assert code == 2
    assert "Cannot check" in said
