"""Plain bubblewrap and plain files: the least that isolation and disks cost here.

It has a machine of its own, with one sandbox, and starts bubblewrap with that one's options.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandbox_service.e2b_local.machine import BootSpec, Machine, MachineConfig
from sandbox_service.e2b_local.machine.tiers import seccomp
from tests.bench.peers import obey

_READ_BYTES = 256 * 1024
_BARE = ("/bin/true",)


class PlainPeer:
    """Runs each command in a bubblewrap of its own, told what the backend tells its own.

    Args:
        command: The command line of a sandbox.
        uid: Whom it runs as. None: whoever runs this.
        folder: For files, on the disk that the sandboxes are on.
    """

    def __init__(self, command: list[str], uid: int | None, folder: Path) -> None:
        self._command = command[: command.index("--")]
        self._filter_at = self._command.index("--seccomp") + 1
        self._uid = uid
        self._folder = folder
        self._filter = folder / "seccomp.bpf"
        self._filter.write_bytes(seccomp.build_program())

    def _start(self, *command: str, **pipes: int) -> subprocess.Popen[bytes]:
        with self._filter.open("rb") as program:
            arguments = list(self._command)
            arguments[self._filter_at] = str(program.fileno())
            return subprocess.Popen(
                [*arguments, "--", *command],
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
        """Run `true` in a shell, one after another; seconds each."""
        return self._run_each(_in_shell("true"), count)

    async def bare(self, count: int) -> list[float]:
        """Run `true` itself, one after another; seconds each."""
        return self._run_each(_BARE, count)

    def _run_each(self, command: Sequence[str], count: int) -> list[float]:
        walls = []
        for _ in range(count):
            began = time.perf_counter()
            _check(self._start(*command).wait())
            walls.append(time.perf_counter() - began)
        return walls

    async def bare_at_once(self, count: int) -> list[float]:
        """Run `true` itself many times at once; seconds from the beginning to each end."""
        return self._run_many(_BARE, count, count)

    async def burst(self, count: int, at_once: int) -> float:
        """Run `true` `count` times, `at_once` at a time; runs per second."""
        began = time.perf_counter()
        self._run_many(_in_shell("true"), count, at_once)
        return count / (time.perf_counter() - began)

    def _run_many(self, command: Sequence[str], count: int, at_once: int) -> list[float]:
        running: dict[int, subprocess.Popen[bytes]] = {}
        started, began = 0, time.perf_counter()
        walls = []
        while started < count or running:
            while started < count and len(running) < at_once:
                process = self._start(*command)
                running[process.pid] = process
                started += 1
            pid, status = os.wait()
            # Told, or the module would ask for each of them whenever one is made.
            process = running.pop(pid)
            process.returncode = os.waitstatus_to_exitcode(status)
            _check(process.returncode)
            walls.append(time.perf_counter() - began)
        return walls

    async def cat(self, path: str, size: int) -> float:
        """Read a file through a pipe; bytes per second."""
        began = time.perf_counter()
        process = self._start(*_in_shell(f"cat {path}"), stdout=subprocess.PIPE)
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


def _in_shell(command: str) -> tuple[str, ...]:
    return ("/bin/bash", "-l", "-c", command)


def _check(code: int) -> None:
    if code != 0:
        raise RuntimeError(f"exit {code}")


async def main() -> None:
    """Obey, and leave nothing."""
    names = ("true", "bare", "bare_at_once", "burst", "cat", "copy")
    with tempfile.TemporaryDirectory(prefix="sandbox-bench-", dir="/var/tmp") as path:
        folder = Path(path)
        os.chmod(folder, 0o711)  # noqa: PTH101 - So that sandboxes' own users can pass it.
        machine = await Machine.start(MachineConfig(state_dir=folder / "machine"))
        try:
            guest = await machine.boot("plain")
            place, told = machine._places["plain"], guest._confinement.told
            command = machine._roots.command_of(place, BootSpec(), told)(0, 0)
            peer = PlainPeer(command, place.uid, folder)
            deeds: dict[str, Any] = {name: getattr(peer, name) for name in names}
            await obey(deeds)
        finally:
            await machine.close()


if __name__ == "__main__":
    asyncio.run(main())
