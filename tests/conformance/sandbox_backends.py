"""The backends that the suite of sandbox providers runs on.

The embedded backend always takes part: a real one, in a process of its own; once
more on a template without Python, which nothing of the service may need.
E2B itself takes part as one more parameter when `E2B_API_KEY` was in the
environment that pytest was started with. That costs money and needs the
internet, so no other test may reach it: the key is taken from the process's
first environment, for the suites' shared set-up clears it from the present one.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from sandbox_service.domain.execs import Argv, Position, Program, PtySize, ShellCommand, Stream
from sandbox_service.domain.ports import BackendInfo, BackendSandbox, NewSandbox, SandboxProvider
from sandbox_service.domain.processes import (
    Durable,
    Process,
    ProcessEnd,
    ProcessGap,
    ProcessOutput,
    ProcessSpec,
)
from sandbox_service.domain.sandboxes import (
    InternetAccess,
    Language,
    PreviewSpec,
    SandboxRecord,
    SandboxState,
)
from sandbox_service.providers.e2b.connections import Endpoint
from sandbox_service.providers.e2b.provider import E2BProvider
from tests.integration.local_backend import API_KEY, LocalBackend
from tests.support.local import first_environment
from tests.support.roots import build_debian

_KEY_VARIABLE = "E2B_API_KEY"
_LIFETIME = timedelta(minutes=10)

WITHOUT_PYTHON: Final = "embedded, without Python"
"""The embedded backend, on a template that has no Python."""


def backends() -> list[object]:
    """Return the names of the backends that can take part."""
    bare = pytest.param(WITHOUT_PYTHON, marks=pytest.mark.needs("mmdebstrap"))
    ours = ["embedded", bare]
    return [*ours, "e2b_cloud"] if first_environment().get(_KEY_VARIABLE) else ours


@contextmanager
def _without_python() -> AbstractContextManager[Endpoint]:
    """The embedded backend with a template that is a bare Debian."""
    with tempfile.TemporaryDirectory(prefix="images-test-", dir="/var/tmp") as folder:
        place = Path(folder)
        place.chmod(0o711)
        templates = place / "templates.json"
        templates.write_text(json.dumps({"base": {"rootfs": str(build_debian())}}))
        with _embedded("--templates", str(templates), "--images-dir", str(place / "images")) as it:
            yield it


@contextmanager
def _embedded(*arguments: str) -> AbstractContextManager[Endpoint]:
    backend = LocalBackend.start(*arguments)
    try:
        assert backend.status.get("ready"), backend.status
        yield Endpoint(
            api_key=API_KEY,
            domain=backend.status["domain"],
            api_url=backend.url,
            sandbox_url=backend.url,
            preview_scheme="http",
        )
    finally:
        backend.stop()


@contextmanager
def _cloud() -> AbstractContextManager[Endpoint]:
    given = first_environment()
    yield Endpoint(api_key=given[_KEY_VARIABLE], domain=given.get("E2B_DOMAIN", ""))


@asynccontextmanager
async def provider_on(name: str) -> AsyncIterator[SandboxProvider]:
    """Serve the provider on one of the backends; whatever it made is destroyed at the end."""
    serving = {"embedded": _embedded, WITHOUT_PYTHON: _without_python, "e2b_cloud": _cloud}
    with serving[name]() as endpoint:
        info = BackendInfo(
            kind=name,
            isolation_tier="any",
            isolation_detail="any",
            survives_restart=False,
            internet=name == "e2b_cloud",
            internet_denial=True,
        )
        provider = E2BProvider(endpoint, info)
        try:
            yield provider
        finally:
            for left in await provider.list(SUITE):
                await provider.destroy(left.sandbox_id)
            await provider.aclose()


SUITE: Mapping[str, str] = {"suite": f"conformance-{secrets.token_hex(6)}"}
"""Metadata of every sandbox that this run makes."""


def wanted(**changes: object) -> NewSandbox:
    """Return a sandbox to ask for."""
    asked = {
        "template_id": "base",
        "lifetime": _LIFETIME,
        "env": {},
        "metadata": SUITE,
        "internet": InternetAccess.BACKEND_DEFAULT,
        "preview": PreviewSpec(),
    }
    return NewSandbox(**{**asked, **changes})  # type: ignore[arg-type]


def record_of(sandbox: BackendSandbox, preview: PreviewSpec | None = None) -> SandboxRecord:
    """Return what the service would keep of a sandbox."""
    return SandboxRecord(
        sandbox_id=sandbox.sandbox_id,
        tenant="tenant",
        user="",
        owner="",
        state=SandboxState.RUNNING,
        template=sandbox.template_id,
        backend_template_id=sandbox.template_id,
        resources=sandbox.resources,
        metadata={},
        create_time=datetime.now(UTC),
        state_time=datetime.now(UTC),
        expire_time=sandbox.end_time,
        preview=preview or PreviewSpec(),
        internet=InternetAccess.BACKEND_DEFAULT,
        traffic_token=sandbox.traffic_token,
    )


@dataclass(slots=True)
class Ran:
    """What a program wrote and how it ended."""

    end: ProcessEnd
    written: dict[Stream, bytes] = field(default_factory=dict)
    gaps: tuple[ProcessGap, ...] = ()

    @property
    def stdout(self) -> bytes:
        return self.written.get(Stream.STDOUT, b"")

    @property
    def stderr(self) -> bytes:
        return self.written.get(Stream.STDERR, b"")

    @property
    def terminal(self) -> bytes:
        return self.written.get(Stream.PTY, b"")


@dataclass(frozen=True, slots=True)
class Box:
    """A sandbox, and the little that most tests do with one."""

    provider: SandboxProvider
    sandbox: BackendSandbox

    @property
    def id(self) -> str:
        return self.sandbox.sandbox_id

    async def start(
        self,
        program: Program,
        *,
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        user: str = "",
        stdin: bool = False,
        backstop: timedelta | None = None,
        language: Language | None = None,
        source_path: str = "",
        pty: PtySize | None = None,
        durable: Durable | None = None,
        instance: str = "",
    ) -> Process:
        spec = ProcessSpec(
            marker=secrets.token_hex(8),
            program=program,
            cwd=cwd,
            env=env or {},
            user=user,
            stdin=stdin,
            backstop=backstop,
            language=language,
            source_path=source_path,
            pty=pty,
            durable=durable,
            instance=instance,
        )
        return await self.provider.start(self.id, spec)

    async def run(self, program: Program, **options: object) -> Ran:
        return await finished(await self.start(program, **options))  # type: ignore[arg-type]

    async def pids(self, pattern: str) -> list[int]:
        """Find programs by a shell pattern of their words; procps may not be there."""
        found = await self.run(Argv(("bash", "-c", _FIND, "find", pattern)))
        return [int(pid) for pid in found.stdout.split()]

    async def end_all(self, pattern: str) -> None:
        """Kill the programs that `pids` finds."""
        for pid in await self.pids(pattern):
            await self.run(ShellCommand(f"kill -KILL {pid}"))

    async def state(self, pid: int) -> str:
        """Return the letter by which the kernel tells what a process does; empty: it is gone."""
        ran = await self.run(ShellCommand(f"cat /proc/{pid}/stat 2>/dev/null"))
        return ran.stdout.decode().rpartition(") ")[2][:1]


_FIND = r"""
for it in /proc/[0-9]*; do
  mapfile -d '' -t words <"$it/cmdline" 2>/dev/null || continue
  [[ "${words[*]}" != $1 ]] || echo "${it#/proc/}"
done 2>/dev/null
"""


async def finished(process: Process) -> Ran:
    """Read a program to its end."""
    written: dict[Stream, bytearray] = {}
    gaps: list[ProcessGap] = []
    try:
        async for event in process.events():
            match event:
                case ProcessOutput(stream, data):
                    written.setdefault(stream, bytearray()).extend(data)
                case ProcessGap() as gap:
                    gaps.append(gap)
                case ProcessEnd() as end:
                    whole = {stream: bytes(data) for stream, data in written.items()}
                    return Ran(end, whole, tuple(gaps))
    finally:
        await process.aclose()
    raise AssertionError("the events ended without saying how the program did")


async def first_output(process: Process) -> bytes:
    """Read until a program has written a whole line."""
    line = b""
    async for event in process.events():
        assert isinstance(event, ProcessOutput), event
        line += event.data
        if line.endswith(b"\n"):
            return line
    raise AssertionError("the program wrote no line")


async def read_until(process: Process, mark: bytes, stream: Stream = Stream.STDOUT) -> bytes:
    """Read until a stream has written `mark`. Returns what it wrote so far."""
    read = b""
    async for event in process.events():
        assert not isinstance(event, ProcessEnd), (event, read)
        if isinstance(event, ProcessOutput) and event.stream is stream:
            read += event.data
            if mark in read:
                return read
    raise AssertionError("the events ended without that")


async def read_so_far(process: Process, least: int) -> tuple[bytes, bytes, Position]:
    """Read at least so many bytes of a running program, then let go of it.

    Returns:
        What was read of each stream, and the position behind it.
    """
    written = {Stream.STDOUT: b"", Stream.STDERR: b""}
    async for event in process.events():
        assert isinstance(event, ProcessOutput), event
        written[event.stream] += event.data
        if sum(map(len, written.values())) >= least:
            break
    await process.aclose()
    out, err = written.values()
    return out, err, Position(len(out), len(err))
