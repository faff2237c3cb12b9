"""What follows from a plan: what is sent, deleted and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from miosa.sandbox import v1 as pb

from sandbox_service.client.ignores import Ignores
from sandbox_service.client.plan import Plan
from sandbox_service.client.tree import File, Stamp, Tree
from sandbox_service.client.work import InTheWayError, work

FILE, LINK, DIRECTORY, OTHER = range(1, 5)


def tree(*files: str, folders: tuple[str, ...] = (), rules: str = "", **links: str) -> Tree:
    """Return a tree that nobody has looked at on a disk."""
    ignores = Ignores()
    ignores.add(rules.encode(), "")
    found = Tree(Path("/nowhere"), ignores)
    found.files = {it: File(it, 0o644, Stamp(1, 1, 10, 0, 0), b"h" * 32) for it in files}
    found.folders = dict.fromkeys(folders, 0o755)
    found.links = links
    return found


def plan(
    *missing: str, changed: dict[str, int] | None = None, extra: dict[str, int] | None = None
) -> Plan:
    differences = {
        path: pb.Difference(path=path, sandbox_kind=kind, content_changed=True)
        for path, kind in (changed or {}).items()
    }
    return Plan(set(missing), differences, extra or {})


def test_only_what_differs_is_sent():
    """By kind."""
    here = tree("a", "b", "same", folders=("d", "e"), link="a")
    found = work(here, plan("a", "d", "link", changed={"b": FILE}), delete=True)

    assert (set(found.files), set(found.folders), found.links) == ({"a", "b"}, {"d"}, {"link": "a"})
    assert found.content_bytes == 20
    assert not found.deletes


def test_without_leave_to_do_so_nothing_is_deleted():
    """Whatever is extra."""
    found = work(tree("a"), plan(extra={"x": FILE, "d": DIRECTORY, "d/y": FILE}), delete=False)

    assert found.deletes == []
    assert found.kept == ["d", "d/y", "x"]
    assert found.empty


def test_a_folder_is_deleted_by_its_name_alone():
    """A delete takes what is below it."""
    extra = {"d": DIRECTORY, "d/e": DIRECTORY, "d/e/x": FILE, "d.txt": FILE, "p": OTHER}
    found = work(tree("a"), plan(extra=extra), delete=True)

    assert found.deletes == ["d", "d.txt", "p"]


def test_what_is_ignored_is_kept_with_the_folders_that_it_is_in():
    """And nothing else of them."""
    extra = {"d": DIRECTORY, "d/x.log": FILE, "d/y": FILE, "d/e": DIRECTORY, "d/e/z": FILE}
    found = work(tree("a", rules="*.log\n"), plan(extra=extra), delete=True)

    assert found.deletes == ["d/e", "d/y"]
    assert found.kept == ["d", "d/x.log"]


@pytest.mark.parametrize(
    ("here", "there", "replaced"),
    [
        (tree("a"), DIRECTORY, True),
        (tree(folders=("a",)), FILE, True),
        (tree(folders=("a",)), LINK, True),
        (tree("a"), LINK, False),
        (tree(a="x"), FILE, False),
        (tree(a="x"), DIRECTORY, True),
    ],
    ids=["file-folder", "folder-file", "folder-link", "file-link", "link-file", "link-folder"],
)
def test_a_folder_takes_a_files_place_only_where_deleting_is_allowed(here, there, replaced):
    """In so many words; the service wants it so."""
    found = work(here, plan(changed={"a": there}), delete=True)

    assert found.deletes == (["a"] if replaced else [])
    if replaced:
        with pytest.raises(InTheWayError, match=r"a is .* in the sandbox, and .* here"):
            work(here, plan(changed={"a": there}), delete=False)
    else:
        assert not work(here, plan(changed={"a": there}), delete=False).empty


def test_what_is_below_a_folder_that_is_replaced_goes_with_it():
    """Unless it is none of the sync's business: then nothing is replaced."""
    extra = {"a/x": FILE, "a/y.log": FILE}
    found = work(tree("a"), plan(changed={"a": DIRECTORY}, extra=extra), delete=True)

    assert found.deletes == ["a"]
    with pytest.raises(InTheWayError, match=r"a/y\.log is ignored"):
        work(tree("a", rules="*.log"), plan(changed={"a": DIRECTORY}, extra=extra), delete=True)
