"""The processes that are measured: one backend, and what is compared on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import httpx

from tests.bench.peers import Peer
from tests.support.processes import resident_bytes

_KEY = "e2b_" + "0" * 40
_STOP_S = 30
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class StackError(Exception):
    """A process of the bench did not start."""


class Stack:
    """Everything a bench needs, as a context: started on entry, gone on exit.

    Attributes:
        sdk: The client of the bare SDK.
        service: The client of this service.
        folders: The client that syncs folders into it, and runs rsync.
    """

    sdk: Peer
    service: Peer
    folders: Peer

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._service_pid = 0
        self._echo_pid = 0

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _start(self) -> None:
        state = self._folder()
        env = self._backend(state / "backend")
        address = self._service(state / "service", env)
        echo_address = self._echo()
        self.sdk = Peer("tests.bench.sdk_peer", env=env)
        self._closing.callback(self.sdk.stop)
        self.service = Peer("tests.bench.service_peer", address, echo_address, env=env)
        self._closing.callback(self.service.stop)
        cache = {**env, "XDG_CACHE_HOME": str(state / "cache")}
        self.folders = Peer("tests.bench.sync_peer", address, str(state / "trees"), env=cache)
        self._closing.callback(self.folders.stop)

    def _folder(self) -> Path:
        # Sandboxes run under uids of their own when this runs as root: they
        # have to be able to pass the folder.
        state = Path(tempfile.mkdtemp(prefix="sandbox-bench-", dir="/var/tmp"))
        state.chmod(0o711)
        self._closing.callback(shutil.rmtree, state, ignore_errors=True)
        return state

    def _backend(self, state: Path, *arguments: str) -> dict[str, str]:
        """Start the backend; returns its clients' environment."""
        process = self._spawn(
            *("sandbox_service.e2b_local", "--parent-lifeline"),
            *("--state-dir", str(state), "--api-key", _KEY, *arguments),
        )
        status = json.loads(_line(process.stdout) or "{}")
        if not status.get("ready"):
            raise StackError(f"{status.get('cause', 'The backend ended.')} {status.get('fix', '')}")
        return _clients_of(str(status["url"]))

    def _service(self, state: Path, env: dict[str, str]) -> str:
        process = self._spawn(
            *("sandbox_service", "serve", "--log-format", "json", "--state-dir", str(state)),
            *("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0"),
            env=env,
            stderr=subprocess.PIPE,
        )
        self._service_pid = process.pid
        said: deque[str] = deque(maxlen=20)
        while line := _line(process.stderr):
            said.append(line)
            if '"server.listening"' in line:
                # Nobody reads on: a full pipe would stop the service.
                drain = threading.Thread(target=_drain, args=(process.stderr,), daemon=True)
                drain.start()
                return str(json.loads(line)["grpc"])
        raise StackError("The service did not start:\n" + "".join(said))

    def _echo(self) -> str:
        process = self._spawn("tests.bench.echo")
        self._echo_pid = process.pid
        return _line(process.stdout).strip()

    def _spawn(
        self,
        module: str,
        *arguments: str,
        env: dict[str, str] | None = None,
        stderr: int | None = None,
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=env,
        )
        self._closing.callback(_stop, process)
        return process

    def service_cpu(self) -> float:
        """CPU seconds that the service's process has used."""
        return _cpu(self._service_pid)

    def echo_cpu(self) -> float:
        """CPU seconds that the bare server's process has used."""
        return _cpu(self._echo_pid)

    def service_memory(self) -> int:
        """Bytes that the service's process holds."""
        return resident_bytes(self._service_pid)

    def echo_memory(self) -> int:
        """Bytes that the bare server's process holds."""
        return resident_bytes(self._echo_pid)

    def sdk_cpu(self) -> float:
        """CPU seconds that the bare SDK's process has used."""
        return _cpu(self.sdk.pid)


class CannedStack(Stack):
    """The same on a backend that runs nothing: what is left is what its clients cost.

    Attributes:
        url: The backend's.
    """

    url: str

    def _backend(self, state: Path, *arguments: str) -> dict[str, str]:
        """Start the backend; returns its clients' environment."""
        self.url = _line(self._spawn("tests.bench.canned").stdout).strip()
        return _clients_of(self.url)

    def last_kill(self) -> float:
        """When this service last asked for a kill, on the clock that all processes share."""
        return float(httpx.get(f"{self.url}/canned/killed", trust_env=False).json())


class LocalStack(Stack):
    """The local backend alone, its client, and plain bubblewrap.

    Attributes:
        cold: A client of another one, which keeps no sandbox ready for those who will ask.
        plain: Runs bubblewrap as the backend does, and does nothing else.
    """

    cold: Peer
    plain: Peer

    def _start(self) -> None:
        self.sdk = self._client()
        self.cold = self._client("--warm", "0")
        self.plain = Peer("tests.bench.local_plain_peer", env=dict(os.environ))
        self._closing.callback(self.plain.stop)

    def _client(self, *arguments: str) -> Peer:
        env = self._backend(self._folder() / "backend", *arguments)
        client = Peer("tests.bench.local_sdk_peer", env=env)
        self._closing.callback(client.stop)
        return client


def _clients_of(url: str) -> dict[str, str]:
    return {
        **os.environ,
        "E2B_API_KEY": _KEY,
        "E2B_API_URL": url,
        "E2B_SANDBOX_URL": url,
        # As the service has them: the bench compares what is left.
        "E2B_MAX_CONNECTIONS": "4000",
        "E2B_MAX_KEEPALIVE_CONNECTIONS": "1000",
    }


def _line(pipe: IO[str] | None) -> str:
    return "" if pipe is None else pipe.readline()


def _drain(pipe: IO[str] | None) -> None:
    while pipe is not None and pipe.read(4096):
        pass


def _stop(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _cpu(pid: int) -> float:
    """Return user and system time, with those of threads that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
