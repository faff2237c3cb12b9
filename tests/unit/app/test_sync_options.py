"""What `sandbox-service sync` may be asked for, and what makes no sense."""

from __future__ import annotations

import pytest
from miosa.sandbox import v1 as pb
from typer.testing import CliRunner

from sandbox_service.app import sync_options
from sandbox_service.app.cli import cli

RELOAD = ("--reload", "true")


def header(**asked):
    """Return the request that options for the reload make."""
    said = dict.fromkeys(("command", "signal", "timeout_s", "preview_wait_s")) | {"detach": False}
    found = pb.SyncFilesHeader(sandbox_id="s", root="r")
    sync_options.add_reload(found, sync_options.ReloadOptions(**said | asked))
    return found


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing argument"),
        (["."], "Missing argument"),
        ([".", ":root"], "SANDBOX[:ROOT]: names no sandbox"),
        (["", "s:root"], "DIR: is empty"),
        ([".", "s:"], "SANDBOX[:ROOT]: has an empty ROOT"),
        ([".", "s", "--delete"], "SANDBOX[:ROOT]: names no ROOT"),
        ([".", "s:root", "--tenant", ""], "--tenant: is required"),
        ([".", "s:root", "--tenant", "two words"], "--tenant: is not 1 to 128"),
        ([".", "s:root", "--tenant", "t\u00fc"], "--tenant: is not 1 to 128"),
        ([".", "s:root", "--address", ""], "--address: names no port"),
        ([".", "s:root", "--address", "localhost"], "--address: names no port"),
        ([".", "s:root", "--watch", "--dry-run"], "--watch: goes with no --dry-run"),
        ([".", "s:root", "--reload", ""], "--reload: is empty"),
        ([".", "s:root", "--reload", "x" * 100_000], "--reload: "),
        ([".", "s:root", "--reload-signal", ""], "--reload-signal: is empty"),
        ([".", "s:root", "--reload-signal", "web:HUP", *RELOAD], "goes with no --reload"),
        ([".", "s:root", "--reload-signal", ":HUP"], "--reload-signal: does not match"),
        ([".", "s:root", "--reload-signal", "web:WHAT"], "--reload-signal: must be in list"),
        ([".", "s:root", "--reload-detach"], "--reload-detach: needs a command"),
        ([".", "s:root", "--reload-timeout", "3"], "--reload-timeout: needs a command"),
        ([".", "s:root", *RELOAD, "--reload-timeout", "0"], "'--reload-timeout'"),
        ([".", "s:root", *RELOAD, "--reload-timeout", "9999999"], "--reload-timeout: "),
        ([".", "s:root", *RELOAD, "--reload-timeout", "nan"], "--reload-timeout"),
        ([".", "s:root", "--preview-wait", "-1"], "'--preview-wait'"),
        ([".", "s:root", "--preview-wait", "601"], "'--preview-wait'"),
        ([".", "s:root", "--preview-wait", "nan"], "--preview-wait"),
        ([".", "s:\udcff"], "is not UTF-8"),
        ([".", "s:root", "--exclude", "!a"], "--exclude: "),
    ],
)
def test_a_wrong_call_is_told_before_anything_happens(arguments, told):
    """By the option that is wrong, with the code that shells know for it."""
    # Nobody serves there: what asks the service would fail otherwise.
    env = {"SANDBOX_TENANT": "t", "SANDBOX_GRPC": "127.0.0.1:1", "COLUMNS": "200"}
    found = CliRunner().invoke(cli, ["sync", *arguments], env=env)

    assert found.exit_code == 2, found.output
    assert told in found.output


def test_the_home_can_be_made_the_same_by_who_says_so():
    """By its own name."""
    assert sync_options.target_named("s:.", delete=True) == ("s", ".")
    assert sync_options.target_named("s", delete=False) == ("s", ".")
    assert sync_options.target_named("s:/srv/a:b", delete=True) == ("s", "/srv/a:b")


def test_a_command_may_be_left_running_and_be_limited():
    """As the contract has it."""
    reload = header(command="./serve", detach=True, timeout_s=1.5).reload

    assert reload.program.shell_command == "./serve"
    assert reload.detach
    assert reload.timeout.ToMilliseconds() == 1500
    assert not header(command="true").reload.HasField("timeout")


@pytest.mark.parametrize(
    ("said", "exec_id", "name"),
    [
        ("web", "web", "HUP"),
        ("web:", "web", "HUP"),
        ("web:USR1", "web", "USR1"),
        ("web:sigterm", "web", "TERM"),
    ],
)
def test_a_signal_goes_to_an_exec(said, exec_id, name):
    """In whatever way people write it."""
    signal = header(signal=said).reload.signal

    assert (signal.exec_id, signal.signal) == (exec_id, name)


def test_the_preview_is_waited_for_without_a_reload_too():
    """A server may watch its own files."""
    found = header(preview_wait_s=2.5)

    assert found.preview_wait.ToMilliseconds() == 2500
    assert not found.HasField("reload")
    assert not header().HasField("preview_wait")


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("header.root", "SANDBOX[:ROOT]"),
        ("header.excludes[3]", "--exclude"),
        ("header.user", "--user"),
        ("header.other", None),
    ],
)
def test_what_the_service_refuses_is_told_by_its_option(field, option):
    """A person knows nothing of messages."""
    found = sync_options.wrong_option(field, "is wrong")

    assert (found.param_hint, found.message) == (option, "is wrong")
