"""The embedded backend run on its own, as its users start it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import Watched, family
from tests.support.service import STOP_S, command_line, environment, state_folder

KEY = "e2b_" + "a1" * 20


def first_environment() -> dict[str, str]:
    """Return what pytest was started with; by now the suites' set-up has cleared E2B's part."""
    pairs = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


@contextmanager
def started(key: str = KEY, *arguments: str) -> Iterator[dict[str, Any]]:
    """Run `sandbox-service local`; yields what it says when it is ready, and its pid."""
    state = state_folder()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command_line("local", "--port=0", f"--state-dir={state}", *arguments),
            cwd=tempfile.gettempdir(),
            env=environment({"SANDBOX_LOCAL_API_KEY": key}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            told = json.loads(process.stdout.readline() or "{}")
            if not told.get("ready"):
                errors.seek(0)
                raise AssertionError(errors.read().decode())
            yield {**told, "pid": process.pid}
        finally:
            seen = Watched(family(process.pid))
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_S)
            process.stdout.close()
            shutil.rmtree(Path(state), ignore_errors=True)
    assert seen.left_after(5.0) == []


@contextmanager
def backend(key: str = KEY) -> Iterator[dict[str, str]]:
    """Run `sandbox-service local`; yields the environment of a client that may use it."""
    with started(key) as told:
        yield {
            "E2B_API_KEY": key,
            "E2B_API_URL": told["url"],
            "E2B_SANDBOX_URL": told["url"],
            "E2B_DOMAIN": told["domain"],
        }


def in_a_shell(
    told: dict[str, Any], *command: str, tls: bool, key: str = KEY
) -> subprocess.CompletedProcess[str]:
    """Run a user's program after `eval "$(sandbox-service local --env)"`, and with nothing else.

    Args:
        told: What the backend said when it was ready.
        command: The program and its arguments.
        tls: Whether `--tls` is given as well.
        key: The backend's key.
    """
    asking = command_line("local", "--env", f"--port={told['port']}", *(["--tls"] if tls else []))
    ours = shlex.quote(environment()["PYTHONPATH"])
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            [
                "/bin/sh",
                "-ec",
                f"exports=$(PYTHONPATH={ours} {shlex.join(asking)})\n"
                f'eval "$exports"\nunset SANDBOX_LOCAL_API_KEY\nexec {shlex.join(command)}',
            ],
            cwd=home,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": home,
                "LANG": "C.UTF-8",
                "SANDBOX_LOCAL_API_KEY": key,
            },
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
