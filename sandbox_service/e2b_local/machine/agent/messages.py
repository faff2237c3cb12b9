"""How server and agent talk.

A message is one byte that tells where the body is (`BODY_INLINE`, or `BODY_IN_MEMFD` for
the last of the descriptors that came along) and the body, JSON in ASCII. Questions are
`{"id", "op", ...}`; answers `{"id", "ok"}` or `{"id", "error": [errno, kind, text]}`;
events carry no id: `{"event": "hello"}` once, `{"event": "exit", "pid", "status"}`.
"""

from __future__ import annotations

import _socket

# As in `main`.
import posix as os
import sys

# Python 3.8 must be able to run this file, whatever runs the server.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BODY_INLINE = 0x4A
BODY_IN_MEMFD = 0x4D
INLINE_LIMIT_BYTES = 48 * 1024
MESSAGE_LIMIT_BYTES = INLINE_LIMIT_BYTES + 1
DESCRIPTORS_PER_MESSAGE = 4


def make_codec() -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    """Find a JSON decoder and encoder without importing `json`, if that can be had."""
    try:
        import _json

        class Context:
            strict = False
            object_hook = object_pairs_hook = None
            parse_float = float
            parse_int = int
            parse_constant = float
            memo: dict[str, str] = {}  # noqa: RUF012

        scan = _json.make_scanner(Context())  # type: ignore[arg-type]
        encode = _json.make_encoder(
            None, str, _json.encode_basestring_ascii, None, ":", ",", False, False, False
        )
    except (ImportError, AttributeError, TypeError):
        import json

        return json.loads, json.dumps
    return (lambda text: scan(text, 0)[0]), (lambda value: "".join(encode(value, 0)))


decode_json, encode_json = make_codec()


def send(control: _socket.socket, value: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send one message; a body that is too long for one goes into a memory file."""
    body = encode_json(value).encode("ascii")
    memory = -1
    if len(body) > INLINE_LIMIT_BYTES:
        memory = os.memfd_create("answer", os.MFD_CLOEXEC)
        with open(memory, "wb", closefd=False) as file:
            file.write(body)
        body = b""
        descriptors = (*descriptors, memory)
    kind = BODY_INLINE if memory < 0 else BODY_IN_MEMFD
    packed = b"".join(fd.to_bytes(4, sys.byteorder) for fd in descriptors)
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)] if packed else []
    try:
        control.sendmsg([bytes((kind,)) + body], rights)
    finally:
        if memory >= 0:
            os.close(memory)


def receive(control: _socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Take one message and its descriptors. None: the other end is closed."""
    data, rights, _, _ = control.recvmsg(
        MESSAGE_LIMIT_BYTES,
        _socket.CMSG_SPACE(4 * DESCRIPTORS_PER_MESSAGE),
        _socket.MSG_CMSG_CLOEXEC,
    )
    if not data:
        return None
    descriptors = [
        int.from_bytes(packed[at : at + 4], sys.byteorder)
        for level, kind, packed in rights
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS
        for at in range(0, len(packed) - 3, 4)
    ]
    body = data[1:]
    if data[0] == BODY_IN_MEMFD:
        memory = descriptors.pop()
        with open(memory, "rb") as file:
            file.seek(0)
            body = file.read()
    value: dict[str, Any] = decode_json(body.decode("ascii"))
    return value, descriptors
