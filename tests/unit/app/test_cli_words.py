"""What the command line tells people arrives as it was written."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from sandbox_service.app import doctor, server
from sandbox_service.app.cli import cli
from sandbox_service.app.errors import StartError
from sandbox_service.e2b_local.machine import Finding
from sandbox_service.telemetry import logs

FIX = "Install it: `pip install 'sandbox-service[bubblewrap]'`, " + "and then some more " * 5


@pytest.fixture
def run(monkeypatch):
    """Call the command line with settings that need nothing of this machine."""
    # `serve` sets these for its process, which is the tests' own here.
    monkeypatch.setenv("GRPC_ENABLE_FORK_SUPPORT", "0")
    monkeypatch.setattr(logs, "configure", lambda **settings: None)
    return lambda *words: CliRunner().invoke(cli, words, env={"COLUMNS": "80"})


def test_a_fix_may_hold_brackets_and_stays_on_its_line(run, monkeypatch):
    """Rich takes brackets for markup; whoever copies the command would lack its extra."""

    async def examine(settings):
        return [Finding("bubblewrap", ok=False, detail="not [here]", fix=FIX)]

    monkeypatch.setattr(doctor, "examine", examine)
    told = run("doctor")

    assert told.exit_code == 1
    assert FIX.strip() in told.output
    assert "not [here]" in told.output


def test_a_refusal_may_hold_brackets(run, monkeypatch):
    """The service says the same as the doctor."""

    async def serve(settings):
        raise StartError("There is [none].", FIX)

    monkeypatch.setattr(server, "serve", serve)
    told = run("serve")

    assert told.exit_code == 2
    assert FIX.strip() in told.output
    assert "There is [none]." in told.output


def test_a_template_file_may_have_brackets_in_its_name(run, tmp_path):
    """What is wrong with it is told with its name."""
    path = tmp_path / "[mine].json"
    path.write_text(json.dumps([]))
    told = run("local", "--templates", str(path))

    assert told.exit_code == 2
    assert str(path) in told.output
