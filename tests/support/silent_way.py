"""A way to a server on which what was open can fall silent: no bytes, no error, no end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class SilentWay:
    """Passes connections on to a server.

    Args:
        url: Of the server.
    """

    def __init__(self, url: str) -> None:
        there = urlsplit(url)
        self._there = (there.hostname, there.port)
        self._open: set[asyncio.Task[None]] = set()
        self._silent = asyncio.Event()
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def to(cls, url: str) -> AsyncIterator[SilentWay]:
        """Yield a way that is open."""
        way = cls(url)
        server = await asyncio.start_server(way._pass_on, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        way.url = f"http://127.0.0.1:{port}"
        try:
            yield way
        finally:
            server.close()
            for task in way._open:
                task.cancel()
            await asyncio.gather(*way._open, return_exceptions=True)

    def fall_silent(self) -> None:
        """Pass nothing on any more on what is open now; what is opened later works."""
        silent, self._silent = self._silent, asyncio.Event()
        silent.set()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        silent = self._silent
        there_reader, there_writer = await asyncio.open_connection(*self._there)
        both = asyncio.gather(
            _copied(reader, there_writer, silent), _copied(there_reader, writer, silent)
        )
        try:
            await both
        finally:
            both.cancel()
            for it in (writer, there_writer):
                it.transport.abort()


async def _copied(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: asyncio.Event
) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            if silent.is_set():
                break
            writer.write(data)
            await writer.drain()
    if silent.is_set():
        # Whoever waits at the other side learns nothing, not even of an end.
        await asyncio.Event().wait()
    with suppress(ConnectionError, OSError):
        writer.write_eof()
