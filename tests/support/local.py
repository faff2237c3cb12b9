"""The embedded backend run on its own, as its users start it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import Watched, family
from tests.support.service import STOP_S, command_line, environment, state_folder

KEY = "e2b_" + "a1" * 20


@contextmanager
def backend(key: str = KEY) -> Iterator[dict[str, str]]:
    """Run `sandbox-service local`; yields the environment of a client that may use it."""
    state = state_folder()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command_line("local", "--port=0", f"--state-dir={state}"),
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
            yield {
                "E2B_API_KEY": key,
                "E2B_API_URL": told["url"],
                "E2B_SANDBOX_URL": told["url"],
                "E2B_DOMAIN": told["domain"],
            }
        finally:
            seen = Watched(family(process.pid))
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_S)
            process.stdout.close()
            shutil.rmtree(Path(state), ignore_errors=True)
    assert seen.left_after(5.0) == []
