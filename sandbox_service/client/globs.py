"""The globs of `.gitignore`, made into regular expressions over bytes.

As git has them, so byte by byte: `?` is one byte, and a set names bytes. `*` stops
at a slash; `**` between slashes, or at an end beside one, is any number of folders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

NEVER: Final = b"(?!)"
"""Matches nothing: what a glob that is broken off means."""

_SLASH: Final = ord("/")
_BACKSLASH: Final = ord("\\")
_CLASSES: Final[Mapping[bytes, Callable[[bytes], bool]]] = {
    b"alpha": bytes.isalpha,
    b"digit": bytes.isdigit,
    b"alnum": bytes.isalnum,
    b"lower": bytes.islower,
    b"upper": bytes.isupper,
    b"space": bytes.isspace,
    b"blank": lambda it: it in b" \t",
    b"cntrl": lambda it: it < b" " or it == b"\x7f",
    b"graph": lambda it: b"!" <= it <= b"~",
    b"print": lambda it: b" " <= it <= b"~",
    b"punct": lambda it: b"!" <= it <= b"~" and not it.isalnum(),
    b"xdigit": lambda it: it in b"0123456789abcdefABCDEF",
}


def is_literal(glob: bytes) -> bool:
    """Return whether a glob has nothing special, so that it matches itself alone."""
    return not re.search(rb"[*?\[\\]", glob)


def escaped(name: bytes) -> bytes:
    """Return a glob that matches a name or path, and nothing else."""
    return re.sub(rb"[*?\[\\]", rb"\\\g<0>", name)


def expression(glob: bytes, *, path: bool) -> bytes:
    """Return the source of a regular expression for `fullmatch`, with `re.DOTALL`.

    Args:
        glob: What to translate.
        path: Whether it is one of whole paths, in which `**` is more than `*`.
    """
    parts: list[bytes] = []
    at = 0
    while at < len(glob):
        byte = glob[at : at + 1]
        if byte == b"*":
            end = at + len(glob[at:]) - len(glob[at:].lstrip(b"*"))
            part, at = _stars(glob, at, end) if path else (b"[^/]*", end)
        elif byte == b"?":
            part, at = b"[^/]", at + 1
        elif byte == b"[":
            members, at = _set(glob, at + 1)
            part = _one_of(members) if members else NEVER
        elif byte == b"\\":
            part = re.escape(glob[at + 1 : at + 2]) or NEVER
            at += 2
        else:
            part, at = re.escape(byte), at + 1
        parts.append(part)
    return b"".join(parts)


def _stars(glob: bytes, at: int, end: int) -> tuple[bytes, int]:
    """Translate the run of `*` from `at` to `end`. Returns it, and where it goes on."""
    alone = (at == 0 or glob[at - 1 : at] == b"/") and glob[end : end + 1] in (b"", b"/")
    if end - at == 1 or not alone:
        return b"[^/]*", end
    return (b".*", end) if end == len(glob) else (b"(?:.*/)?", end + 1)


def _one_of(members: set[int]) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % it for it in sorted(members)) + b"]"


def _set(glob: bytes, at: int) -> tuple[set[int], int]:
    """Read a set, whose `[` was before `at`.

    Returns:
        The bytes in it, none when it is broken off or names a class that is none,
        and where it goes on.
    """
    negated = glob[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    before: int | None = None
    first = True
    while at < len(glob) and (first or glob[at : at + 1] != b"]"):
        first = False
        if glob.startswith(b"[:", at) and (end := _class_end(glob, at)):
            known = _CLASSES.get(glob[at + 2 : end - 2])
            if known is None:
                return set(), len(glob)
            members |= {it for it in range(256) if known(bytes((it,)))}
            before, at = None, end
            continue
        is_range = glob[at : at + 1] == b"-" and before and glob[at + 1 : at + 2] not in (b"", b"]")
        at += bool(is_range)
        if glob[at] == _BACKSLASH:
            at += 1
            if at == len(glob):
                return set(), at
        low = before if is_range and before else glob[at]
        members |= set(range(low, glob[at] + 1))
        before = None if is_range else glob[at]
        at += 1
    if at >= len(glob):
        return set(), at
    if negated:
        members = set(range(256)) - members
    return members - {_SLASH}, at + 1


def _class_end(glob: bytes, at: int) -> int:
    """Return where `[:name:]` at `at` ends; 0 when it is only a set's members."""
    end = glob.find(b"]", at + 2)
    if end < 0:
        return len(glob)
    return end + 1 if glob[end - 1 : end] == b":" and end - 1 >= at + 2 else 0
