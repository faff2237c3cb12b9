"""What `.gitignore` leaves out: examples for people, and git itself for everything else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox_service.client.ignores import IgnoreError, Ignores
from tests.unit.client.ignore_lines import LINES, PATHS, ignores, quirky


@pytest.mark.parametrize(
    ("lines", "path", "folder", "expected"),
    [
        (["*.log"], "deep/down/x.log", False, True),
        (["/x.log"], "deep/x.log", False, False),
        (["build/"], "build", False, False),
        (["build/"], "build/a/b", False, True),
        (["*.log", "!keep.log"], "keep.log", False, False),
        (["logs/", "!logs/keep.log"], "logs/keep.log", False, True),
        (["logs/*", "!logs/keep.log"], "logs/keep.log", False, False),
        (["*", "!*/", "!*.py"], "src/a.py", False, False),
        (["*", "!*/", "!*.py"], "src/a.txt", False, True),
        (["a/**/z"], "a/z", False, True),
        (["a/**/z"], "a/b/c/z", False, True),
        (["a/**"], "a", True, False),
        (["# no", "", "   "], "# no", False, False),
        ([r"\#yes", r"\!yes"], "!yes", False, True),
        (["trailing  ", r"kept\ "], "kept ", False, True),
        (["trailing  "], "trailing", False, True),
        (["*.py[cod]"], "m.pyc", False, True),
        (["[[:digit:]]*"], "9lives", False, True),
        (["[!a-c]x"], "bx", False, False),
        (["foo"], "foo\n", False, False),
        (["foo"], "a\nb/foo", False, True),
        (["x\\"], "x\\", False, False),
        (["[a"], "[a", False, False),
    ],
)
def test_an_entry_is_left_out_as_git_would(lines, path, folder, expected):
    """The cases that people write, and those that libraries get wrong."""
    assert ignores(*lines).match(path, folder=folder) is expected


def test_a_deeper_file_wins_over_one_above_it():
    """And is about its own folder only."""
    rules = ignores("*.log", sub="!*.log\n/only\n")

    assert rules.match("a.log", folder=False)
    assert not rules.match("sub/deep/a.log", folder=False)
    assert rules.match("sub/only", folder=False)
    assert not rules.match("only", folder=False)


def test_a_file_above_the_root_counts_as_well():
    """Who syncs a part of a repository expects its rules to hold."""
    rules = Ignores()
    rules.add_above(b"node_modules/\n/front/dist\n/dist\n", "front/")

    assert rules.match("node_modules/x", folder=False)
    assert rules.match("dist", folder=True)
    assert not rules.match("deep/dist", folder=True)


@pytest.mark.parametrize("path", [".git", ".git/config", "deep/.git/HEAD"])
def test_the_repository_itself_is_never_synced(path):
    """Whatever a `.gitignore` says."""
    assert ignores("!.git").match(path, folder=False)


@pytest.mark.parametrize("text", ["", "#x", "!x", "a\nb", "a\0b", "/"])
def test_an_exclude_that_is_no_pattern_is_refused(text):
    """It would be ignored in silence otherwise."""
    with pytest.raises(IgnoreError):
        Ignores([text])


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A repository of git's, whose files come and go."""
    folder = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def rebuild(repository: Path, paths: list[str]) -> dict[str, bool]:
    """Make what was asked for all that is there. Returns whether each entry is a folder."""
    for entry in repository.iterdir():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    found: dict[str, bool] = {}
    for path in paths:
        names = path.split("/")
        above = ["/".join(names[:depth]) for depth in range(1, len(names))]
        if path in found or any(found.get(it) is False for it in above):
            continue
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).touch()
        found |= {**dict.fromkeys(above, True), path: False}
    return found


def gits_own(repository: Path, paths: list[str]) -> set[str]:
    """Return the paths that git leaves out."""
    asked = subprocess.run(
        ["git", "-C", repository, "check-ignore", "-z", "--no-index", "--stdin"],
        input=b"".join(os.fsencode(path) + b"\0" for path in paths),
        capture_output=True,
        check=False,
    )
    assert asked.returncode in (0, 1), asked.stderr
    return {os.fsdecode(path) for path in asked.stdout.split(b"\0") if path}


@pytest.mark.skipif(shutil.which("git") is None, reason="the program git is not installed")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(LINES.filter(lambda it: not quirky(it)), min_size=1, max_size=5),
    st.lists(LINES.filter(lambda it: not quirky(it)), max_size=3),
    st.lists(PATHS, min_size=1, max_size=6),
)
def test_git_leaves_out_the_same(repository, lines, deeper, paths):
    """Any patterns, any names, at two depths."""
    rules = ignores(*lines, a="\n".join(deeper))
    there = rebuild(repository, [*paths, *(f"a/{path}" for path in paths)])
    (repository / ".gitignore").write_text("\n".join(lines), newline="")
    if there.get("a"):
        (repository / "a/.gitignore").write_text("\n".join(deeper), newline="")
    else:
        rules = ignores(*lines)

    found = {path for path, folder in there.items() if rules.match(path, folder=folder)}

    assert found == gits_own(repository, list(there))
