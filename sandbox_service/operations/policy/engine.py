"""Finds what the rules say of a program: in its code, and in the code within that code."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from ast_grep_py import SgNode, SgRoot

from sandbox_service.domain.execs import Argv, Program, ShellCommand, SourceCode
from sandbox_service.domain.policy import FINDINGS_MAX, Finding
from sandbox_service.operations.policy import embedded
from sandbox_service.operations.policy.rules import RuleSet, Words, inner_words, parsed_as

_DEPTH_MAX: Final = 4
"""How deep code within code is looked into: in `bash -c "python -c '...'"` it is 2."""

_PIECES_MAX: Final = 1000
_EMBEDDED_CHARS_MIN: Final = 64 * 1024


class TooNestedError(Exception):
    """The code holds more code within code than is looked into."""


@dataclass(frozen=True, slots=True)
class Code:
    """What is looked at.

    Attributes:
        language: As ast-grep calls it.
        text: The code.
        stdin: What the program will find on its standard input. Empty: not known.
    """

    language: str
    text: str
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Code, and where it lies in the code that was given.

    Attributes:
        line, column: Of its beginning, from 1.
        verbatim: It stands there as it is, so that places in it can be told.
    """

    code: Code
    depth: int = 0
    line: int = 1
    column: int = 1
    verbatim: bool = True

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Return where in the given code a place of this piece is; both count from 1."""
        if not self.verbatim:
            return self.line, self.column
        return self.line + line - 1, column + (self.column - 1 if line == 1 else 0)

    def holding(self, inner: embedded.Inner) -> _Piece:
        """Return a piece that lies in this one."""
        line, column = self.place(inner.line, inner.column)
        return _Piece(
            Code(inner.language, inner.text, self.code.stdin),
            self.depth + 1,
            line,
            column,
            self.verbatim and inner.verbatim,
        )


def code_of(program: Program, stdin: bytes | None = None) -> Code | None:
    """Return what there is to look at. None: code of a language that cannot be parsed.

    An argv is looked at as the command line that it would be.
    """
    given = (stdin or b"").decode(errors="replace")
    match program:
        case ShellCommand(line=line):
            return Code("bash", line, given)
        case Argv(args=args):
            return Code("bash", shlex.join(args), given)
        case SourceCode(language=language, code=code):
            known = parsed_as(language)
            return None if known is None else Code(known, code.decode(errors="replace"), given)


@dataclass(frozen=True, slots=True)
class _Gate:
    """What lets code in to be looked at more closely: a word, or another piece of text."""

    words: frozenset[str]
    texts: tuple[str, ...]

    def keeps_out(self, words: Words) -> bool:
        """Return whether a text has none of them."""
        return words.isdisjoint(self.words) and not any(it in words for it in self.texts)


class Engine:
    """Applies rules to code. Pure and blocking, and holds the interpreter while it parses.

    Args:
        rules: The rules.
    """

    def __init__(self, rules: RuleSet) -> None:
        self._rules = cache(rules.of)
        self._gate = cache(self._gate_of)

    def worth_parsing(self, code: Code) -> bool:
        """Return whether a rule may match. Cheap: looks for words and parses nothing."""
        return self._worth_parsing(code, Words(code.text))

    def findings(self, code: Code) -> tuple[Finding, ...]:
        """Return what the rules say, in the order of the code, at most `FINDINGS_MAX`.

        Raises:
            TooNestedError: It holds too much code within code.
        """
        found: dict[tuple[int, int, str], Finding] = {}
        waiting = deque([_Piece(code)])
        pieces = 0
        room = max(_EMBEDDED_CHARS_MIN, 2 * len(code.text))
        while waiting:
            piece = waiting.popleft()
            words = Words(piece.code.text)
            if not self._worth_parsing(piece.code, words):
                continue
            root = SgRoot(piece.code.text, piece.code.language).root()
            for finding in self._in(piece, root, words):
                found.setdefault((finding.line, finding.column, finding.rule_id), finding)
            if piece.depth == _DEPTH_MAX:
                continue
            for inner in embedded.find(piece.code.language, root, piece.code.stdin):
                pieces += 1
                room -= len(inner.text)
                if pieces > _PIECES_MAX or room < 0:
                    raise TooNestedError
                waiting.append(piece.holding(inner))
        strictest = sorted(found, key=lambda place: (-found[place].action, place))
        return tuple(found[place] for place in sorted(strictest[:FINDINGS_MAX]))

    def _gate_of(self, language: str) -> _Gate:
        """Return what all code has that a rule can match, or that other code may be within."""
        words, texts = set(embedded.WORDS.get(language, ())), set[str]()
        for rule in self._rules(language):
            # Code that it matches holds one text of each group: the first tells enough.
            for hint in rule.hints[0] if rule.hints else ("",):
                (words if inner_words(hint) else texts).update(inner_words(hint) or {hint})
        return _Gate(frozenset(words), tuple(texts))

    def _worth_parsing(self, code: Code, words: Words) -> bool:
        if self._gate(code.language).keeps_out(words):
            return False
        if any(it.worth_trying(words) for it in self._rules(code.language)):
            return True
        if words.isdisjoint(embedded.WORDS.get(code.language, ())):
            return False
        if code.stdin:
            words = Words(f"{code.text}\n{code.stdin}")
        # Code within it may be in any language, and may come by its standard input.
        return any(
            it.worth_trying(words)
            for language in embedded.LANGUAGES
            for it in self._rules(language)
        )

    def _in(self, piece: _Piece, root: SgNode, words: Words) -> Iterator[Finding]:
        for rule in self._rules(piece.code.language):
            if not rule.worth_trying(words):
                continue
            for node in root.find_all(rule.config):
                start = node.range().start
                line, column = piece.place(start.line + 1, start.column + 1)
                yield Finding(
                    rule_id=rule.id,
                    action=rule.action,
                    message=rule.message,
                    line=line,
                    column=column,
                )
