"""The Connect protocol: codecs, envelopes, errors.

Only what envd's clients use of it: unary calls, server streams and one client
stream, JSON and binary messages, no compression.
"""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from sandbox_service.e2b_local.http1 import BodyTooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from protobuf import Message

    from sandbox_service.e2b_local.http1 import Exchange

    MessageT = TypeVar("MessageT", bound=Message[Any])

READABLE: Final = ("access-control-allow-origin", "*")
"""Lets a page in a browser read an answer, as envd does: whoever calls has a token."""

MESSAGE_LIMIT_BYTES: Final = 128 * 1024**2
END_OF_STREAM: Final = 0x02
_COMPRESSED: Final = 0x01
_ENVELOPE_HEAD_BYTES: Final = 5

Code = Literal[
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "unimplemented",
    "internal",
    "unavailable",
    "unauthenticated",
]

_STATUS: Final[dict[Code, int]] = {
    "unknown": 500,
    "invalid_argument": 400,
    "deadline_exceeded": 504,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "failed_precondition": 400,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "unauthenticated": 401,
}


class ConnectError(Exception):
    """A call that failed, in the terms of the Connect protocol."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status of a unary answer."""
        return _STATUS[self.code]

    def body(self) -> bytes:
        """The JSON that stands for this error in a unary answer."""
        return json.dumps({"code": self.code, "message": self.message}).encode()


@dataclass(frozen=True, slots=True)
class Codec:
    """How messages are written.

    Attributes:
        name: `json` or `proto`, as in the content type.
    """

    name: Literal["json", "proto"]

    def encode(self, message: Message[Any]) -> bytes:
        """Write a message."""
        if self.name == "json":
            return message.to_json().encode()
        return message.to_binary()

    def decode(self, kind: type[MessageT], data: bytes) -> MessageT:
        """Read a message.

        Raises:
            ConnectError: `invalid_argument`: the bytes are no such message.
        """
        try:
            if self.name == "json":
                if data.count(b"[") + data.count(b"{") > _PLAIN_BRACKETS:
                    # Deep nesting overflows the generated code's stack and ends this
                    # process; here it is a RecursionError.
                    json.loads(data)
                return kind.from_json(data or b"{}", ignore_unknown_fields=True)
            return kind.from_binary(data)
        except (
            ArithmeticError,
            IndexError,
            KeyError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise ConnectError("invalid_argument", f"unmarshal message: {error}") from None

    def data_event(self, stream: Literal["stdout", "stderr", "pty"], data: bytes) -> bytes:
        """Write a `StartResponse` (or `ConnectResponse`) with output in it.

        By hand, for this is the one message that is written by the thousand: the
        generated code takes several times as long and copies the bytes more often.
        """
        if self.name == "json":
            encoded = binascii.b2a_base64(data, newline=False)
            return b'{"event":{"data":{"%b":"%b"}}}' % (stream.encode(), encoded)
        field = {"stdout": b"\x0a", "stderr": b"\x12", "pty": b"\x1a"}[stream]
        inner = field + _varint(len(data))
        data_event = b"\x12" + _varint(len(inner) + len(data)) + inner
        return b"\x0a" + _varint(len(data_event) + len(data)) + data_event + data


# No message has so many, but for those in its texts.
_PLAIN_BRACKETS: Final = 100

_CODECS: Final = {"json": Codec("json"), "proto": Codec("proto")}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def negotiate(content_type: str | None) -> tuple[Codec, bool] | None:
    """Read a call's content type.

    Returns:
        The codec, and whether the call is a stream. None: not a Connect call.
    """
    kind, _, parameters = (content_type or "").partition(";")
    if parameters and "charset=utf-8" not in parameters.lower().replace('"', ""):
        return None
    kind = kind.strip().lower()
    streaming = kind.startswith("application/connect+")
    prefix = "application/connect+" if streaming else "application/"
    codec = _CODECS.get(kind.removeprefix(prefix))
    return None if codec is None else (codec, streaming)


def stream_head(codec: Codec) -> list[tuple[str, str]]:
    """Return the header fields of a stream's answer; clients compare the type to the letter."""
    return [("content-type", f"application/connect+{codec.name}"), READABLE]


def envelope(payload: bytes, flags: int = 0) -> bytes:
    """Wrap one message of a stream."""
    return bytes((flags,)) + len(payload).to_bytes(4, "big") + payload


def end_of_stream(error: ConnectError | None = None) -> bytes:
    """Return the last envelope of a stream, which says how it ended."""
    if error is None:
        return envelope(b"{}", END_OF_STREAM)
    body = json.dumps({"error": {"code": error.code, "message": error.message}}).encode()
    return envelope(body, END_OF_STREAM)


async def read_envelopes(exchange: Exchange) -> AsyncIterator[bytes]:
    """Yield the messages of a request's stream, still encoded.

    Raises:
        ConnectError: The stream is cut off, compressed or too large.
        ClientGoneError: The connection was lost in the middle.
    """
    buffer = bytearray()
    needed = _ENVELOPE_HEAD_BYTES
    async for chunk in exchange.chunks():
        buffer += chunk
        while len(buffer) >= needed:
            length = int.from_bytes(buffer[1:_ENVELOPE_HEAD_BYTES], "big")
            if length > MESSAGE_LIMIT_BYTES:
                raise ConnectError("resource_exhausted", "message is too large")
            needed = _ENVELOPE_HEAD_BYTES + length
            if len(buffer) < needed:
                break
            if buffer[0] & _COMPRESSED:
                raise ConnectError("unimplemented", "compressed messages are not supported")
            payload = bytes(buffer[_ENVELOPE_HEAD_BYTES:needed])
            ended = bool(buffer[0] & END_OF_STREAM)
            del buffer[:needed]
            needed = _ENVELOPE_HEAD_BYTES
            if not ended:
                yield payload
    if buffer:
        raise ConnectError("invalid_argument", "incomplete envelope")


async def read_single(exchange: Exchange, *, streaming: bool) -> bytes:
    """Return the one message of a unary call or of a server stream, still encoded.

    Raises:
        ConnectError: There is none, it is too large, or it is compressed.
        ClientGoneError: The connection was lost in the middle.
    """
    header = b"connect-content-encoding" if streaming else b"content-encoding"
    encoding = (exchange.headers.get(header) or "identity").lower()
    if encoding != "identity":
        raise ConnectError("unimplemented", f'unknown compression "{encoding}"')
    if not streaming:
        try:
            return await exchange.read(MESSAGE_LIMIT_BYTES)
        except BodyTooLargeError:
            raise ConnectError("resource_exhausted", "message is too large") from None
    messages = [message async for message in read_envelopes(exchange)]
    if len(messages) != 1:
        raise ConnectError("invalid_argument", f"expected one message, got {len(messages)}")
    return messages[0]


def timeout_seconds(exchange: Exchange) -> float | None:
    """Return what `Connect-Timeout-Ms` asks for. None: no limit, which 0 means too.

    Raises:
        ConnectError: The header is no number of milliseconds.
    """
    value = exchange.headers.get(b"connect-timeout-ms")
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 10:
        raise ConnectError("invalid_argument", f"protocol error: invalid timeout {value!r}")
    return int(value) / 1000 or None
