"""What a client's first bytes say: TLS, a tunnel to somewhere, or a plain request."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

CONNECT_HEAD_LIMIT_BYTES: Final = 16 * 1024
_TLS_HANDSHAKE: Final = 0x16
_CONNECT: Final = b"CONNECT "
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}", re.ASCII)
_PORT_LIMIT: Final = 0xFFFF
_PORT_DIGITS: Final = 5


class BadConnectError(Exception):
    """A CONNECT that names no place, or whose head is too long; says so in a sentence."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tunnel shall lead.

    Attributes:
        host: A name or an address, without brackets.
        port: 1 to 65535.
    """

    host: str
    port: int


def begins_tls(first: bytes) -> bool:
    """Whether the bytes, at least one, begin a TLS handshake."""
    return first[0] == _TLS_HANDSHAKE


def may_be_connect(first: bytes) -> bool:
    """Whether the bytes are the beginning of a CONNECT, as far as they go."""
    return first[: len(_CONNECT)] == _CONNECT[: len(first)]


def end_of_head(data: bytes) -> int | None:
    """Return the length of a complete head. None: it goes on."""
    end = _END_OF_HEAD.search(data)
    return None if end is None else end.end()


def connect_place(head: bytes) -> Place:
    """Read where a CONNECT, whose head is complete, shall lead.

    Raises:
        BadConnectError: It does not say.
    """
    parts = head.splitlines()[0].decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadConnectError("CONNECT needs the form: CONNECT host:port HTTP/1.1")
    host, _, port = parts[1].rpartition(":")
    # The length is looked at first: reading a very long number fails.
    is_number = port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS
    if not is_number or not 1 <= int(port) <= _PORT_LIMIT:
        raise BadConnectError("CONNECT names no valid port")
    return Place(_host(host), int(port))


def _host(text: str) -> str:
    try:
        if text.startswith("[") and text.endswith("]"):
            return str(ipaddress.IPv6Address(text[1:-1]))
    except ValueError:
        text = ""
    if _NAME.fullmatch(text) is None:
        raise BadConnectError("CONNECT names no valid host")
    return text
