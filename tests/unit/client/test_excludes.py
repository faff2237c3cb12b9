"""What the service is told to leave alone is never more than what the client leaves out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox_service.client.excludes import excludes
from sandbox_service.client.ignores import Ignores
from sandbox_service.operations.file_sync.excludes import Excludes
from tests.unit.client.ignore_lines import LINES, PATHS, ignores, quirky


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["node_modules/", "/dist", "*.py[co]"], ["node_modules/", "/dist", "*.py[co]"]),
        (["*.log", "!keep.log"], []),
        (["*.log", "!keep.txt"], ["*.log"]),
        (["node_modules/", "*", "!*.py"], ["node_modules/"]),
        (["!a", "a"], ["a"]),
        (["a?", "[[:digit:]]", "ok"], ["ok"]),
        (["a\\", "b/./c", "ok"], ["ok"]),
    ],
)
def test_only_what_nothing_takes_back_is_passed_on(lines, expected):
    """And only what both sides read alike."""
    assert excludes(ignores(*lines)) == [".git", *expected]


def test_a_deeper_file_speaks_of_its_own_folder():
    """Its name may have what would be special in a pattern."""
    rules = Ignores()
    rules.add(b"*.log\n/out\n!z\n", "a*b/c")
    rules.add(b"z\nkept\n", "")

    assert excludes(rules) == [".git", "kept", r"/a\*b/c/**/*.log", r"/a\*b/c/out"]


def test_a_pattern_from_above_is_told_by_what_it_means_below():
    """And not at all when it is about a neighbour."""
    rules = Ignores()
    rules.add_above(b"*.log\n/front/dist\n/back/dist\n/*/x\n", "front/")

    assert excludes(rules) == [".git", "*.log", "/dist"]


def test_the_callers_own_come_first_and_there_are_never_too_many():
    """The service takes 256."""
    rules = Ignores(["mine"])
    rules.add("\n".join(f"name-{number}" for number in range(500)).encode(), "")
    found = excludes(rules)

    assert found[:3] == [".git", "mine", "name-0"]
    assert len(found) == 256
    Excludes(found)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(LINES.filter(lambda it: not quirky(it)), max_size=5),
    st.lists(LINES.filter(lambda it: not quirky(it)), max_size=3),
    st.lists(PATHS, min_size=1, max_size=6),
    st.booleans(),
)
def test_what_the_service_excludes_the_client_leaves_out(lines, deeper, paths, folder):
    """Any rules: else it would refuse a file that is sent, or keep one that has to go."""
    rules = ignores(*lines, a="\n".join(deeper))
    found = Excludes(excludes(rules))

    for path in paths:
        if found.match(path, folder=folder):
            assert rules.match(path, folder=folder)
