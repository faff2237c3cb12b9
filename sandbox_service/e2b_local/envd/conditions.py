"""What a download's header fields ask for: conditions, ranges, encodings.

The rules are those of Go's `http.ServeContent`, on which envd stands, for files
that have a time of change and no entity tag.
"""

from __future__ import annotations

import calendar
from email.utils import parsedate
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from sandbox_service.e2b_local.http1 import Headers

Encoding = Literal["identity", "gzip"]

# A request with one of these is never answered compressed.
_CONDITIONAL: Final = (b"range", b"if-modified-since", b"if-none-match", b"if-range")
_NUMBER_DIGITS: Final = 18


class RangeError(Exception):
    """No part of the file is what the range asks for.

    Args:
        message: In envd's words.
        beyond: Whether the range is a proper one that lies behind the file's end.
    """

    def __init__(self, message: str, *, beyond: bool) -> None:
        super().__init__(message)
        self.message = message
        self.beyond = beyond


def is_conditional(headers: Headers) -> bool:
    """Whether an answer may depend on more than the file's path."""
    return any(headers.get(name) for name in _CONDITIONAL)


def unmet_condition(headers: Headers, modified_at: int) -> Literal[304, 412] | None:
    """Check the conditions of a GET or HEAD.

    Args:
        headers: The request's.
        modified_at: When the file was changed, in seconds since 1970. 0: unknown.

    Returns:
        The status to answer with instead of the file. None: every condition holds.
    """
    if_match = headers.get(b"if-match")
    limit = _date(headers, b"if-unmodified-since", modified_at)
    if if_match and not _names_any(if_match):
        return 412
    if not if_match and limit is not None and modified_at > limit:
        return 412
    if_none_match = headers.get(b"if-none-match")
    if if_none_match:
        return 304 if _names_any(if_none_match) else None
    known = _date(headers, b"if-modified-since", modified_at)
    return 304 if known is not None and modified_at <= known else None


def requested_range(headers: Headers, modified_at: int, size: int) -> tuple[int, int] | None:
    """Read which bytes are asked for.

    Several ranges at once are answered with the whole file, as is a range of a file
    that is not the one of `If-Range` any more.

    Args:
        headers: The request's.
        modified_at: When the file was changed, in seconds since 1970.
        size: Of the file, in bytes.

    Returns:
        Begin and end. None: the whole file.

    Raises:
        RangeError: The file has no such bytes, or it is no range.
    """
    value = headers.get(b"range")
    if not value:
        return None
    if headers.get(b"if-range") and _date(headers, b"if-range", modified_at) != modified_at:
        return None
    unit, equals, listed = value.partition("=")
    if unit != "bytes" or not equals:
        raise RangeError("invalid range", beyond=False)
    parts = [part.strip() for part in listed.split(",") if part.strip()]
    found = [part for part in (_one_range(part, size) for part in parts) if part is not None]
    if parts and not found:
        if size == 0:
            return None
        raise RangeError("invalid range: failed to overlap", beyond=True)
    return found[0] if len(found) == 1 else None


def accepted_encoding(header: str | None) -> Encoding | None:
    """Choose how a whole file is sent.

    Plain bytes are always right unless the client refuses them; it gets gzip when
    that is the one thing it names.

    Returns:
        None: it accepts neither.
    """
    quality: dict[str, float] = {}
    for part in (header or "").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if name:
            quality[name] = _quality(parameters)
    if quality.get("identity") != 0:
        return "gzip" if quality.keys() == {"gzip"} and quality["gzip"] > 0 else "identity"
    return "gzip" if quality.get("gzip", quality.get("*", 0)) > 0 else None


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                break
    return 1.0


def _names_any(value: str) -> bool:
    return "*" in (tag.strip() for tag in value.split(","))


def _date(headers: Headers, name: bytes, modified_at: int) -> int | None:
    """Read a date, if there is one and something to compare it with."""
    parsed = parsedate(headers.get(name) or "")
    if parsed is None or modified_at == 0:
        return None
    try:
        return calendar.timegm(parsed)
    except (ValueError, OverflowError):
        return None


def _one_range(part: str, size: int) -> tuple[int, int] | None:
    """Read one range. None: it lies behind the end."""
    first, dash, last = (piece.strip() for piece in part.partition("-"))
    digits = first + last
    if not dash or not digits.isascii() or not digits.isdigit() or len(digits) > 2 * _NUMBER_DIGITS:
        raise RangeError("invalid range", beyond=False)
    if not first:
        length = min(int(last), size)
        return (size - length, size) if length else None
    begin = int(first)
    if begin >= size:
        return None
    if last and int(last) < begin:
        raise RangeError("invalid range", beyond=False)
    return begin, min(size, int(last) + 1) if last else size
