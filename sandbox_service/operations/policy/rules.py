"""The rules of the code policy: ast-grep's own YAML, read and checked at the start.

A document is a rule as `ast-grep scan` takes it, so that rules can be tried
with ast-grep's own tools. Of its fields these count here: `id`, `language`,
`message`, `rule`, `constraints`, `utils` and `severity`, which says what is done
about a match: `error` denies, `warning` warns, `info` and `hint` only tell, and
`off` leaves the rule out. `metadata.hints` is a list of lists of words or other
pieces of text: wherever the rule can match, the code holds at least one of each
list. Code that does not is not tried, nor even parsed when that holds for all rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, cast

import yaml
from ast_grep_py import Config, SgRoot

from sandbox_service.domain.policy import Action

_PARSED: Final = (
    "bash c cpp csharp css elixir go haskell hcl html java javascript json kotlin lua nix php "
    "python ruby rust scala solidity swift tsx typescript yaml"
)
LANGUAGES: Final = frozenset(_PARSED.split())
"""What ast-grep can parse. It panics when asked for another one."""

_ALIASES: Final = {
    "sh": "bash",
    "shell": "bash",
    "py": "python",
    "python3": "python",
    "js": "javascript",
    "jsx": "javascript",
    "node": "javascript",
    "ts": "typescript",
}
_SUPERSETS: Final = {"typescript": "javascript", "tsx": "javascript"}
"""Languages that the rules of another one hold for as well."""

_ACTIONS: Final = {
    "error": Action.DENY,
    "warning": Action.WARN,
    "info": Action.ALLOW,
    "hint": Action.ALLOW,
}
# libyaml where PyYAML has it: 20 times as fast.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MESSAGE_CHARS_MAX: Final = 300
_WORD: Final = re.compile(r"\w+")
# An escape in a string parts words too: in "\nrm -rf /" there is an rm.
_WORDS: Final = re.compile(r"\\[nrt]|\w+")
_INNER_WORD: Final = re.compile(r"(?<=\W)\w+(?=\W)")


class RulesError(Exception):
    """The rules cannot be used. The message says where and why."""


class Words:
    """The words of a text, and whether it holds other pieces of text.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = frozenset(_WORDS.findall(text))
        self._seen: dict[str, bool] = {}

    def __contains__(self, hint: str) -> bool:
        if hint in self._words:
            return True
        held = self._seen.get(hint)
        if held is None:
            # Most texts lack a word of it, and need no search.
            held = inner_words(hint) <= self._words and hint in self._text
            self._seen[hint] = held
        return held

    def isdisjoint(self, words: Iterable[str]) -> bool:
        """Return whether none of these words is one of the text's."""
        return self._words.isdisjoint(words)


@cache
def inner_words(hint: str) -> frozenset[str]:
    """Return the words of a hint that a text that holds it has. None is in every text."""
    if _WORD.fullmatch(hint):
        return frozenset({hint})
    return frozenset(_INNER_WORD.findall(hint))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        id: Unique in its language.
        language: One of `LANGUAGES`.
        action: What it asks for.
        message: One sentence for people.
        hints: Groups of texts; code that it can match holds one of each group.
        config: ast-grep's own part: `rule`, `constraints`, `utils`.
    """

    id: str
    language: str
    action: Action
    message: str
    hints: tuple[tuple[str, ...], ...]
    config: Config

    def worth_trying(self, words: Words) -> bool:
        """Return whether it may match code that holds these words."""
        return all(any(hint in words for hint in group) for group in self.hints)

    def holds_for(self, language: str) -> bool:
        """Return whether it can be tried on code of a language."""
        if self.language == language:
            return True
        return _SUPERSETS.get(language) == self.language and _problem(self, language) is None


class RuleSet:
    """Rules that have been checked.

    Args:
        documents: Where each comes from, and what it says.

    Raises:
        RulesError: One of them is no rule.
    """

    def __init__(self, documents: Iterable[tuple[str, object]]) -> None:
        self._documents = [(origin, document) for origin, document in documents if document]
        found: dict[tuple[str, str], Rule] = {}
        for origin, document in self._documents:
            rule = _rule(origin, document)
            if rule is None:
                continue
            if (rule.language, rule.id) in found:
                raise RulesError(f"{origin}: {rule.language} has a rule {rule.id!r} already")
            found[rule.language, rule.id] = rule
        self._rules = tuple(found.values())

    @classmethod
    def load(cls, folder: Path | None) -> RuleSet:
        """Read the `*.yml` and `*.yaml` of a folder, or the rules that the service ships.

        Raises:
            RulesError: There are none, or one of them is no rule.
        """
        if folder is None:
            return cls(_read(_shipped()))
        if not folder.is_dir():
            raise RulesError(f"{folder} is no folder")
        files = [it for it in sorted(folder.rglob("*")) if it.suffix in {".yml", ".yaml"}]
        rules = cls(_read((str(it), it.read_text(errors="replace")) for it in files))
        if not rules._rules:
            raise RulesError(f"{folder} holds no rules (*.yml, *.yaml)")
        return rules

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    @property
    def documents(self) -> Sequence[tuple[str, object]]:
        """What it was made of, for another process to make it again."""
        return self._documents

    def of(self, language: str) -> tuple[Rule, ...]:
        """Return the rules for code of a language."""
        return tuple(it for it in self._rules if it.holds_for(language))


def parsed_as(language: str) -> str | None:
    """Return what ast-grep calls a language. None: it knows nothing of it."""
    name = _ALIASES.get(language, language)
    return name if name in LANGUAGES else None


def _shipped() -> Iterator[tuple[str, str]]:
    folder = resources.files(__package__).joinpath("shipped")
    for file in sorted(folder.iterdir(), key=lambda it: it.name):
        if file.name.endswith(".yaml"):
            yield f"the shipped {file.name}", file.read_text()


def _read(texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, object]]:
    for origin, text in texts:
        try:
            for index, document in enumerate(yaml.load_all(text, _LOADER)):
                yield f"{origin}, document {index + 1}", document
        except yaml.YAMLError as error:
            raise RulesError(f"{origin} is not YAML: {error}") from error


def _rule(origin: str, document: object) -> Rule | None:
    """Return the rule that a document describes. None: it is switched off."""
    if not isinstance(document, dict):
        raise RulesError(f"{origin}: a rule is a mapping with id, language, message and rule")
    identifier = document.get("id")
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        raise RulesError(f"{origin}: id has to be 1 to 64 characters of [a-z0-9._-]")
    where = f"{origin}, rule {identifier}"
    severity = document.get("severity", "hint")
    # YAML 1.1 reads a bare `off` as false.
    if severity in ("off", False):
        return None
    if severity not in _ACTIONS:
        raise RulesError(f"{where}: severity has to be error, warning, info, hint or off")
    language = parsed_as(str(document.get("language", "")).lower())
    if language is None:
        raise RulesError(f"{where}: language has to be one of {', '.join(sorted(LANGUAGES))}")
    rule = Rule(
        id=identifier,
        language=language,
        action=_ACTIONS[severity],
        message=_message(where, document.get("message")),
        hints=_hints(where, document.get("metadata")),
        config=cast(
            "Config",
            {key: document[key] for key in ("rule", "constraints", "utils") if key in document},
        ),
    )
    problem = _problem(rule, language)
    if problem is not None:
        raise RulesError(f"{where}: {problem}")
    return rule


def _message(where: str, message: object) -> str:
    text = " ".join(message.split()) if isinstance(message, str) else ""
    if not 0 < len(text) <= _MESSAGE_CHARS_MAX:
        raise RulesError(f"{where}: message has to be 1 to {_MESSAGE_CHARS_MAX} characters")
    return text


def _hints(where: str, metadata: object) -> tuple[tuple[str, ...], ...]:
    hints = metadata.get("hints", []) if isinstance(metadata, dict) else []
    groups = hints if isinstance(hints, list) else [None]
    for group in groups:
        texts = group if isinstance(group, list) and group else [None]
        if not all(isinstance(it, str) and it for it in texts):
            raise RulesError(f"{where}: metadata.hints has to be a list of lists of texts")
    return tuple(map(tuple, groups))


def _problem(rule: Rule, language: str) -> str | None:
    """Return what ast-grep has against a rule, tried on nothing. None: nothing."""
    try:
        SgRoot("", language).root().find_all(rule.config)
    except Exception as error:  # noqa: BLE001 - ast-grep raises bare Exception and others.
        text = str(error).partition("Stack backtrace:")[0]
        # Its causes are numbered, the innermost last; the outer ones say nothing.
        return " ".join(re.split(r"\n\s*\d+: ", text)[-1].split()) or type(error).__name__
    return None
