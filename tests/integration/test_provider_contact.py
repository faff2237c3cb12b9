"""Programs whose connections to the backend break again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import httpx
import pytest

from sandbox_service.domain.errors import (
    BackendUnavailableError,
    SandboxEndedError,
)
from sandbox_service.domain.execs import Position, ShellCommand, Stream
from sandbox_service.domain.ports import BackendInfo
from sandbox_service.domain.processes import Durable, Process, ProcessEnd, ProcessGap, ProcessOutput
from sandbox_service.providers.e2b.connections import Endpoint
from sandbox_service.providers.e2b.provider import E2BProvider
from tests.conformance.sandbox_backends import Box, first_output, wanted
from tests.integration.local_backend import API_KEY, LocalBackend

_STREAMS = "^/process.Process/(Start|Connect)$"
_LINES = 4000
_PROGRAM = ShellCommand(
    f"for ((i = 0; i < {_LINES}; i++)); do echo line $i; ((i % 7)) || echo err $i >&2; "
    "((i % 400)) || sleep 0.02; done; exit 9"
)
_OUT = "".join(f"line {i}\n" for i in range(_LINES)).encode()
_ERR = "".join(f"err {i}\n" for i in range(0, _LINES, 7)).encode()


@pytest.fixture(scope="module")
def backend() -> Iterator[LocalBackend]:
    backend = LocalBackend.start("--faults")
    assert backend.status["ready"], backend.status
    yield backend
    backend.stop()


class Faults:
    """Breaks connections on purpose, from now on."""

    def __init__(self, client: httpx.AsyncClient, sandbox_id: str) -> None:
        self._client = client
        self._sandbox_id = sandbox_id

    async def cut(self, after_bytes: int, times: int, path: str = _STREAMS) -> None:
        rule = {
            "kind": "drop",
            "match": {"plane": "envd", "path": path, "sandbox_id": self._sandbox_id},
            "params": {"after_bytes": after_bytes},
            "times": times,
        }
        answer = await self._client.post("/local/faults", json=rule)
        assert answer.status_code == 201, answer.text

    async def end(self) -> None:
        (await self._client.delete("/local/faults")).raise_for_status()


@pytest.fixture
async def box(backend: LocalBackend) -> AsyncIterator[Box]:
    endpoint = Endpoint(api_key=API_KEY, api_url=backend.url, sandbox_url=backend.url)
    info = BackendInfo(
        kind="embedded",
        isolation_tier="any",
        isolation_detail="any",
        survives_restart=False,
        internet=False,
        internet_denial=True,
    )
    provider = E2BProvider(endpoint, info)
    box = Box(provider, await provider.create(wanted()))
    yield box
    await provider.destroy(box.id)
    await provider.aclose()


@pytest.fixture
async def faults(backend: LocalBackend, box: Box) -> AsyncIterator[Faults]:
    headers = {"x-api-key": API_KEY}
    async with httpx.AsyncClient(base_url=backend.url, headers=headers) as client:
        faults = Faults(client, box.id)
        yield faults
        await faults.end()


class Reader:
    """Reads a program to its end, whatever happens to its connections.

    Attributes:
        breaks: How often contact was lost.
        gaps: What it was told to be missing, with how much of that stream came before.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self.written = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self.gaps: list[tuple[ProcessGap, int]] = []
        self.breaks = 0

    async def read(self) -> ProcessEnd:
        while True:
            try:
                async for event in self._process.events():
                    match event:
                        case ProcessOutput(stream, data):
                            self.written[stream] += data
                        case ProcessGap(stream):
                            self.gaps.append((event, len(self.written[stream])))
                        case ProcessEnd():
                            await self._process.aclose()
                            return event
            except BackendUnavailableError:
                self.breaks += 1
                await self._reconnect()

    async def _reconnect(self) -> None:
        while True:
            try:
                position = Position(*(len(written) for written in self.written.values()))
                await self._process.reconnect(position)
            except BackendUnavailableError:
                await asyncio.sleep(0.01)
            else:
                return


@pytest.mark.parametrize("after_bytes", [2_000, 30_000, 60_000])
async def test_a_spooled_program_is_read_whole_over_many_breaks(
    box: Box, faults: Faults, after_bytes: int
):
    """Every byte of both streams, once, in order; also when the reading of the spool breaks."""
    durable = Durable(exec_id="numbers", spool_limit_bytes=1024 * 1024)
    await faults.cut(after_bytes, times=12)
    reader = Reader(await box.start(_PROGRAM, durable=durable))
    end = await asyncio.wait_for(reader.read(), 60)

    assert bytes(reader.written[Stream.STDOUT]) == _OUT
    assert bytes(reader.written[Stream.STDERR]) == _ERR
    assert reader.gaps == []
    assert (end.exit_code, end.signal) == (9, "")
    assert reader.breaks > 0


async def test_without_a_spool_every_hole_is_told(box: Box, faults: Faults):
    """What comes is the program's, in order; where something may be missing it is said."""
    await faults.cut(20_000, times=1)
    await faults.cut(9_000, times=4, path="^/process.Process/Connect$")
    reader = Reader(await box.start(_PROGRAM))
    end = await asyncio.wait_for(reader.read(), 60)

    assert (end.exit_code, end.signal) == (9, "")
    assert reader.breaks > 0
    assert len(reader.gaps) == 2 * reader.breaks
    for stream, whole in ((Stream.STDOUT, _OUT), (Stream.STDERR, _ERR)):
        written = bytes(reader.written[stream])
        edges = [at for gap, at in reader.gaps if gap.stream is stream]
        behind = 0
        for start, stop in zip([0, *edges], [*edges, len(written)], strict=True):
            found = whole.find(written[start:stop], behind)
            assert found != -1
            assert start or not found
            behind = found + stop - start


async def test_a_sandbox_that_is_gone_is_told_as_that(box: Box):
    """Neither a break nor an exit."""
    process = await box.start(ShellCommand("echo up; sleep 600"))
    await first_output(process)
    await box.provider.destroy(box.id)

    with pytest.raises(SandboxEndedError):
        await Reader(process).read()
    with pytest.raises(SandboxEndedError):
        await process.reconnect(Position(3, 0))


async def test_the_backstop_is_an_end_by_signal(box: Box):
    """The backend killed it, and says so to whoever asks again."""
    process = await box.start(
        ShellCommand("echo up; exec sleep 6666"), backstop=timedelta(seconds=1)
    )
    reader = Reader(process)

    end = await asyncio.wait_for(reader.read(), 30)

    assert (end.exit_code, end.signal) == (None, "KILL")
