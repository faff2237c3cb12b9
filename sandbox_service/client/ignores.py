"""Which files a sync leaves out: `.gitignore` files as git reads them, and the caller's patterns.

The last pattern that matches an entry decides, and a deeper `.gitignore` wins over one
above it. A folder that is left out is not entered, so nothing in it can come back.
Python's `pathspec` is not used: it keeps folders out that `*` and `!*/` let in, and
stumbles over names with line breaks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sandbox_service.client.globs import expression

GITIGNORE: Final = ".gitignore"
_GIT: Final = ".git"


class IgnoreError(ValueError):
    """A pattern of the caller's cannot be understood; the message says why."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of a `.gitignore`.

    Attributes:
        glob: Of a name, or of a path when `anchored`; no slash at its ends.
        negated: It takes back what an earlier pattern left out.
        folders_only: It is about folders alone.
        anchored: It is about paths from the pattern's own folder, not about names.
        regex: The source of its regular expression.
    """

    glob: bytes
    negated: bool
    folders_only: bool
    anchored: bool
    regex: bytes

    @classmethod
    def parse(cls, line: bytes) -> Pattern | None:
        """Return the pattern of a line; None for comments and empty lines."""
        line = _trimmed(line)
        if line.startswith(b"#"):
            return None
        negated = line.startswith(b"!")
        line = line[negated:]
        folders_only = line.endswith(b"/")
        line = line[: len(line) - folders_only]
        anchored = b"/" in line
        glob = line.removeprefix(b"/")
        if not glob:
            return None
        return cls(glob, negated, folders_only, anchored, expression(glob, path=anchored))


class PatternList:
    """The patterns of one `.gitignore`.

    Args:
        patterns: In the order of its lines.
        base: The folder that it is in, relative to the root of the sync. Empty: the root.
        above: The path from its folder to the root, with a slash at the end, when it
            lies above the root; else empty.
    """

    def __init__(self, patterns: Iterable[Pattern], base: str = "", above: str = "") -> None:
        self.patterns = tuple(patterns)
        self.base = base
        self.above = above
        self._skip = len(os.fsencode(base)) + 1 if base else 0
        self._above = os.fsencode(above)
        self._compiled = [re.compile(it.regex, re.DOTALL) for it in self.patterns]
        self._names = _any(it.regex for it in self.patterns if not it.anchored)
        self._paths = _any(it.regex for it in self.patterns if it.anchored)

    @classmethod
    def read(cls, content: bytes, base: str = "", above: str = "") -> PatternList:
        """Return the patterns of a file's content."""
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        return cls(
            filter(None, (Pattern.parse(it.removesuffix(b"\r")) for it in lines)), base, above
        )

    def verdict(self, path: bytes, *, folder: bool) -> bool | None:
        """Return whether an entry is left out; None when no pattern is about it."""
        own = self._above + path[self._skip :]
        name = own.rpartition(b"/")[2]
        # Most entries are no pattern's business: two expressions tell.
        if not self._names.fullmatch(name) and not self._paths.fullmatch(own):
            return None
        for pattern, regex in zip(reversed(self.patterns), reversed(self._compiled), strict=True):
            if (folder or not pattern.folders_only) and regex.fullmatch(
                own if pattern.anchored else name
            ):
                return not pattern.negated
        return None


class Ignores:
    """All patterns of one tree.

    Args:
        excludes: The caller's own, which win over every `.gitignore`; without `!`.

    Raises:
        IgnoreError: One of them is a negation, or no pattern.
    """

    def __init__(self, excludes: Sequence[str] = ()) -> None:
        self.firm = PatternList(map(_exclude, (_GIT, *excludes)))
        """What no `.gitignore` can take back."""
        self._above: list[PatternList] = []
        self._by_folder: dict[str, PatternList] = {}

    @property
    def lists(self) -> Iterator[PatternList]:
        """Every list but `firm`, those that win last."""
        yield from self._above
        for folder in sorted(self._by_folder):
            yield self._by_folder[folder]

    def add(self, content: bytes, folder: str) -> None:
        """Heed the `.gitignore` of a folder. Empty: the root's."""
        found = PatternList.read(content, folder)
        if found.patterns:
            self._by_folder[folder] = found

    def add_above(self, content: bytes, above: str) -> None:
        """Heed the `.gitignore` of a folder above the root; the outermost first.

        Args:
            content: Of the file.
            above: The path from its folder to the root, with a slash at the end.
        """
        self._above.append(PatternList.read(content, "", above))

    def of_folder(self, folder: str) -> tuple[PatternList, ...]:
        """Return the lists that are about the entries of a folder, those that win first."""
        found = [self.firm]
        while folder:
            if folder in self._by_folder:
                found.append(self._by_folder[folder])
            folder = folder.rpartition("/")[0]
        if "" in self._by_folder:
            found.append(self._by_folder[""])
        return (*found, *reversed(self._above))

    def match(self, path: str, *, folder: bool) -> bool:
        """Return whether a path is left out, by itself or with a folder that it lies in."""
        names = path.split("/")
        for depth in range(1, len(names) + 1):
            lists = self.of_folder("/".join(names[: depth - 1]))
            entry = os.fsencode("/".join(names[:depth]))
            if left_out(lists, entry, folder=folder or depth < len(names)):
                return True
        return False


def left_out(lists: Iterable[PatternList], path: bytes, *, folder: bool) -> bool:
    """Return whether an entry is left out, its folder being in.

    Args:
        lists: As `Ignores.of_folder` has them.
        path: Relative to the root.
        folder: Whether it is one.
    """
    for patterns in lists:
        verdict = patterns.verdict(path, folder=folder)
        if verdict is not None:
            return verdict
    return False


def _exclude(text: str) -> Pattern:
    pattern = Pattern.parse(os.fsencode(text))
    if pattern is None or pattern.negated or "\0" in text or "\n" in text:
        raise IgnoreError(
            f"{text!r} is no pattern to exclude by: it is empty, a comment, "
            "or has a leading '!' or a line break"
        )
    return pattern


def _any(expressions: Iterable[bytes]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(expressions) or rb"(?!)", re.DOTALL)


def _trimmed(line: bytes) -> bytes:
    """Return a line without the spaces at its end that no backslash protects."""
    at = end = 0
    while at < len(line):
        if line[at : at + 1] == b"\\":
            at += 2
            end = at
        else:
            at += 1
            end = end if line[at - 1 : at] == b" " else at
    return line[:end]
