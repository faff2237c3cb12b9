"""A real local backend in a process of its own, for tests that talk to it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

API_KEY = "e2b_" + "0" * 40
REPOSITORY = Path(__file__).resolve().parents[2]


def state_folder() -> Path:
    """Make a folder that the sandboxes' own users may pass, as root needs it."""
    folder = Path(tempfile.mkdtemp(prefix="sbx-test-"))
    folder.chmod(0o711)
    return folder


@dataclass
class LocalBackend:
    """A backend that runs."""

    process: subprocess.Popen[str]
    state: Path
    status: dict[str, Any]

    @property
    def url(self) -> str:
        return self.status["url"]

    @property
    def sdk(self) -> dict[str, str]:
        """What to pass to each SDK call."""
        return {"api_key": API_KEY, "api_url": self.url, "sandbox_url": self.url}

    @classmethod
    def start(cls, *arguments: str) -> LocalBackend:
        state = state_folder()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "sandbox_service.e2b_local",
                "--state-dir",
                str(state),
                "--api-key",
                API_KEY,
                "--parent-lifeline",
                *arguments,
            ],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return cls(process, state, json.loads(process.stdout.readline() or "{}"))

    def stop(self) -> int:
        self.process.stdin.close()
        code = self.process.wait(20)
        self.process.stdout.close()
        shutil.rmtree(self.state, ignore_errors=True)
        return code
