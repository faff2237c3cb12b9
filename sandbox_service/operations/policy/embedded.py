"""Code within code: the line of `bash -c`, the text of `python -c`, a shell called from Python.

What is found is what stands there as text. What a program puts together as it
runs nobody can read beforehand.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ast_grep_py import SgNode

from sandbox_service.operations.policy.literals import Text, in_javascript, in_python, in_shell

_INTERPRETERS: Final = {
    **dict.fromkeys(("sh", "bash", "dash", "zsh", "ksh", "ash"), "bash"),
    **dict.fromkeys(("python", "python2", "python3", "pypy3", "ipython"), "python"),
    **dict.fromkeys(("node", "nodejs", "bun"), "javascript"),
}
_CODE_OPTION: Final = {
    "bash": re.compile(r"-[a-z]*c"),
    "python": re.compile(r"-[A-Za-z]*c"),
    "javascript": re.compile(r"-e|--eval|-p|--print|-pe"),
}
_WRAPPERS: Final = (
    "sudo|doas|env|nohup|exec|time|nice|ionice|timeout|stdbuf|setsid|command|builtin|xargs|"
    "busybox|chroot|watch"
)
_WRAPPER_NAMES: Final = frozenset(_WRAPPERS.split("|"))
_VALUE_OPTION: Final = re.compile(r"-[ugsIUCkoOWXr]")
_NO_PROGRAM: Final = re.compile(r"-.*|\w+=.*|\d+(\.\d+)?[smhd]?", re.DOTALL)

_NOT_WORDS: Final = frozenset(
    {"variable_assignment", "herestring_redirect", "file_redirect", "heredoc_redirect", "(", ")"}
)

_PYTHON_CALLS: Final = (
    "system|popen|getoutput|getstatusoutput|run|call|check_call|check_output|Popen|"
    "create_subprocess_shell|create_subprocess_exec|execl|execle|execlp|execv|execve|execvp|"
    "execvpe|spawn|spawnl|spawnlp|spawnv|spawnvp|exec|eval"
)
_JAVASCRIPT_CALLS: Final = (
    "exec|execSync|spawn|spawnSync|execFile|execFileSync|execa|execaSync|execaCommand|eval|Function"
)
_HOLDERS: Final = (
    rf"(^|/)({_WRAPPERS}|{'|'.join(_INTERPRETERS)}|(python|pypy)\d\.\d+|eval|find|su)[\"']?$"
)
_SAME_LANGUAGE: Final = frozenset({"eval", "Function"})

_ECMA: Final = frozenset(_JAVASCRIPT_CALLS.split("|"))
WORDS: Final[Mapping[str, frozenset[str]]] = {
    "bash": frozenset({*_INTERPRETERS, *_WRAPPER_NAMES, "eval", "find", "su"}),
    "python": frozenset(_PYTHON_CALLS.split("|")),
    "javascript": _ECMA,
    "typescript": _ECMA,
    "tsx": _ECMA,
}
"""Code that has none of its language's words holds no other code."""

LANGUAGES: Final = ("bash", "python", "javascript")
"""What code within code is found in."""


@dataclass(frozen=True, slots=True)
class Inner:
    """Code within code.

    Attributes:
        line, column: Where it begins in the code around it, from 1.
        verbatim: It stands there as it is, without escapes.
    """

    language: str
    text: str
    line: int
    column: int
    verbatim: bool

    @classmethod
    def of(cls, language: str, *texts: Text) -> Inner:
        """Return code that one text is, or that several are together, as a command's words."""
        first = texts[0]
        if len(texts) > 1:
            joined = shlex.join(it.value for it in texts)
            return cls(language, joined, first.line, first.column, verbatim=False)
        return cls(language, first.value, first.line, first.column, first.verbatim)


def find(language: str, root: SgNode, stdin: str) -> Iterator[Inner]:
    """Yield the code that code holds.

    Args:
        language: As ast-grep calls it.
        root: Its tree.
        stdin: What it will find on its standard input. Empty: not known.
    """
    if language == "bash":
        for command in root.find_all(kind="command", has={"field": "name", "regex": _HOLDERS}):
            yield from _in_command(command, stdin)
    elif language == "python":
        for call, name in _calls(root, "call", _PYTHON_CALLS):
            yield from _in_call(call, name, "python", in_python)
    elif language in WORDS:
        for kind in ("call_expression", "new_expression"):
            for call, name in _calls(root, kind, _JAVASCRIPT_CALLS):
                yield from _in_call(call, name, "javascript", in_javascript)


def _in_command(command: SgNode, stdin: str) -> Iterator[Inner]:
    words = [in_shell(it) for it in command.children() if it.kind() not in _NOT_WORDS]
    if not words:
        return
    name = words[0].value.rpartition("/")[2]
    if name in _WRAPPER_NAMES:
        start = _program_at(words)
        if start is not None:
            yield _rest(command, words[start])
    elif name == "find":
        yield from _found_and_run(command, words)
    elif name == "eval" and len(words) > 1:
        joined = " ".join(it.value for it in words[1:])
        alone = words[1] if len(words) == 2 else None
        yield Inner("bash", joined, words[1].line, words[1].column, bool(alone and alone.verbatim))
    elif name == "su":
        yield from _option(words, "bash")
    elif (language := _INTERPRETERS.get(re.sub(r"(?<=\d)\.\d+$", "", name))) is not None:
        given = list(_option(words, language))
        yield from given or _standard_input(command, words, language, stdin)


def _program_at(words: list[Text]) -> int | None:
    """Return the index of the word that a wrapper such as sudo runs."""
    index = 1
    while index < len(words):
        value = words[index].value
        if not _NO_PROGRAM.fullmatch(value):
            return index
        index += 2 if _VALUE_OPTION.fullmatch(value) else 1
    return None


def _rest(command: SgNode, first: Text) -> Inner:
    """Return a command from one of its words on."""
    whole = command.range()
    text = command.text()[first.index - whole.start.index :]
    return Inner("bash", text, first.node_line, first.node_column, verbatim=True)


def _found_and_run(command: SgNode, words: list[Text]) -> Iterator[Inner]:
    for index, word in enumerate(words[:-1]):
        if word.value in ("-exec", "-execdir", "-ok", "-okdir"):
            yield _rest(command, words[index + 1])


def _option(words: list[Text], language: str) -> Iterator[Inner]:
    pattern = _CODE_OPTION[language]
    index = 1
    while index + 1 < len(words) and words[index].value.startswith("-"):
        option = words[index].value
        if pattern.fullmatch(option):
            yield Inner.of(language, words[index + 1])
            return
        index += 2 if _VALUE_OPTION.fullmatch(option) else 1


def _standard_input(
    command: SgNode, words: list[Text], language: str, stdin: str
) -> Iterator[Inner]:
    """Yield what an interpreter reads that is given no script."""
    named = [it.value for it in words[1:] if not it.value.startswith("-")]
    reads = not named or words[1].value in ("-", "-s") or named[0] == "/dev/stdin"
    if not reads or any(it.value in ("-m", "--version", "-V", "-v") for it in words):
        return
    for redirect in command.children():
        if redirect.kind() == "herestring_redirect" and (parts := redirect.named_children()):
            yield Inner.of(language, in_shell(parts[-1]))
            return
    around = list(islice(command.ancestors(), 4))
    for outer in around:
        # `cat <<END | bash` is the here-document of the cat, around the pipeline.
        body = outer.find(kind="heredoc_body") if outer.kind() == "redirected_statement" else None
        if body is not None:
            start = body.range().start
            yield Inner(language, body.text(), start.line + 1, start.column + 1, verbatim=True)
            return
    for outer in around:
        if outer.kind() == "pipeline":
            yield from _printed(outer, command, language)
            return
    if stdin:
        start = command.range().start
        yield Inner(language, stdin, start.line + 1, start.column + 1, verbatim=False)


def _printed(pipeline: SgNode, command: SgNode, language: str) -> Iterator[Inner]:
    """Yield what echo or printf writes into a pipe that an interpreter reads."""
    begin = command.range().start.index
    for writer in pipeline.named_children():
        if writer.range().end.index > begin:
            return
        words = [in_shell(it) for it in writer.children() if it.kind() not in _NOT_WORDS]
        if len(words) > 1 and words[0].value in ("echo", "printf"):
            texts = [it for it in words[1:] if it.value not in ("-e", "-n", "-en", "-ne", "--")]
            for text in texts:
                yield Inner.of(language, text)


def _calls(root: SgNode, kind: str, names: str) -> Iterator[tuple[SgNode, str]]:
    field = "constructor" if kind == "new_expression" else "function"
    for call in root.find_all(kind=kind, has={"field": field, "regex": rf"(^|\.)({names})$"}):
        function = call.field(field)
        if function is not None:
            yield call, function.text()


def _in_call(
    call: SgNode, function: str, language: str, literal: Callable[[SgNode], Text | None]
) -> Iterator[Inner]:
    arguments = call.field("arguments")
    if arguments is None:
        return
    owner, _, name = function.rpartition(".")
    # Python's exec and JavaScript's are different things.
    same = name in _SAME_LANGUAGE or (name == "exec" and language == "python")
    if same and owner:
        return
    words: list[Text] = []
    for argument in islice(arguments.named_children(), 64):
        if argument.kind() in ("list", "tuple", "array"):
            values = (literal(it) for it in islice(argument.named_children(), 64))
            listed = [it for it in values if it is not None]
            # execvp("rm", ["rm", "-rf", "/"]) names its program twice.
            words = listed if listed[:1] == words[:1] else words + listed
            break
        value = literal(argument)
        if value is None:
            break
        words.append(value)
    if words:
        yield Inner.of(language if same else "bash", *(words[:1] if same else words))
