"""The service as a process, started as its users start it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import Watched, family

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 30.0
STOP_S = 45.0


def state_folder() -> Path:
    """Make a folder that the sandboxes' own users may pass, as root needs it."""
    folder = Path(tempfile.mkdtemp(prefix="sbx-test-"))
    folder.chmod(0o711)
    return folder


def command_line(*arguments: str) -> list[str]:
    """Return the command that runs the product's command line."""
    return [sys.executable, "-m", "sandbox_service", *arguments]


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return what a process of the product is to find in its environment."""
    paths = (str(REPOSITORY), str(REPOSITORY / "generated/python"))
    inherited = {
        name: value
        for name, value in os.environ.items()
        # Every start would compile all that it imports: seconds, each time.
        if name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths), **(extra or {})}


@dataclass
class Service:
    """A service process.

    Attributes:
        process: It.
        state: Its state folder.
        stderr: The file that its log goes to.
        grpc_address, http_address: Where it listens, once it is ready.
    """

    process: subprocess.Popen[bytes]
    state: Path
    stderr: Path
    grpc_address: str = ""
    http_address: str = ""
    _mark: int = 0
    _owns_state: bool = True
    _last_words: bytes | None = field(default=None, repr=False)

    @classmethod
    def start(
        cls,
        *arguments: str,
        env: dict[str, str] | None = None,
        state: Path | None = None,
        grpc_address: str = "127.0.0.1:0",
        http_address: str = "127.0.0.1:0",
    ) -> Service:
        """Start `sandbox-service serve`; see `wait_until_ready`."""
        folder = state_folder() if state is None else state
        handle, name = tempfile.mkstemp(prefix="sbx-test-", suffix=".log")
        with os.fdopen(handle, "wb") as log:
            process = subprocess.Popen(
                command_line(
                    "serve",
                    f"--grpc-address={grpc_address}",
                    f"--http-address={http_address}",
                    f"--state-dir={folder}",
                    *arguments,
                ),
                # Not the repository: a developer's .env must not be found.
                cwd=tempfile.gettempdir(),
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        return cls(process, folder, Path(name), _owns_state=state is None)

    def wait_until_ready(self) -> None:
        """Wait until it serves, and learn where."""
        told = self.wait_for_event("server.listening", START_S)
        self.grpc_address = told["grpc"]
        self.http_address = told["http"]

    def wait_for_event(self, name: str, limit_s: float) -> dict[str, Any]:
        """Wait for a line of the log, and return it."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            for event in self.events():
                if event.get("event") == name:
                    return event
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {name} in the service's log:\n{self.log()[-4000:]}")

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the log's lines that are events."""
        for line in self.log().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event

    def log(self) -> str:
        """Return all that it wrote to its standard error."""
        return self._written().decode(errors="replace")

    def mark(self) -> None:
        """Remember how long the log is now."""
        self._mark = len(self._written())

    def log_since_mark(self) -> str:
        """Return what was logged since the last mark."""
        return self._written()[self._mark :].decode(errors="replace")

    def events_of(self, request_id: str) -> list[dict[str, Any]]:
        """Return what was logged about one call."""
        return [event for event in self.events() if event.get("request_id") == request_id]

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        with urllib.request.urlopen(f"http://{self.http_address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        total = 0.0
        for line in text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(it in sample for it in wanted):
                total += float(value)
        return total

    def family(self) -> Watched:
        """Return the process, its backend and all their sandboxes' processes."""
        return Watched(family(self.process.pid))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, limit_s: float = STOP_S) -> int:
        """Wait for its end; returns the exit code."""
        return self.process.wait(limit_s)

    def close(self) -> list[str]:
        """Stop it, and remove its files. Returns what went wrong with that."""
        wrong = []
        seen = self.family()
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                code = self.wait()
            except subprocess.TimeoutExpired:
                self.process.kill()
                code = self.wait()
            if code != 0:
                wrong.append(f"exit code {code}: {self.log()[-2000:]}")
        wrong += [f"left running: {it}" for it in seen.left_after(5.0)]
        if self._owns_state:
            shutil.rmtree(self.state)
        self._last_words = self._written()
        self.stderr.unlink()
        return wrong

    def _written(self) -> bytes:
        """Return its log; after its end, what the log was then."""
        return self.stderr.read_bytes() if self._last_words is None else self._last_words


@contextmanager
def served(*arguments: str, **how: Any) -> Iterator[Service]:
    """Run a service of the test's own, which has to end well unless the test ended it."""
    running = Service.start(*arguments, **how)
    try:
        running.wait_until_ready()
        yield running
    finally:
        wrong = running.close()
    assert [it for it in wrong if "left running" in it] == []
