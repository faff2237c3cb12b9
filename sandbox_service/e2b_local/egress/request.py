"""What a program in a sandbox asks its proxy for.

Whatever is passed on was written anew from what was understood: a line that one reader
ends where another goes on, or a host that is named twice, would let a program say one
thing to this proxy and another to the server behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sandbox_service.e2b_local.egress.destinations import read_host
from sandbox_service.e2b_local.tunnels.opening import BadConnectError, Place, connect_place

_HTTP_PORT: Final = 80
_METHOD: Final = re.compile(r"[A-Z]{1,32}", re.ASCII)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
# All but tabs; a lone CR or LF is among them.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_URL: Final = re.compile(r"http://([^/?#]+)([/?][!-\"$-~]*)?", re.ASCII | re.IGNORECASE)
_PORT: Final = re.compile(r".*:\d{1,5}", re.ASCII)
_LENGTH: Final = re.compile(r"\d{1,15}", re.ASCII)
# About this connection alone, or written here.
_NOT_PASSED_ON: Final = frozenset(
    {"connection", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


class BadRequestError(Exception):
    """No request that a proxy understands; says so in a sentence."""


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """A request to be connected.

    Attributes:
        place: To where.
        tunnel: Whether the program is told when it is connected (CONNECT). If not, it
            has sent a plain request, and waits for the answer to that.
        first: What the other end is sent first.
        body_bytes: What follows it, and no more: the next request may be for a place
            that is not allowed. None: whatever the program sends.
    """

    place: Place
    tunnel: bool
    first: bytes = b""
    body_bytes: int | None = None


def read_request(head: bytes) -> ProxyRequest:
    """Read a complete head.

    Raises:
        BadRequestError: It is neither CONNECT nor a request with a whole `http://` URL.
    """
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    if any(_CONTROL.search(line) for line in lines):
        raise BadRequestError("a line of the head does not end in CR and LF")
    words = lines[0].split(" ")
    if len(words) != 3 or _METHOD.fullmatch(words[0]) is None:
        raise BadRequestError("this is a proxy: use CONNECT, or a whole http:// URL")
    method, target, version = words
    if version not in {"HTTP/1.0", "HTTP/1.1"}:
        raise BadRequestError("this proxy speaks HTTP/1.1")
    fields = [_field(line) for line in lines[1:]]
    if method == "CONNECT":
        return ProxyRequest(_place(target), tunnel=True)
    return _plain_request(method, target, version, fields)


def _plain_request(
    method: str, target: str, version: str, fields: list[tuple[str, str]]
) -> ProxyRequest:
    url = _URL.fullmatch(target)
    if url is None:
        raise BadRequestError("a plain request needs a whole http:// URL")
    authority, path = url[1], url[2] or "/"
    if "@" in authority:
        raise BadRequestError("a URL with a user's name or password is not passed on")
    place = _place(authority if _PORT.fullmatch(authority) else f"{authority}:{_HTTP_PORT}")
    body_bytes = _body_bytes(fields)
    about_here = _NOT_PASSED_ON | {
        word.strip().lower()
        for name, value in fields
        if name.lower() == "connection"
        for word in value.split(",")
        if word.strip().lower() != "content-length"
    }
    kept = [
        f"{name}: {value}"
        for name, value in fields
        if name.lower() not in about_here and not name.lower().startswith("proxy-")
    ]
    path = path if path.startswith("/") else f"/{path}"
    lines = [f"{method} {path} {version}", f"Host: {_shown(place)}", *kept]
    first = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
    return ProxyRequest(place, tunnel=False, first=first, body_bytes=body_bytes)


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    # A line that begins with a blank goes on with the one before, for some.
    if not colon or _NAME.fullmatch(name) is None:
        raise BadRequestError("a line of the head is no header")
    return name, value.strip(" \t")


def _body_bytes(fields: list[tuple[str, str]]) -> int:
    if any(name.lower() == "transfer-encoding" for name, _ in fields):
        raise BadRequestError("a body must say how long it is, with Content-Length")
    lengths = [value for name, value in fields if name.lower() == "content-length"]
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise BadRequestError("the Content-Length is not valid")
    return int(lengths[0]) if lengths else 0


def _place(authority: str) -> Place:
    try:
        found = connect_place(f"CONNECT {authority} HTTP/1.1\r\n\r\n".encode("latin-1"))
        return Place(read_host(found.host), found.port)
    except (BadConnectError, ValueError):
        raise BadRequestError("the request names no valid host and port") from None


def _shown(place: Place) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return host if place.port == _HTTP_PORT else f"{host}:{place.port}"
