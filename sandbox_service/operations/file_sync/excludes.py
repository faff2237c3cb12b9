r"""Patterns of paths that a sync leaves alone.

The syntax is that of `.gitignore`, without negation:

* `name` matches an entry of that name at any depth; a pattern with a slash at
  its beginning or in its middle is matched from the root instead;
* a trailing slash matches folders only; what lies below a matched folder is
  matched with it;
* `*` is any run of characters without a slash, `?` one of them, `[a-z]` one of
  a set and `[!a-z]` one outside it; a backslash takes the next one literally;
* `**/` at the beginning or in the middle is any number of folders, `/**` at
  the end is everything below;
* empty lines and lines that begin with `#` are skipped.

Each pattern becomes a POSIX extended regular expression over bytes, which both
`find` in the sandbox and Python's `re` understand, so both decide alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sandbox_service.domain.errors import InvalidRequestError

PATTERNS_MAX: Final = 256
PATTERN_BYTES_MAX: Final = 1024
WILDCARDS_MAX: Final = 16

EXPRESSION_BYTES_MAX: Final = 100_000
"""All patterns together are one argument of `find`; the kernel takes 131,071 bytes."""

# A character of UTF-8, or one byte that is none, but no slash.
_CHARACTER: Final = b"([^/\x80-\xff]|[\xc2-\xf4][\x80-\xbf]+)"
_SPECIAL: Final = b".^$*+?()[]{}|\\"


class Excludes:
    """The patterns of one sync.

    Args:
        patterns: As the caller wrote them.
        field: The request's field that they come from, for errors.

    Raises:
        InvalidRequestError: A pattern cannot be understood, or is a negation.
    """

    def __init__(self, patterns: Sequence[str], field: str = "header.excludes") -> None:
        if len(patterns) > PATTERNS_MAX:
            raise InvalidRequestError.of(field, f"has more than {PATTERNS_MAX} entries")
        anything: list[bytes] = []
        folders: list[bytes] = []
        for index, pattern in enumerate(patterns):
            _translate(pattern, f"{field}[{index}]", anything, folders)
        self.anything = b"|".join(anything)
        """Matches `./` and the path of what is excluded, whatever it is. Empty: nothing is."""
        self.folders = b"|".join(folders)
        """Matches `./` and the path of folders that are excluded. Empty: none are."""
        if max(len(self.anything), len(self.folders)) > EXPRESSION_BYTES_MAX:
            raise InvalidRequestError.of(field, "is too long in all; use `*`, or less")
        self._anything = _compiled(self.anything)
        self._folders = _compiled(b"|".join(filter(None, (self.anything, self.folders))))

    def match(self, path: str, *, folder: bool) -> bool:
        """Return whether a path is excluded, by itself or with a folder that it lies in."""
        if self._folders is None:
            return False
        if self.match_itself(path, folder=folder):
            return True
        while path := path.rpartition("/")[0]:
            if self.match_itself(path, folder=True):
                return True
        return False

    def match_itself(self, path: str, *, folder: bool) -> bool:
        """Return whether a path is excluded, whatever becomes of the folders it lies in."""
        pattern = self._folders if folder else self._anything
        return pattern is not None and pattern.fullmatch(b"./" + path.encode()) is not None


def _compiled(expression: bytes) -> re.Pattern[bytes] | None:
    return re.compile(expression, re.DOTALL) if expression else None


def _translate(pattern: str, field: str, anything: list[bytes], folders: list[bytes]) -> None:
    """Add the expression of one pattern to the list that it belongs to."""
    raw = pattern.encode()
    if len(raw) > PATTERN_BYTES_MAX:
        raise InvalidRequestError.of(field, f"is longer than {PATTERN_BYTES_MAX} bytes")
    if b"\0" in raw or b"\n" in raw:
        raise InvalidRequestError.of(field, "contains a NUL or a line break")
    if raw.startswith(b"!"):
        raise InvalidRequestError.of(field, "is a negation, which is not supported")
    if raw.count(b"*") > WILDCARDS_MAX:
        raise InvalidRequestError.of(field, f"has more than {WILDCARDS_MAX} wildcards")
    while raw.endswith(b" ") and not raw.endswith(b"\\ "):
        raw = raw[:-1]
    if not raw or raw.startswith(b"#"):
        return
    body = raw.removesuffix(b"/")
    anchored = b"/" in body
    body = body.removeprefix(b"/")
    if not body or any(name in (b"", b".", b"..") for name in body.split(b"/")):
        raise InvalidRequestError.of(field, "has an empty, '.' or '..' component")
    start = rb"\./" if anchored else rb"\./(.*/)?"
    (folders if raw.endswith(b"/") else anything).append(start + _expression(body, field))


def _expression(body: bytes, field: str) -> bytes:
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        rest = body[at:]
        byte = rest[:1]
        begins_name = at == 0 or body[at - 1 : at] == b"/"
        if begins_name and rest.startswith(b"**/"):
            parts.append(b"(.*/)?")
            at += 3
        elif begins_name and at and rest == b"**":
            parts.append(b".+")
            at += 2
        elif byte == b"*":
            parts.append(b"[^/]*")
            at += len(rest) - len(rest.lstrip(b"*"))
        elif byte == b"?":
            parts.append(_CHARACTER)
            at += 1
        elif byte == b"[":
            expression, length = _set(rest, field)
            parts.append(expression)
            at += length
        elif byte == b"\\":
            if len(rest) == 1:
                raise InvalidRequestError.of(field, "ends with a backslash")
            parts.append(_literal(rest[1:2]))
            at += 2
        else:
            parts.append(_literal(byte))
            at += 1
    return b"".join(parts)


def _literal(byte: bytes) -> bytes:
    return b"\\" + byte if byte in _SPECIAL else byte


def _set(rest: bytes, field: str) -> tuple[bytes, int]:
    """Translate a set of characters at the beginning of `rest`.

    Only plain sets: POSIX and Python read classes, escapes and sets of
    several bytes differently, so those are refused.
    """
    found = re.match(rb"\[([!^]?)([A-Za-z0-9_.,+=@%~ -]+)\]", rest)
    if found is None:
        raise InvalidRequestError.of(
            field, "has a set of other characters than ASCII letters, digits and _.,+=@%~ -"
        )
    negated, members = found.groups()
    if re.search(rb"[^A-Za-z0-9]-.|.-[^A-Za-z0-9]|.-.-", members) or _descends(members):
        raise InvalidRequestError.of(field, "has a range that is not one of letters or digits")
    return (b"[^/" if negated else b"[") + members + b"]", found.end()


def _descends(members: bytes) -> bool:
    return any(low > high for low, high in re.findall(rb"([A-Za-z0-9])-([A-Za-z0-9])", members))
