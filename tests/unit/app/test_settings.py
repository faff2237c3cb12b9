"""Settings come from flags, environment and file, and keep secrets to themselves."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from sandbox_service.app.cli import cli
from sandbox_service.app.settings import Settings, default_state_dir
from sandbox_service.domain.policy import Action, Mode, PolicyTerms


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No `.env` of a developer is found."""
    monkeypatch.chdir(tmp_path)


def test_a_flag_beats_the_environment_and_the_environment_the_file(tmp_path, monkeypatch):
    """Whoever is nearer to the start decides."""
    Path(".env").write_text("SANDBOX_DEPLOYMENT=file\nSANDBOX_DRAIN_SECONDS=3\n")
    monkeypatch.setenv("SANDBOX_DEPLOYMENT", "environment")

    assert Settings().deployment == "environment"
    assert Settings().drain_seconds == 3
    assert Settings(deployment="flag").deployment == "flag"


def test_e2bs_own_variables_mean_what_they_mean_to_the_sdk(monkeypatch):
    """A key makes E2B the backend, without a setting of ours."""
    assert Settings().embedded

    monkeypatch.setenv("E2B_API_KEY", "e2b_secret")
    monkeypatch.setenv("E2B_API_URL", "http://127.0.0.1:1")

    assert not Settings().embedded
    assert Settings(backend="embedded").embedded
    assert Settings().e2b_api_url == "http://127.0.0.1:1"


def test_secrets_are_in_no_repr(monkeypatch):
    """Settings are logged and shown in errors; keys must not be."""
    monkeypatch.setenv("E2B_API_KEY", "e2b_topsecret")
    monkeypatch.setenv("SANDBOX_STORE_URL", "postgresql://u:topsecret@h/d")

    assert "topsecret" not in repr(Settings())
    assert "topsecret" not in str(Settings())


def test_trusted_peers_are_a_comma_separated_list(monkeypatch):
    """Lists in the environment need no JSON."""
    monkeypatch.setenv("SANDBOX_TRUSTED_PEERS", "10.0.0.0/8, ::1/128")

    assert Settings().trusted_peers == (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_the_code_policy_has_a_mode_for_all_and_others_for_some(monkeypatch):
    """By default it denies what its rules deny, for everybody."""
    assert Settings().policy == PolicyTerms()
    monkeypatch.setenv("SANDBOX_POLICY_MODE", "warn")
    monkeypatch.setenv("SANDBOX_POLICY_TENANTS", "acme=off, a=b=deny,")
    monkeypatch.setenv("SANDBOX_POLICY_UNCHECKED", "deny")
    terms = Settings().policy

    assert terms.tenants == {"acme": Mode.OFF, "a=b": Mode.DENY}
    assert [terms.mode_of(it) for it in ("acme", "other")] == [Mode.OFF, Mode.WARN]
    assert terms.unchecked is Action.DENY


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SANDBOX_DEPLOYMENT", "Has Spaces"),
        ("SANDBOX_TRUSTED_PEERS", "not-a-network"),
        ("SANDBOX_TRACE_SAMPLE_RATIO", "2"),
        ("SANDBOX_BACKEND", "docker"),
        ("SANDBOX_LOCAL_PORT", "70000"),
        ("SANDBOX_EXECS_MAX", "0"),
        ("SANDBOX_POLICY_MODE", "strict"),
        ("SANDBOX_POLICY_TENANTS", "acme"),
        ("SANDBOX_POLICY_TENANTS", "acme=strict"),
    ],
)
def test_a_value_that_cannot_be_is_refused(monkeypatch, name, value):
    """Not at the first call that needs it: at the start."""
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError):
        Settings()


def test_the_state_folder_follows_the_xdg_rules_for_users(monkeypatch):
    """Users have their own; root's has to be passable by the sandboxes' users."""
    monkeypatch.setenv("XDG_STATE_HOME", "/x/state")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_state_dir() == Path("/x/state/sandbox-service")

    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_state_dir() == Path("/var/lib/sandbox-service")


def test_help_shows_every_setting_that_is_no_secret():
    """`--help` teaches; a secret on a command line would show in `ps`."""
    shown = CliRunner().invoke(cli, ["serve", "--help"], env={"COLUMNS": "200"}).output

    for name, field in Settings.model_fields.items():
        secret = "Secret" in str(field.annotation) or field.validation_alias is not None
        assert (f"--{name.replace('_', '-')}" in shown) is not secret, name


def test_a_bad_flag_is_told_with_its_name_and_no_traceback():
    """Exit code 2, like every start that cannot be."""
    result = CliRunner().invoke(cli, ["serve", "--execs-max", "0"])

    assert result.exit_code == 2
    assert "execs_max" in result.output
    assert "Traceback" not in result.output
