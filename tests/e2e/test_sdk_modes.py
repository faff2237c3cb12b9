"""Programs of E2B's users, unchanged, after `eval "$(sandbox-service local --env)"`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.local import in_a_shell, started

SCENARIOS = Path(__file__).parent / "scenarios"
# The SDK's own threads sometimes abort its process at its very end, after all is done.
ENDED = {0, -6, 134}


@pytest.fixture(scope="module")
def told():
    with started() as told:
        yield told


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("script", ["sync_day.py", "async_day.py"])
def test_a_users_program_runs_unchanged(told, script, tls):
    """Only the environment says where E2B is."""
    done = in_a_shell(told, sys.executable, str(SCENARIOS / script), tls=tls)

    assert done.stdout == "done\n", done.stderr
    assert done.returncode in ENDED, done.stderr
