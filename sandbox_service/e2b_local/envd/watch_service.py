"""Watchers of the `filesystem.Filesystem` service: streamed ones and polled ones."""

from __future__ import annotations

import asyncio
import errno
import secrets
import string
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, Literal

from protobuf import Oneof

from sandbox_service.e2b_local.envd.connect import (
    ConnectError,
    envelope,
    stream_head,
    timeout_seconds,
)
from sandbox_service.e2b_local.envd.filesystem_service import entry_info, refused, requested_path
from sandbox_service.e2b_local.envd.inotify import Notifier
from sandbox_service.e2b_local.envd.keepalive import Keepalive
from sandbox_service.e2b_local.envd.messages import filesystem_pb
from sandbox_service.e2b_local.envd.paths import as_text
from sandbox_service.e2b_local.envd.watch import Change, Watch
from sandbox_service.e2b_local.machine import GuestFrozenError, GuestOSError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sandbox_service.e2b_local.envd.connect import Codec
    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.machine import Guest

EventType = filesystem_pb.EventType

WATCHERS_LIMIT: Final = 256
# What a polled watcher keeps between two polls.
_KEPT_LIMIT_BYTES: Final = 4 * 1024**2
_EVENT_BYTES: Final = 256
# A poll waits for what has just happened, but not for a flood to end.
_POLL_PATIENCE_SECONDS: Final = 1.0
_SENT_AT_ONCE_BYTES: Final = 16 * 1024
_ID_ALPHABET: Final = string.ascii_lowercase + string.digits
# The others tell of a path whose entry is gone: what stands there now is another one.
_WITH_ENTRY: Final = frozenset({EventType.CREATE, EventType.WRITE, EventType.CHMOD})


_Start = Oneof[Literal["start"], filesystem_pb.WatchDirResponse.StartEvent]
_Filesystem = Oneof[Literal["filesystem"], filesystem_pb.FilesystemEvent]
_KeepAlive = Oneof[Literal["keepalive"], filesystem_pb.WatchDirResponse.KeepAlive]
_STARTED: Final[_Start] = Oneof("start", filesystem_pb.WatchDirResponse.StartEvent())
_ALIVE: Final[_KeepAlive] = Oneof("keepalive", filesystem_pb.WatchDirResponse.KeepAlive())


class WatchService:
    """All watchers of one sandbox.

    Args:
        guest: The sandbox.
    """

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._notifier = Notifier()
        self._polled: dict[str, PolledWatch] = {}
        self._open: set[Watch] = set()

    async def watch_dir(
        self, exchange: Exchange, codec: Codec, request: filesystem_pb.WatchDirRequest
    ) -> None:
        """Stream what happens in a folder until the client leaves or its time is over."""
        exchange.cancel_when_gone = True
        try:
            async with asyncio.timeout(timeout_seconds(exchange)):
                watch = await self._begin(exchange, request.path, recursive=request.recursive)
                try:
                    exchange.start(200, stream_head(codec), first=_message(codec, _STARTED))
                    await self._stream(exchange, codec, watch, entries=request.include_entry)
                finally:
                    self._end(watch)
        except TimeoutError:
            raise ConnectError("deadline_exceeded", "context deadline exceeded") from None

    async def _stream(
        self, exchange: Exchange, codec: Codec, watch: Watch, *, entries: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        keepalive = Keepalive(exchange, _message(codec, _ALIVE))
        pending = bytearray()

        def flush() -> None:
            exchange.write(bytes(pending))
            pending.clear()

        try:
            async with aclosing(self._events(watch, entries=entries)) as events:
                async for event in events:
                    if not pending:
                        loop.call_soon(flush)
                    changed: _Filesystem = Oneof("filesystem", event)
                    pending += _message(codec, changed)
                    keepalive.sent()
                    if len(pending) >= _SENT_AT_ONCE_BYTES:
                        flush()
                    await exchange.drain()
        finally:
            flush()
            keepalive.cancel()

    async def create(
        self, exchange: Exchange, request: filesystem_pb.CreateWatcherRequest
    ) -> filesystem_pb.CreateWatcherResponse:
        """Begin to keep what happens in a folder."""
        watch = await self._begin(exchange, request.path, recursive=request.recursive)
        watcher_id = "w" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(20))
        events = self._events(watch, entries=request.include_entry)
        self._polled[watcher_id] = PolledWatch(watch, events)
        return filesystem_pb.CreateWatcherResponse(watcher_id=watcher_id)

    async def events(
        self, exchange: Exchange, request: filesystem_pb.GetWatcherEventsRequest
    ) -> filesystem_pb.GetWatcherEventsResponse:
        """Hand over what has happened since the last call."""
        del exchange
        polled = self._watcher(request.watcher_id)
        await self._notifier.catch_up()
        return filesystem_pb.GetWatcherEventsResponse(events=await polled.take())

    async def remove(
        self, exchange: Exchange, request: filesystem_pb.RemoveWatcherRequest
    ) -> filesystem_pb.RemoveWatcherResponse:
        """Keep nothing more."""
        del exchange
        polled = self._watcher(request.watcher_id)
        polled.close()
        self._end(polled.watch)
        del self._polled[request.watcher_id]
        return filesystem_pb.RemoveWatcherResponse()

    def close(self) -> None:
        """End every watcher: the sandbox is gone."""
        for polled in self._polled.values():
            polled.close()
        self._polled.clear()
        for watch in list(self._open):
            self._end(watch)

    def _watcher(self, watcher_id: str) -> PolledWatch:
        polled = self._polled.get(watcher_id)
        if polled is None:
            raise ConnectError("not_found", f"watcher with id {watcher_id} not found")
        return polled

    async def _begin(self, exchange: Exchange, requested: str, *, recursive: bool) -> Watch:
        path = requested_path(exchange, requested)
        if len(self._open) >= WATCHERS_LIMIT:
            raise ConnectError("resource_exhausted", f"more than {WATCHERS_LIMIT} watchers")
        watch = Watch(self._guest, self._notifier, path, recursive=recursive)
        self._open.add(watch)
        try:
            await watch.open()
        except BaseException as error:
            self._open.discard(watch)
            if isinstance(error, GuestOSError):
                raise _not_watched(error, path) from None
            raise
        return watch

    def _end(self, watch: Watch) -> None:
        watch.close()
        self._open.discard(watch)

    async def _events(
        self, watch: Watch, *, entries: bool
    ) -> AsyncGenerator[filesystem_pb.FilesystemEvent, None]:
        """Yield what happens, as clients are told it."""
        async with aclosing(watch.changes()) as changes:
            async for change in changes:
                yield await self._described(watch, change, entries=entries)

    async def _described(
        self, watch: Watch, change: Change, *, entries: bool
    ) -> filesystem_pb.FilesystemEvent:
        event = filesystem_pb.FilesystemEvent(name=as_text(change.name), type=change.kind)
        if entries and change.kind in _WITH_ENTRY:
            with suppress(GuestOSError, GuestFrozenError):  # It has gone already.
                event.entry = entry_info(await self._guest.stat(watch.path_of(change)))
        return event


class PolledWatch:
    """What a watch has seen, kept until somebody asks.

    Args:
        watch: The watch.
        events: What it sees, as clients are told it.
    """

    def __init__(
        self, watch: Watch, events: AsyncGenerator[filesystem_pb.FilesystemEvent, None]
    ) -> None:
        self.watch = watch
        self._kept: list[filesystem_pb.FilesystemEvent] = []
        self._kept_bytes = 0
        self._keeping = asyncio.get_running_loop().create_task(self._keep(events))
        # Perhaps nobody asks again.
        self._keeping.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def take(self) -> list[filesystem_pb.FilesystemEvent]:
        """Return what has happened since the last call.

        Raises:
            ConnectError: It could not be kept, or not be watched any more.
            GuestLostError: The sandbox is dead.
        """
        if not self._keeping.done():
            self.watch.rouse()
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_PATIENCE_SECONDS):
                    await self.watch.idle.wait()
        if self._keeping.cancelled():
            raise ConnectError("not_found", "the watcher was removed")
        if self._keeping.done():
            self._keeping.result()
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        return kept

    def close(self) -> None:
        """Keep nothing more."""
        self._keeping.cancel()

    async def _keep(self, events: AsyncGenerator[filesystem_pb.FilesystemEvent, None]) -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    self._kept.append(event)
                    self._kept_bytes += _EVENT_BYTES + len(event.name)
                    if self._kept_bytes > _KEPT_LIMIT_BYTES:
                        message = "watcher error: too many events were kept without being asked for"
                        raise ConnectError("resource_exhausted", message)
        finally:
            # Nobody will look at what comes from here on.
            self._kept = []
            self.watch.close()
            self.watch.idle.set()


def _message(codec: Codec, event: _Start | _Filesystem | _KeepAlive) -> bytes:
    return envelope(codec.encode(filesystem_pb.WatchDirResponse(event=event)))


def _not_watched(error: GuestOSError, path: str) -> ConnectError:
    if error.errno == errno.ENOENT:
        return ConnectError(
            "not_found", f"path {path} not found: stat {path}: no such file or directory"
        )
    if error.errno == errno.ENOTDIR:
        return ConnectError("invalid_argument", f"path {path} not a directory")
    return refused(error, path)
