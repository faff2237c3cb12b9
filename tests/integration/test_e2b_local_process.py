"""The backend as a process: how it starts, refuses to start, and never outlives its parent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.integration.local_backend import API_KEY, REPOSITORY, LocalBackend, state_folder


@pytest.fixture
def state():
    folder = state_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def new_sandbox(backend):
    response = httpx.post(
        f"{backend['url']}/v2/sandboxes",
        json={"templateID": "base", "timeout": 60},
        headers={"x-api-key": API_KEY},
    )
    assert response.status_code == 201, response.text


def descendants(pid):
    """Return a process' children and theirs, as /proc shows them."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def all_gone(pids):
    """Wait until none of them is alive; a zombie is not."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        alive = []
        for pid in pids:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state != "Z":
                alive.append(pid)
        if not alive:
            return True
        time.sleep(0.02)
    return False


def test_it_says_once_that_it_is_ready():
    """Whoever started it reads one line and knows where to go."""
    backend = LocalBackend.start("--domain", "boxes.test")
    status = backend.status
    health = httpx.get(f"{status['url']}/health")
    code = backend.stop()

    assert status["ready"] is True
    assert status["url"] == f"http://127.0.0.1:{status['port']}"
    assert status["domain"] == f"boxes.test:{status['port']}"
    assert status["pid"] == backend.process.pid
    assert status["tier"].startswith("bwrap-")
    assert health.status_code == 204
    assert code == 0


@pytest.mark.parametrize("end", ["standard input", "SIGTERM", "SIGINT"])
def test_an_orderly_end_is_quick_and_leaves_nothing(end):
    """A service that restarts waits for it."""
    backend = LocalBackend.start()
    new_sandbox(backend.status)
    inside = descendants(backend.process.pid)
    started = time.monotonic()
    if end == "standard input":
        backend.process.stdin.close()
    else:
        backend.process.send_signal(getattr(signal, end))
    code = backend.process.wait(10)

    assert code == 0
    assert time.monotonic() - started < 3
    assert len(inside) >= 2
    assert all_gone(inside)
    assert backend.process.stdout.read() == ""
    backend.stop()


PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), end="", flush=True)
child.wait()
"""


def test_it_dies_with_a_parent_that_is_killed(state):
    """SIGKILL of the service must leave neither a backend nor a sandbox."""
    command = [sys.executable, "-m", "sandbox_service.e2b_local", "--parent-lifeline"]
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            PARENT,
            *command,
            "--state-dir",
            str(state),
            "--api-key",
            API_KEY,
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        status = json.loads(parent.stdout.readline())
        new_sandbox(status)
        family = [status["pid"], *descendants(status["pid"])]
        parent.kill()

    assert len(family) >= 3
    assert all_gone(family)


def refusal(*arguments):
    """Start a backend that cannot start; return its code, its JSON line and its message."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox_service.e2b_local", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(lines[0]), done.stderr


def test_a_taken_port_is_told_and_nothing_else_is_touched():
    """Two on one machine is a common mistake."""
    backend = LocalBackend.start()
    port = str(backend.status["port"])
    code, status, message = refusal("--state-dir", str(backend.state), "--port", port)
    health = httpx.get(f"{backend.url}/health")
    backend.stop()

    assert code == 2
    assert status["ready"] is False
    assert port in status["cause"]
    assert status["cause"] in message
    assert health.status_code == 204


def test_a_machine_that_cannot_isolate_is_refused_with_a_way_out(tmp_path, state):
    """Running without isolation is never an option."""
    bwrap = tmp_path / "bin" / "bwrap"
    bwrap.parent.mkdir()
    bwrap.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    bwrap.chmod(0o755)
    code, status, message = refusal("--state-dir", str(state), "--bwrap", str(bwrap))

    assert code == 2
    assert status["ready"] is False
    assert status["cause"]
    assert status["fix"]
    assert status["fix"] in message


def test_two_backends_share_a_state_folder_and_do_not_disturb_each_other():
    """Each keeps to its own part of it."""
    first = LocalBackend.start()
    new_sandbox(first.status)
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox_service.e2b_local", "--state-dir", str(first.state)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as second:
        status = json.loads(second.stdout.readline())
        os.kill(second.pid, signal.SIGTERM)
        assert second.wait(10) == 0
    listed = httpx.get(f"{first.url}/v2/sandboxes", headers={"x-api-key": API_KEY}).json()
    code = first.stop()

    assert status["ready"] is True
    assert len(listed) == 1
    assert code == 0
