"""A sandbox that is a folder: programs run on this machine, below a home of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from sandbox_service.domain.execs import Argv, Stream
from sandbox_service.domain.processes import ProcessEnd, ProcessOutput, ProcessSpec
from sandbox_service.domain.sandboxes import (
    InternetAccess,
    PreviewSpec,
    Resources,
    SandboxRecord,
    SandboxState,
)


def record(sandbox_id: str = "sandbox-1", generation: int = 1) -> SandboxRecord:
    """Return a sandbox that runs."""
    now = datetime.now(UTC)
    return SandboxRecord(
        sandbox_id=sandbox_id,
        tenant="tenant",
        user="",
        owner="",
        state=SandboxState.RUNNING,
        template="base",
        backend_template_id="base",
        resources=Resources(1, 512),
        metadata=MappingProxyType({}),
        create_time=now,
        state_time=now,
        expire_time=now + timedelta(hours=1),
        preview=PreviewSpec(),
        internet=InternetAccess.BACKEND_DEFAULT,
        generation=generation,
    )


class BashProcess:
    """A program of this machine."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def events(self) -> AsyncIterator[ProcessOutput | ProcessEnd]:
        stdout, stderr = await self._process.communicate()
        if stderr:
            yield ProcessOutput(Stream.STDERR, stderr)
        for at in range(0, len(stdout), 32768):
            yield ProcessOutput(Stream.STDOUT, stdout[at : at + 32768])
        code = self._process.returncode
        assert code is not None
        if code < 0:
            yield ProcessEnd(None, signal.Signals(-code).name.removeprefix("SIG"))
        else:
            yield ProcessEnd(code, "")

    async def write_stdin(self, data: bytes) -> None:
        raise NotImplementedError

    async def close_stdin(self) -> None:
        raise NotImplementedError

    async def kill(self, grace: timedelta) -> int:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        return 0

    async def aclose(self) -> None:
        if self._process.returncode is None:
            await self.kill(timedelta(0))


class BashSandbox:
    """The two methods of a provider that a sync uses, over a home folder.

    Args:
        home: The home folder.
        wrap: A command to run programs under.
        uid: Run programs as this user. None: as this process.
    """

    def __init__(self, home: Path, wrap: tuple[str, ...] = (), uid: int | None = None) -> None:
        self.home = home
        self.wrap = wrap
        self.uid = uid
        self.commands: list[tuple[str, ...]] = []
        self.stderr = b""

    async def start(self, sandbox_id: str, spec: ProcessSpec) -> BashProcess:
        assert isinstance(spec.program, Argv)
        self.commands.append(spec.program.args)
        as_user = (
            {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}
        )
        process = await asyncio.create_subprocess_exec(
            *self.wrap,
            *spec.program.args,
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"]},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            **as_user,  # type: ignore[arg-type]
        )
        return BashProcess(process)

    async def write_file(
        self, sandbox_id: str, path: str, content: bytes | AsyncIterator[bytes], user: str = ""
    ) -> None:
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if self.uid is not None:
            os.chown(file.parent, self.uid, self.uid)
        with file.open("wb") as out:
            if isinstance(content, bytes):
                out.write(content)
                return
            async for piece in content:
                out.write(piece)
        if self.uid is not None:
            os.chown(file, self.uid, self.uid)
