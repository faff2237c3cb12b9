"""What a client that follows a program is sent."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Final, Literal

from protobuf import Oneof

from sandbox_service.e2b_local.envd.connect import (
    ConnectError,
    end_of_stream,
    envelope,
    stream_head,
)
from sandbox_service.e2b_local.envd.keepalive import Keepalive
from sandbox_service.e2b_local.envd.messages import process_pb

if TYPE_CHECKING:
    from sandbox_service.e2b_local.envd.connect import Codec
    from sandbox_service.e2b_local.envd.pipes import Stream
    from sandbox_service.e2b_local.envd.processes import EndedProcess, Ending, Process
    from sandbox_service.e2b_local.http1 import Exchange

_SENT_AT_ONCE_BYTES: Final = 4096


def _encoded(codec: Codec, event: process_pb.ProcessEvent) -> bytes:
    # A ConnectResponse is the same bytes.
    return envelope(codec.encode(process_pb.StartResponse(event=event)))


def started_event(codec: Codec, pid: int) -> bytes:
    """Say that the program has started, or that this stream follows it."""
    event: Oneof[Literal["start"], process_pb.ProcessEvent.StartEvent] = Oneof(
        "start", process_pb.ProcessEvent.StartEvent(pid=pid)
    )
    return _encoded(codec, process_pb.ProcessEvent(event=event))


def ended_event(codec: Codec, ending: Ending) -> bytes:
    """Say how the program ended."""
    event: Oneof[Literal["end"], process_pb.ProcessEvent.EndEvent] = Oneof(
        "end",
        process_pb.ProcessEvent.EndEvent(
            exit_code=ending.exit_code,
            exited=ending.exited,
            status=ending.status,
            error=None if ending.exit_code == 0 else ending.status,
        ),
    )
    return _encoded(codec, process_pb.ProcessEvent(event=event))


@functools.cache
def _alive_event(codec: Codec) -> bytes:
    event: Oneof[Literal["keepalive"], process_pb.ProcessEvent.KeepAlive] = Oneof(
        "keepalive", process_pb.ProcessEvent.KeepAlive()
    )
    return _encoded(codec, process_pb.ProcessEvent(event=event))


def answer_ended(exchange: Exchange, codec: Codec, ended: EndedProcess) -> None:
    """Tell the result of a program that has ended; its output is gone."""
    parts = started_event(codec, ended.pid), ended_event(codec, ended.ending), end_of_stream()
    exchange.respond(200, b"".join(parts), stream_head(codec))


class EventStream:
    """One client that follows a program: an open Start or Connect call.

    Args:
        exchange: The call.
        codec: How it wants its messages.
        process: What it follows.
    """

    def __init__(self, exchange: Exchange, codec: Codec, process: Process) -> None:
        self._loop = asyncio.get_running_loop()
        self._exchange = exchange
        self._codec = codec
        self._process = process
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._keepalive = Keepalive(exchange, _alive_event(codec))
        self._pending: list[bytes] = []
        self._flushing: asyncio.Handle | None = None

    def open(self) -> None:
        """Send the start event, and follow the program from here on."""
        first = started_event(self._codec, self._process.pid)
        self._exchange.start(200, stream_head(self._codec), first=first)
        self._exchange.on_writable = self._process.listeners_changed
        self._process.listen(self)
        self._exchange.when_closed(self._close)

    @property
    def has_room(self) -> bool:
        """Whether the socket takes more."""
        return self._exchange.wire.writable or self._exchange.closed

    def output(self, stream: Stream, data: bytes) -> None:
        """Send a piece of output."""
        self._keepalive.sent()
        message = envelope(self._codec.data_event(stream, data))
        if len(data) >= _SENT_AT_ONCE_BYTES:
            self._flush()
            self._exchange.write(message)
            return
        self._pending.append(message)
        if self._flushing is None:
            # Two turns of the loop on: what the program writes in one breath, to
            # both streams, and often its end too, goes out as one piece.
            self._flushing = self._loop.call_soon(self._flush_next_turn)

    def ended(self, ending: Ending) -> None:
        """Send the end, and end the stream."""
        self._finish(ended_event(self._codec, ending) + end_of_stream())

    def fail(self, error: ConnectError) -> None:
        """End the stream with an error; the program goes on."""
        self._finish(end_of_stream(error))

    def _flush_next_turn(self) -> None:
        self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._pending:
            self._exchange.write(b"".join(self._pending))
            self._pending.clear()

    def _finish(self, last: bytes) -> None:
        pending = b"".join(self._pending)
        self._pending.clear()
        self._exchange.finish(pending + last)
        self._close()

    def _close(self) -> None:
        self._keepalive.cancel()
        if self._flushing is not None:
            self._flushing.cancel()
        self._exchange.on_writable = None
        self._process.unlisten(self)
        if not self.done.done():
            self.done.set_result(None)
