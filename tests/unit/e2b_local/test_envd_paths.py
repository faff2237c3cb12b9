"""What paths, users and modes mean."""

from __future__ import annotations

import base64
import stat

import pytest

from sandbox_service.e2b_local.envd.connect import ConnectError
from sandbox_service.e2b_local.envd.filesystem_service import entry_info, permissions
from sandbox_service.e2b_local.envd.messages import filesystem_pb
from sandbox_service.e2b_local.envd.paths import resolve, user_of_authorization
from sandbox_service.e2b_local.machine import FileEntry


@pytest.mark.parametrize(
    ("path", "user", "expected"),
    [
        ("", "user", "/home/user"),
        ("~", "user", "/home/user"),
        ("~/a", "user", "/home/user/a"),
        ("a/../b", "user", "/home/user/b"),
        ("/etc//x/", "user", "/etc/x"),
        ("a", "root", "/root/a"),
    ],
)
def test_a_path_starts_at_the_users_home(path, user, expected):
    """Programs and file calls must mean the same file."""
    assert resolve(path, user) == expected


@pytest.mark.parametrize("path", ["~bob", "~bob/x", "a\0b"])
def test_a_path_that_cannot_be_meant_is_refused(path):
    """It must not become a file of that odd name."""
    with pytest.raises(ConnectError) as caught:
        resolve(path, "user")
    assert caught.value.code == "invalid_argument"


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_the_user_is_named_by_the_authorization():
    """The SDK sends `user=` this way."""
    assert user_of_authorization(None) == "user"
    assert user_of_authorization(basic(":")) == "user"
    assert user_of_authorization(basic("root:")) == "root"


def test_an_unknown_user_is_unauthenticated():
    """Falling back to the default user would run it as somebody else."""
    with pytest.raises(ConnectError) as caught:
        user_of_authorization(basic("bob:"))
    assert caught.value.code == "unauthenticated"
    assert caught.value.message == "invalid username: 'bob'"


@pytest.mark.parametrize("value", ["Basic !!!", "Basic /w==", basic("root"), "Bearer x"])
def test_what_names_no_user_means_the_default_one(value):
    """Envd reads it so, and clients of it send other kinds of authorization too."""
    assert user_of_authorization(value) == "user"


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (stat.S_IFREG | 0o644, "-rw-r--r--"),
        (stat.S_IFDIR | 0o755, "drwxr-xr-x"),
        (stat.S_IFLNK | 0o777, "Lrwxrwxrwx"),
        (stat.S_IFDIR | 0o1777, "dtrwxrwxrwx"),
        (stat.S_IFREG | 0o4755, "urwxr-xr-x"),
        (stat.S_IFCHR | 0o666, "Dcrw-rw-rw-"),
        (stat.S_IFIFO | 0o600, "prw-------"),
    ],
)
def test_a_mode_is_written_as_go_does(mode, text):
    """Envd is written in Go, and clients compare the text."""
    assert permissions(mode) == text


def entry(**fields):
    defaults = {
        "name": "l",
        "path": "/home/user/l",
        "mode": stat.S_IFLNK | 0o777,
        "target_mode": stat.S_IFDIR | 0o750,
        "size": 5,
        "uid": 1000,
        "gid": 1000,
        "owner": "user",
        "group": "user",
        "modified_ns": 1_500_000_000,
        "symlink_target": "d",
    }
    return FileEntry(**{**defaults, **fields})


def test_a_link_shows_the_type_and_mode_of_its_target():
    """A client that lists a folder wants to know what opening it would give."""
    shown = entry_info(entry())

    assert shown.type == filesystem_pb.FileType.DIRECTORY
    assert shown.mode == 0o750
    assert shown.permissions == "Lrwxrwxrwx"
    assert shown.symlink_target == "d"
    assert (shown.modified_time.seconds, shown.modified_time.nanos) == (1, 500_000_000)


def test_a_link_to_nowhere_has_no_type():
    """It is neither a file nor a folder."""
    shown = entry_info(entry(target_mode=None))

    assert shown.type == filesystem_pb.FileType.UNSPECIFIED
    assert shown.mode == 0


def test_a_name_that_is_no_text_can_still_be_listed():
    """One such file must not make its whole folder unreadable to clients."""
    shown = entry_info(entry(name="\udcff\u00fc", path="/a/\udcff\u00fc", symlink_target="\udc80"))

    assert (shown.name, shown.path) == ("\ufffd\u00fc", "/a/\ufffd\u00fc")
    assert shown.symlink_target == "\ufffd"
    assert shown.to_json()
