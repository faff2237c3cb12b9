"""What a sync tells the service to leave alone, made from what it leaves out itself.

The service takes patterns like those of `.gitignore`, but without `!`. So only those
are passed on that nothing can take back, and only as far as both read them alike:
then the service excludes nothing that the client would send or delete. What else the
rules leave out shows up in the plan as extra, and the client, who knows all rules,
does not have it deleted. Passing patterns on makes a sync cheap (a sandbox's own
`node_modules` is not even listed) and its digest exact; the rest makes it right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from sandbox_service.client.globs import escaped, expression, is_literal
from sandbox_service.client.ignores import Ignores, Pattern, PatternList

_PATTERNS_MAX: Final = 256
_PATTERN_BYTES_MAX: Final = 1024
_ALL_BYTES_MAX: Final = 16 * 1024
_STARS_MAX: Final = 16

# Sets that the service reads as git does: letters, digits and ranges of them.
_SETS: Final = re.compile(rb"\[[!^]?(?:a-z|A-Z|0-9|[A-Za-z0-9_.])+\]")


def excludes(ignores: Ignores) -> list[str]:
    """Return the patterns for the service, the caller's own first."""
    found: dict[str, None] = {}
    room = _ALL_BYTES_MAX
    for text in _firm(ignores):
        room -= len(text.encode())
        if room < 0 or len(found) == _PATTERNS_MAX:
            break
        found[text] = None
    return list(found)


def _firm(ignores: Ignores) -> Iterator[str]:
    lists = [ignores.firm, *ignores.lists]
    for patterns in lists:
        stronger = [] if patterns is ignores.firm else [it for it in lists if _wins(it, patterns)]
        taken_back = [it for other in stronger for it in other.patterns if it.negated]
        for at, pattern in enumerate(patterns.patterns):
            later = [it for it in patterns.patterns[at + 1 :] if it.negated]
            if pattern.negated or any(_overlap(pattern, it) for it in later + taken_back):
                continue
            text = _text(pattern, patterns)
            if text is not None:
                yield text


def _wins(one: PatternList, other: PatternList) -> bool:
    """Return whether patterns of `one` can be about entries of `other`, and win there."""
    if one.above or other.above:
        return len(one.above) < len(other.above)
    return one.base != other.base and f"{one.base}/".startswith(f"{other.base}/" * bool(other.base))


def _overlap(one: Pattern, other: Pattern) -> bool:
    """Return whether one entry might match both: whether their last names allow it."""
    first, second = (it.glob.rpartition(b"/")[2] for it in (one, other))
    if is_literal(first):
        return re.fullmatch(expression(second, path=False), first, re.DOTALL) is not None
    if is_literal(second):
        return re.fullmatch(expression(first, path=False), second, re.DOTALL) is not None
    return True


def _text(pattern: Pattern, patterns: PatternList) -> str | None:
    """Return a pattern as the service is to have it; None when it cannot be said there."""
    glob = pattern.glob
    if patterns.above and pattern.anchored:
        # Of a path above the root only the part below it means anything to the service.
        above = os.fsencode(patterns.above)
        if not glob.startswith(above) or not is_literal(above):
            return None
        glob = glob[len(above) :]
    if pattern.anchored:
        glob = b"/" + glob
    if patterns.base:
        within = b"" if pattern.anchored else b"/**/"
        glob = b"/" + escaped(os.fsencode(patterns.base)) + within + glob
    glob += b"/" * pattern.folders_only
    rest = _SETS.sub(b"", glob)
    if (
        # `?` is a byte to git and a character to the service.
        any(it in rest for it in (b"?", b"[", b"\n", b"***"))
        or glob.count(b"*") > _STARS_MAX
        or len(glob) > _PATTERN_BYTES_MAX
        or _ends_with_escape(glob.removesuffix(b"/"))
        or any(it in (b"", b".", b"..") for it in glob.strip(b"/").split(b"/"))
    ):
        return None
    try:
        return glob.decode()
    except UnicodeDecodeError:
        return None


def _ends_with_escape(glob: bytes) -> bool:
    return (len(glob) - len(glob.rstrip(b"\\"))) % 2 == 1
