"""The Connect protocol as clients speak it: codecs, frames, and the events of a process.

On the SDK's messages, and on nothing of ours: what is tested must not test itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
from e2b.envd.process import process_pb
from protobuf import Message, Oneof

_END_OF_STREAM = 0x02
_HEAD_BYTES = 5


class StreamError(Exception):
    """What the end of a stream said."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Codec:
    """How messages are written: `json` or `proto`."""

    name: str

    def encode(self, message: Message[Any]) -> bytes:
        return message.to_json().encode() if self.name == "json" else message.to_binary()

    def decode(self, kind: type[Message[Any]], data: bytes) -> Any:
        if self.name == "json":
            return kind.from_json(data, ignore_unknown_fields=True)
        return kind.from_binary(data)


JSON, PROTO = Codec("json"), Codec("proto")


def enveloped(payload: bytes) -> bytes:
    """Wrap one message of a stream."""
    return b"\0" + len(payload).to_bytes(4, "big") + payload


def selector(pid: int) -> process_pb.ProcessSelector:
    """Name a process by its id."""
    return process_pb.ProcessSelector(selector=Oneof("pid", pid))


async def messages(response: httpx.Response, kind: Any, codec: Codec) -> AsyncIterator[Any]:
    """Yield a stream's messages to the end of the body, and raise what its end says."""
    buffer = bytearray()
    ended = False
    async for part in response.aiter_raw():
        buffer += part
        while len(buffer) >= _HEAD_BYTES:
            size = _HEAD_BYTES + int.from_bytes(buffer[1:_HEAD_BYTES], "big")
            if len(buffer) < size:
                break
            flags, payload = buffer[0], bytes(buffer[_HEAD_BYTES:size])
            del buffer[:size]
            if flags & _END_OF_STREAM:
                ended = True
                error = json.loads(payload).get("error")
                if error:
                    raise StreamError(error["code"], error.get("message", ""))
            else:
                yield codec.decode(kind, payload)
    assert ended, "the body ended without an end of the stream"


async def process_events(stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield what the messages of `Start` and `Connect` hold."""
    async for message in stream:
        yield message.event.event


async def read_out(stream: AsyncIterator[Any]) -> tuple[list[Any], StreamError | None]:
    """Read a stream to its end; returns its messages, and what its end says is wrong."""
    read = []
    try:
        async for message in stream:
            read.append(message)
    except StreamError as error:
        return read, error
    return read, None


def output_of(event: Any) -> bytes:
    """Return the bytes that an event of a process brings."""
    match event:
        case Oneof(field="data", value=data):
            return data.output.value
    return b""


async def until(condition: Callable[[], Awaitable[object]], limit_s: float = 15) -> None:
    """Wait for something that takes its own time, and fail when it takes too long."""
    async with asyncio.timeout(limit_s):
        while not await condition():  # noqa: ASYNC110 - only asking again can tell
            await asyncio.sleep(0.02)
