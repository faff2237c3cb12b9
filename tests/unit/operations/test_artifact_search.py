"""Which files the globs of an exec mean, and what the search's answer says."""

from __future__ import annotations

import re

import pytest

from sandbox_service.domain.errors import InvalidPathError
from sandbox_service.operations.artifact_search import (
    Globs,
    _escaped,
    _media_type,
    _parsed,
    is_moment,
)
from sandbox_service.operations.commands import CommandResult

SHA = "ab" * 32


def matches(glob: str, path: str) -> bool:
    return re.fullmatch(Globs.of([glob]).expression, b"./" + path.encode(), re.DOTALL) is not None


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*", "a"),
        ("*", ".hidden"),
        ("**", "a/b/c"),
        ("**/*.py", "a.py"),
        ("**/*.py", "a/b.py"),
        ("a/**", "a/b/c"),
        ("a/**/z", "a/z"),
        ("a/**/z", "a/b/c/z"),
        ("?", "ü"),
        ("[a-c][!x]", "by"),
        (r"\*", "*"),
        ("#a", "#a"),
        ("a ", "a "),
        ("  ", "  "),
        ("a\\ ", "a "),
        ("a\\\\ ", "a\\ "),
        ("!a", "!a"),
    ],
)
def test_a_glob_matches(glob, path):
    """As in most shells; a leading dot is nothing special."""
    assert matches(glob, path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*", "a/b"),
        ("*.py", "a/b.py"),
        ("a/*", "a/b/c"),
        ("a", "b/a"),
        ("a", "a/b"),
        ("a/**", "a"),
        ("?", "ab"),
        ("?", "/"),
        (".", "a"),
        ("[!x]", "x"),
        ("a ", "a"),
    ],
)
def test_a_glob_does_not_match(glob, path):
    """Neither deeper, nor elsewhere, nor what lies in a folder of that name."""
    try:
        assert not matches(glob, path)
    except InvalidPathError:
        assert glob == "."


@pytest.mark.parametrize(
    ("globs", "starts"),
    [
        (["*.txt"], (".",)),
        (["out/*.txt", "out/deep/**"], ("./out",)),
        (["out/a", "outer/b"], ("./out", "./outer")),
        (["a/*/b/c", r"d\e/f/g"], (".",)),
        (["a/b*", "c/d/e"], ("./a", "./c/d")),
    ],
)
def test_the_search_begins_as_deep_as_it_can(globs, starts):
    """Nobody walks through all of a home for what lies in one folder."""
    assert Globs.of(globs).starts == starts


def test_globs_that_become_too_long_for_an_argument_are_refused():
    """Not only when the program has run."""
    with pytest.raises(InvalidPathError) as refused:
        Globs.of(["?" * 900] * 4)

    assert [it.field for it in refused.value.violations] == ["artifact_globs"]


def test_an_expression_survives_printf():
    """It goes as an argument, which has to be text, and through `%b`."""
    expression = Globs.of(["?\\*.ü"]).expression
    escaped = _escaped(expression)

    assert escaped.isascii()
    undone = re.sub(
        r"\\\\|\\x(..)", lambda it: "\\" if it[1] is None else chr(int(it[1], 16)), escaped
    )
    assert undone.encode("latin-1") == expression


@pytest.mark.parametrize(
    ("path", "first", "media_type"),
    [
        ("/a/report.pdf", b"", "application/pdf"),
        ("/a/report", b"%PDF-1.7", "application/pdf"),
        ("/a/page.html", b"%PDF-1.7", "text/html"),
        ("/a/data.tar.gz", b"\x1f\x8b\x08", "application/gzip"),
        ("/a/data.unknown", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("/a.d/data", b"hello", "application/octet-stream"),
        ("/a/.png", b"", "application/octet-stream"),
    ],
)
def test_a_type_is_told_by_the_name_and_else_by_the_content(path, first, media_type):
    """The name is what whoever wrote the file meant."""
    assert _media_type(path, first) == media_type


def answer(text: str, exit_code: int = 0) -> CommandResult:
    return CommandResult(exit_code, "", text.encode(), b"")


def test_an_answer_is_read():
    """Also of an empty file, whose first bytes are as empty as what ends the list."""
    fields = ["/home/", "2 5", "./a", "0 644 1.5", "", "./b/c", "5 600 2", "hello", ""]
    found = _parsed(answer("\0".join([*fields, f"{SHA}  ./b/c\n"])))

    assert (found.count, found.size, found.failure_reason) == (2, 5, "")
    assert [it.path for it in found.artifacts] == ["/home/a", "/home/b/c"]
    assert [it.sha256.hex() for it in found.artifacts] == ["", SHA]
    assert [it.mode for it in found.artifacts] == [0o644, 0o600]


def test_names_that_would_break_a_line_are_read():
    """sha256sum escapes them."""
    fields = ["/", "2 2", "./a\nb", "1 644 1.5", "", "./c\\d\r", "1 644 2", "", ""]
    lines = f"\\{SHA}  ./a\\nb\n\\{SHA}  ./c\\\\d\\r\n"
    found = _parsed(answer("\0".join([*fields, lines])))

    assert [it.path for it in found.artifacts] == ["/a\nb", "/c\\d\r"]
    assert [it.sha256.hex() for it in found.artifacts] == [SHA, SHA]


def test_where_nothing_can_be_looked_for_that_is_told():
    """It is not that nothing was left."""
    assert _parsed(answer("", exit_code=4)).failure_reason == "NOT_SUPPORTED_BY_BACKEND"


@pytest.mark.parametrize(
    "text", ["", "/\0", "/\0x y\0\0", "/\0001 1\0./a\0\0", "/\0001 1\0./a\0junk\0\0\0"]
)
def test_an_answer_that_makes_no_sense_is_told_as_a_failure(text):
    """The program may have replaced what answers."""
    assert _parsed(answer(text)).failure_reason == "BACKEND_PROTOCOL_ERROR"


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("1790000000.123456", True),
        ("1790000000", True),
        ("", False),
        ("now", False),
        ("1 -delete", False),
        ("-1", False),
        ("1\n", False),
    ],
)
def test_a_moment_is_a_number_and_nothing_else(text, yes):
    """It goes to `find`, and may come from a record that the program wrote."""
    assert is_moment(text) is yes
