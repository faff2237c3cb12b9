"""The backends that the suite of sandbox providers runs on.

The embedded backend always takes part: a real one, in a process of its own.
E2B itself takes part as one more parameter when `E2B_API_KEY` was in the
environment that pytest was started with. That costs money and needs the
internet, so no other test may reach it: the key is taken from the process's
first environment, for the suites' shared set-up clears it from the present one.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sandbox_service.domain.execs import Position, Program, PtySize, Stream
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

_KEY_VARIABLE = "E2B_API_KEY"
_LIFETIME = timedelta(minutes=10)


def backends() -> list[str]:
    """Return the names of the backends that can take part."""
    return ["embedded", "e2b_cloud"] if first_environment().get(_KEY_VARIABLE) else ["embedded"]


@contextmanager
def _embedded() -> AbstractContextManager[Endpoint]:
    backend = LocalBackend.start()
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
    with {"embedded": _embedded, "e2b_cloud": _cloud}[name]() as endpoint:
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
