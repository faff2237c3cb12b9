"""When the server starts itself anew, to get a control group that it may divide."""

from __future__ import annotations

import os

import pytest

from sandbox_service.e2b_local.machine.cgroups import delegation
from sandbox_service.e2b_local.machine.cgroups.delegation import (
    SCOPED_VARIABLE,
    enter_scope,
    find_scope,
)

RUN = "/usr/bin/systemd-run"


@pytest.fixture
def process(tmp_path):
    """A process on a host with version 2 alone, in a group that others are in, too."""
    group = tmp_path / "tree" / "session-1.scope"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("7\n4711\n")
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "cgroup").write_text("0::/session-1.scope\n")
    mount = f"30 23 0:26 / {tmp_path}/tree rw - cgroup2 cgroup2 rw\n"
    (folder / "mountinfo").write_text(mount)
    (folder / "stat").write_text("4711 (python3) S 1 4711 4711 0\n")
    return folder


def find(process, uid=1000, environment=None, *, program=RUN, answer=True):
    asked = []

    def answers(command):
        asked.append(command)
        return answer

    found = find_scope(
        environment or {}, uid, process, find_program=lambda _: program, answers=answers
    )
    return found, asked


def test_a_user_asks_for_a_scope_of_their_own_and_tries_it_first(process):
    """One that fails would end the server instead of starting it."""
    found, asked = find(process)

    assert found == [RUN, "--user", "--scope", "-q", "-p", "Delegate=yes", "--"]
    assert asked == [[*found, "true"]]


def test_root_asks_the_system(process):
    found, _ = find(process, uid=0)

    assert found == [RUN, "--scope", "-q", "-p", "Delegate=yes", "--"]


def test_nobody_is_asked_twice(process):
    """Otherwise a scope that does not help would be asked for for ever."""
    assert find(process, environment={SCOPED_VARIABLE: "1"}) == (None, [])


def test_a_server_alone_in_its_group_needs_none(process, tmp_path):
    (tmp_path / "tree" / "session-1.scope" / "cgroup.procs").write_text("4711\n")

    assert find(process) == (None, [])


def test_version_1_has_nothing_to_lend(process, tmp_path):
    mount = f"31 23 0:27 / {tmp_path}/memory rw - cgroup cgroup rw,memory\n"
    with (process / "mountinfo").open("a") as file:
        file.write(mount)
    (process / "cgroup").write_text("3:memory:/\n0::/session-1.scope\n")

    assert find(process) == (None, [])


@pytest.mark.parametrize("refusal", [{"program": None}, {"answer": False}])
def test_without_systemd_the_server_starts_as_it_is(process, refusal):
    assert find(process, **refusal)[0] is None


def test_the_new_program_is_the_same_one_and_knows_that_it_is_new(monkeypatch):
    """With its own options, and the key that came in its environment."""
    started = []
    monkeypatch.setattr(delegation, "find_scope", lambda *_: [RUN, "--scope", "--"])
    monkeypatch.setattr(delegation.sys, "executable", "/venv/python")
    monkeypatch.setattr(delegation.sys, "orig_argv", ["python", "-m", "backend", "--port", "0"])
    monkeypatch.setattr(os, "execve", lambda *call: started.append(call))
    monkeypatch.setenv("SANDBOX_LOCAL_API_KEY", "secret")
    monkeypatch.delenv(SCOPED_VARIABLE, raising=False)
    enter_scope()

    ((program, arguments, environment),) = started
    assert program == RUN
    assert arguments == [
        *(RUN, "--scope", "--"),
        *("/venv/python", "-m", "backend", "--port", "0"),
    ]
    assert environment[SCOPED_VARIABLE] == "1"
    assert environment["SANDBOX_LOCAL_API_KEY"] == "secret"


def test_the_mark_is_not_passed_on(monkeypatch):
    monkeypatch.setenv(SCOPED_VARIABLE, "1")
    enter_scope()

    assert SCOPED_VARIABLE not in os.environ
