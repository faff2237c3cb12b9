"""The values of words and strings, as far as they stand in the code."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from ast_grep_py import SgNode

_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(\n|.))", re.DOTALL)
_CONTROL: Final = {"n": "\n", "t": "\t", "r": "\r", "\n": ""}


@dataclass(frozen=True, slots=True)
class Text:
    """A value that code gives literally.

    Attributes:
        value: It, without quotes and escapes. What is put in as the program
            runs, such as `$HOME`, is still as it was written.
        line, column: Where its first character stands, from 1.
        verbatim: The code has it just so.
        node_line, node_column: Where its quotes begin, if there are any.
        index: The same, in characters from the beginning of the code.
    """

    value: str
    line: int = field(compare=False)
    column: int = field(compare=False)
    verbatim: bool = field(compare=False)
    node_line: int = field(compare=False)
    node_column: int = field(compare=False)
    index: int = field(compare=False)


def in_shell(node: SgNode) -> Text:
    """Return the value of a word of bash."""
    text, kind = node.text(), node.kind()
    if kind == "command_name" and (inner := node.child(0)) is not None:
        return in_shell(inner)
    match kind:
        case "raw_string":
            return _text(node, text[1:-1], text[1:-1], 1)
        case "ansi_c_string":
            return _text(node, text[2:-1], unescaped(text[2:-1]), 2)
        case "string":
            return _text(node, text[1:-1], re.sub(r"\\([\\\"$`\n])", r"\1", text[1:-1]), 1)
        case "concatenation":
            value = "".join(in_shell(it).value for it in node.children())
            return _text(node, text, value, 0)
        case _:
            return _text(node, text, re.sub(r"\\(.)", r"\1", text), 0)


def in_python(node: SgNode) -> Text | None:
    """Return the value of a string of Python. None: it is none."""
    if node.kind() == "concatenated_string":
        parts = [in_python(it) for it in node.named_children()]
        value = "".join(it.value for it in parts if it is not None)
        return _text(node, node.text(), value, 0)
    if node.kind() != "string":
        return None
    children = node.children()
    opening, closing = children[0].text(), children[-1].text()
    raw = node.text()[len(opening) : len(node.text()) - len(closing)]
    value = raw if "r" in opening.lower() else unescaped(raw)
    return _text(node, raw, value, len(opening))


def in_javascript(node: SgNode) -> Text | None:
    """Return the value of a string or template of JavaScript. None: it is none."""
    if node.kind() not in ("string", "template_string"):
        return None
    raw = node.text()[1:-1]
    return _text(node, raw, unescaped(raw), 1)


def unescaped(text: str) -> str:
    """Return text with the escapes resolved that the languages have in common."""

    def resolved(match: re.Match[str]) -> str:
        byte, letter, other = match.groups()
        if byte or letter:
            code = int(byte or letter, 16)
            # Half of a pair is no character.
            return "\ufffd" if 0xD800 <= code <= 0xDFFF else chr(code)
        return _CONTROL.get(other, other)

    return _ESCAPE.sub(resolved, text) if "\\" in text else text


def _text(node: SgNode, raw: str, value: str, quotes: int) -> Text:
    start = node.range().start
    return Text(
        value,
        start.line + 1,
        start.column + 1 + quotes,
        value == raw,
        start.line + 1,
        start.column + 1,
        start.index,
    )
