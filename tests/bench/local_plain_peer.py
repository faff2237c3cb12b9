"""Plain bubblewrap and plain files: the least that isolation and disks cost here.

`python -m tests.bench.local_plain_peer COMMAND UID`, where COMMAND is the command line
of one of the backend's own sandboxes, in JSON, and UID whom it runs as.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sandbox_service.e2b_local.machine import seccomp
from tests.bench.peers import obey

_READ_BYTES = 256 * 1024


class PlainPeer:
    """Runs each command in a bubblewrap of its own, told what the backend tells its own.

    Args:
        command: The command line of a sandbox.
        uid: Whom it runs as.
        folder: For files, on the disk that the sandboxes are on.
    """

    def __init__(self, command: list[str], uid: int, folder: Path) -> None:
        self._command = command[: command.index("--")]
        self._filter_at = self._command.index("--seccomp") + 1
        self._uid = uid if os.geteuid() == 0 else None
        self._folder = folder
        self._filter = folder / "seccomp.bpf"
        self._filter.write_bytes(seccomp.build_program())

    def _start(self, command: str, **pipes: int) -> subprocess.Popen[bytes]:
        with self._filter.open("rb") as program:
            arguments = list(self._command)
            arguments[self._filter_at] = str(program.fileno())
            return subprocess.Popen(
                [*arguments, "--", "/bin/bash", "-l", "-c", command],
                pass_fds=(program.fileno(),),
                stdin=subprocess.DEVNULL,
                env={},
                cwd="/",
                user=self._uid,
                group=self._uid,
                extra_groups=None if self._uid is None else [],
                **pipes,
            )

    async def true(self, count: int) -> list[float]:
        """Run `true` one after another; seconds each."""
        walls = []
        for _ in range(count):
            began = time.perf_counter()
            _check(self._start("true").wait())
            walls.append(time.perf_counter() - began)
        return walls

    async def burst(self, count: int, at_once: int) -> float:
        """Run `true` `count` times, `at_once` at a time; runs per second."""
        began = time.perf_counter()
        self._run_many(count, at_once)
        return count / (time.perf_counter() - began)

    def _run_many(self, count: int, at_once: int) -> None:
        running: dict[int, subprocess.Popen[bytes]] = {}
        started = 0
        while started < count or running:
            while started < count and len(running) < at_once:
                process = self._start("true")
                running[process.pid] = process
                started += 1
            pid, status = os.wait()
            # Told, or the module would ask for each of them whenever one is made.
            process = running.pop(pid)
            process.returncode = os.waitstatus_to_exitcode(status)
            _check(process.returncode)

    async def cat(self, path: str, size: int) -> float:
        """Read a file through a pipe; bytes per second."""
        began = time.perf_counter()
        process = self._start(f"cat {path}", stdout=subprocess.PIPE)
        received = 0
        assert process.stdout is not None
        while part := os.read(process.stdout.fileno(), _READ_BYTES):
            received += len(part)
        process.stdout.close()
        _check(process.wait())
        if received != size:
            raise RuntimeError(f"{received} bytes came of {size}")
        return size / (time.perf_counter() - began)

    async def copy(self, size: int, count: int) -> list[float]:
        """Copy a file of that size; seconds each."""
        source, target = self._folder / f"source-{size}", self._folder / "target"
        if not source.exists():
            source.write_bytes(b"x" * size)
        walls = []
        for _ in range(count):
            began = time.perf_counter()
            shutil.copyfile(source, target)
            walls.append(time.perf_counter() - began)
        return walls


def _check(code: int) -> None:
    if code != 0:
        raise RuntimeError(f"exit {code}")


async def main(command: list[str], uid: int) -> None:
    """Obey, and leave nothing."""
    with tempfile.TemporaryDirectory(prefix="sandbox-bench-", dir="/var/tmp") as folder:
        peer = PlainPeer(command, uid, Path(folder))
        deeds: dict[str, Any] = {
            name: getattr(peer, name) for name in ("true", "burst", "cat", "copy")
        }
        await obey(deeds)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), int(sys.argv[2])))
