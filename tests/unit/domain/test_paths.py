"""Paths: whatever a caller sends, what comes through stays where it belongs."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.domain import paths
from sandbox_service.domain.errors import InvalidPathError
from sandbox_service.domain.limits import NAME_BYTES_MAX, PATH_BYTES_MAX

_names = st.one_of(
    st.sampled_from(["..", ".", "", "a", "b", "...", ".a", "a..", "\0", "ü", "\n", "\udc80"]),
    st.text(max_size=5),
)
_paths = st.builds(
    lambda start, names: start + "/".join(names),
    st.sampled_from(["", "/", "//"]),
    st.lists(_names, max_size=6),
)


@given(path=_paths)
def test_a_relative_path_stays_below_whatever_it_is_joined_to(path: str):
    """The one promise that file sync stands on."""
    try:
        checked = paths.relative_inside(path, "path")
    except InvalidPathError:
        return

    joined = posixpath.normpath(posixpath.join("/root/of/it", checked))
    assert checked == path
    assert joined.startswith("/root/of/it/")
    assert joined == "/root/of/it/" + path
    assert "\0" not in path


@given(path=_paths)
def test_an_absolute_path_comes_out_normal(path: str):
    """One folder has one name, however it was written; links apart."""
    try:
        checked = paths.absolute(path, "path")
    except InvalidPathError:
        return

    assert checked.startswith("/")
    assert not checked.startswith("//")
    assert posixpath.normpath(checked) == checked
    assert ".." not in path.split("/")
    assert paths.absolute(checked, "path") == checked


@given(link=_paths, target=_paths)
def test_a_link_never_points_out_of_the_root(link: str, target: str):
    """Followed from where it lies, it ends below the root or at it."""
    try:
        paths.relative_inside(link, "path")
        checked = paths.link_stays_inside(link, target, "target")
    except InvalidPathError:
        return

    # Two more folders above the root show a step too many.
    end = posixpath.normpath(posixpath.join("/above/root", posixpath.dirname(link), checked))
    assert end == "/above/root" or end.startswith("/above/root/")


@pytest.mark.parametrize(
    ("link", "target"),
    [("a", "b"), ("a/b", "../c"), ("a/b/c", "../.."), ("a", "."), ("a/b", "./x/../y")],
)
def test_links_within_the_root_are_taken_as_they_are(link: str, target: str):
    """The target is kept to the letter: programs compare it."""
    assert paths.link_stays_inside(link, target, "target") == target


@pytest.mark.parametrize(
    ("link", "target"),
    [("a", ".."), ("a/b", "../.."), ("a", "/etc/passwd"), ("a/b", "../../c"), ("a", "x/../../y")],
)
def test_links_out_of_the_root_are_refused(link: str, target: str):
    """However the steps are arranged."""
    with pytest.raises(InvalidPathError):
        paths.link_stays_inside(link, target, "target")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "is empty"),
        ("/a", "is absolute"),
        ("a//b", "component ''"),
        ("a/", "component ''"),
        ("./a", "component '.'"),
        ("a/../b", "component '..'"),
        ("a\0b", "contains a NUL"),
        ("a/\udc80", "not valid UTF-8"),
        ("x" * (NAME_BYTES_MAX + 1), "a name longer than"),
        ("ü" * (NAME_BYTES_MAX // 2 + 1), "a name longer than"),
        ("a/" * (PATH_BYTES_MAX // 2) + "b", "is longer than"),
    ],
)
def test_a_refusal_names_the_field_and_says_why(path: str, why: str):
    """The caller finds the entry among thousands, and a path of any length does no harm."""
    with pytest.raises(InvalidPathError) as caught:
        paths.relative_inside(path, "files[3].path")

    (violation,) = caught.value.violations
    assert violation.field == "files[3].path"
    assert why in violation.description
    assert str(caught.value).startswith("files[3].path: ")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "path",
    ["a", "a/b", "...", "..a", "a..", " ", "-rf", "a\nb", "ü/€", "x" * NAME_BYTES_MAX, "*", "~"],
)
def test_odd_names_are_names(path: str):
    """A file may be called anything that a file system takes."""
    assert paths.relative_inside(path, "path") == path


@pytest.mark.parametrize(
    ("given_path", "normal"),
    [("/", "/"), ("//a", "/a"), ("/a//b/./c/", "/a/b/c"), ("/a/.", "/a"), ("/...", "/...")],
)
def test_absolute_paths_are_normalised(given_path: str, normal: str):
    """POSIX leaves two leading slashes alone; nobody here means anything by them."""
    assert paths.absolute(given_path, "path") == normal


@pytest.mark.parametrize("path", ["", "a", "~/a", "/a/..", "/../a", "/a\0"])
def test_what_is_no_absolute_path_is_refused(path: str):
    """A folder to run in does not depend on where somebody is."""
    with pytest.raises(InvalidPathError):
        paths.absolute(path, "cwd")


@pytest.mark.parametrize(("path", "is_fine"), [("/a", True), ("a", True), ("../a", False)])
def test_a_place_in_the_sandbox_is_absolute_or_below_the_home(path: str, *, is_fine: bool):
    """Initial files take both."""
    if is_fine:
        assert paths.in_sandbox(path, "path") == path
    else:
        with pytest.raises(InvalidPathError):
            paths.in_sandbox(path, "path")
