"""The output of a spooled exec, read anew: what is missing from the spool, the rest live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Final

from sandbox_service.domain.errors import BackendUnavailableError
from sandbox_service.domain.execs import Position, Stream
from sandbox_service.domain.processes import FoundExec, ProcessGap, ProcessOutput
from sandbox_service.providers.e2b import envd
from sandbox_service.providers.e2b.kept import Kept, SpoolGoneError, read_spool
from sandbox_service.providers.e2b.supervisor import spool_kib

if TYPE_CHECKING:
    from sandbox_service.providers.e2b.connection import Connection

_CANCEL_AGAIN_S: Final = 1.0

_ENDINGS: Final = {Stream.STDOUT: "out", Stream.STDERR: "err"}

Item = ProcessOutput | ProcessGap | envd.EndEvent
_Source = AsyncGenerator[ProcessOutput, None] | envd.EnvdEvents
_Read = ProcessOutput | envd.Envd | SpoolGoneError | Exception | None


class SpooledOutput:
    """Goes on with both streams of an exec exactly behind a position.

    Each stream comes from its spool, as far as that goes; behind a full spool
    comes a gap, and then what the backend still tells live. What it tells live
    of a stream that comes from its spool is dropped.

    Args:
        connection: To the sandbox.
        found: The exec.
        position: How much of each stream is known already.
        live: What the backend tells of the program from now on. None: nothing.
        whole: Whether all output before the program's end has been yielded,
            though a child of it may still write.
    """

    def __init__(
        self,
        connection: Connection,
        found: FoundExec,
        position: Position,
        live: envd.EnvdEvents | None,
        whole: Callable[[], bool],
    ) -> None:
        self._whole = whole
        self._closed = False
        self._queue: asyncio.Queue[tuple[Stream | None, _Read]] = asyncio.Queue(1)
        self._left: dict[Stream, int] = {}
        self._behind_full: list[Stream] = []
        self._sources: dict[Stream | None, _Source] = {}
        kept, cap = Kept.of(found), spool_kib(found.spool_limit_bytes) * 1024
        offsets = {Stream.STDOUT: position.stdout_offset, Stream.STDERR: position.stderr_offset}
        for stream, offset in offsets.items():
            if offset >= cap:
                self._behind_full.append(stream)
                continue
            self._left[stream] = cap - offset
            spool = read_spool(connection, kept, _ENDINGS[stream], offset, alive=found.alive)
            self._sources[stream] = _output(stream, spool)
        if live is not None:
            self._sources[None] = live

    async def items(self) -> AsyncGenerator[Item, None]:
        """Yield output and gaps, and last the end, if the backend tells it.

        Raises:
            SandboxEndedError: The sandbox is gone.
            BackendUnavailableError: Contact was lost.
        """
        for stream in self._behind_full:
            yield ProcessGap(stream, spool_limit=True)
        pumps = {at: asyncio.create_task(self._pump(at, it)) for at, it in self._sources.items()}
        open_ = set(pumps)
        end: envd.EndEvent | None = None
        try:
            while open_ and not (end is not None and (self._whole() or open_ == {None})):
                at, read = await self._queue.get()
                if read is None:
                    open_.discard(at)
                    if at is None and end is None:
                        raise BackendUnavailableError("The backend ended the stream early.")
                elif isinstance(read, SpoolGoneError) and at is not None:
                    open_.discard(at)
                    del self._left[at]
                    yield ProcessGap(at)
                elif isinstance(read, Exception):
                    raise read
                elif isinstance(read, ProcessOutput):
                    for item in self._of_spool(read):
                        yield item
                    if read.stream not in self._left:
                        pumps[read.stream].cancel()
                        open_.discard(read.stream)
                else:
                    match envd.payload(read):
                        case envd.DataEvent() as data if data.output is not None:
                            stream = envd.STREAMS[data.output.field]
                            if stream not in self._left:
                                yield ProcessOutput(stream, data.output.value)
                        case envd.EndEvent() as end:
                            pass
                        case _:
                            continue
            if end is not None:
                yield end
        finally:
            self._closed = True
            while left := [pump for pump in pumps.values() if not pump.done()]:
                for pump in left:
                    pump.cancel()
                # The client library has been seen to swallow a cancellation.
                await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)

    def _of_spool(self, read: ProcessOutput) -> list[Item]:
        """Return what a piece of a spool is, and that the spool is full, if it is."""
        left = self._left.get(read.stream)
        if left is None:
            return []
        self._left[read.stream] = left - len(read.data)
        if len(read.data) < left:
            return [read]
        del self._left[read.stream]
        return [read, ProcessGap(read.stream, spool_limit=True)]

    async def _pump(self, at: Stream | None, source: _Source) -> None:
        try:
            async for read in source:
                await self._tell(at, read)
            await self._tell(at, None)
        except Exception as error:  # noqa: BLE001 - whoever takes it raises it.
            await self._tell(at, error)
        finally:
            await source.aclose()

    async def _tell(self, at: Stream | None, read: _Read) -> None:
        # Once nobody takes anything any more, a full queue would never be empty.
        if not self._closed:
            await self._queue.put((at, read))


async def _output(
    stream: Stream, spool: AsyncGenerator[bytes, None]
) -> AsyncGenerator[ProcessOutput, None]:
    try:
        async for data in spool:
            yield ProcessOutput(stream, data)
    finally:
        await spool.aclose()
