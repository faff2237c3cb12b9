"""Sandboxes without namespaces: paths, and whether the kernel can hold them at all."""

from __future__ import annotations

import struct

import pytest

from sandbox_service.e2b_local.machine import IsolationUnavailableError
from sandbox_service.e2b_local.machine.channel import Answer
from sandbox_service.e2b_local.machine.tiers import seccomp
from sandbox_service.e2b_local.machine.tiers.unsafe.arguments import check_landlock
from sandbox_service.e2b_local.machine.tiers.unsafe.paths import PathMap

PATHS = PathMap({"/home/user": "/state/one/home", "/root": "/state/one/root", "/tmp": "/state/tmp"})


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/home/user", "/state/one/home"),
        ("/home/user/", "/state/one/home/"),
        ("/home/user/a b/\udcff", "/state/one/home/a b/\udcff"),
        ("/tmp/home/user", "/state/tmp/home/user"),
        ("/home/users", "/home/users"),
        ("/usr/home/user", "/usr/home/user"),
        ("home/user", "home/user"),
        ("", ""),
    ],
)
def test_a_path_is_translated_by_its_beginning(path, there):
    """And comes back as it went."""
    assert PATHS.to_host(path) == there
    assert PATHS.to_client(there) == path


def test_a_program_is_told_where_its_files_are():
    """In its words, its folder and its variables; not in the text of a script."""
    asked = {
        "argv": ("cat", "/tmp/f", "--at=/tmp/f", "cat /tmp/f"),
        "cwd": "/root",
        "env": {"PATH": "/home/user/.local/bin:/usr/bin:/tmp", "HOME": "/home/user", "N": "/tmpx"},
        "stdin": False,
    }
    told = PATHS.inward(asked)

    assert told["argv"] == ["cat", "/state/tmp/f", "--at=/tmp/f", "cat /tmp/f"]
    assert told["cwd"] == "/state/one/root"
    assert told["env"] == {
        "PATH": "/state/one/home/.local/bin:/usr/bin:/state/tmp",
        "HOME": "/state/one/home",
        "N": "/tmpx",
        "TMPDIR": "/state/tmp",
    }
    assert asked["cwd"] == "/root"


def test_what_is_told_of_files_has_the_paths_that_were_asked_for():
    """A client would not know the others, and they are the host's."""
    entry = {"name": "l", "path": "/state/one/home/l", "symlink_target": "/state/tmp/f"}
    ours = {"name": "l", "path": "/home/user/l", "symlink_target": "/tmp/f"}

    assert PATHS.outward(Answer([entry, entry], (3,))) == Answer([ours, ours], (3,))
    assert PATHS.outward(Answer({**entry, "symlink_target": None}, ())).value == {
        **ours,
        "symlink_target": None,
    }
    assert PATHS.outward(Answer(17, ())).value == 17


@pytest.mark.parametrize(("version", "as_root", "enough"), [
    (0, True, False), (1, True, True), (0, False, False), (5, False, False), (6, False, True),
])  # fmt: skip
def test_too_little_of_landlock_is_refused(version, as_root, enough):
    """An ordinary user's sandboxes could signal the server, which only version 6 prevents."""
    if enough:
        check_landlock(version, as_root=as_root)
        return
    with pytest.raises(IsolationUnavailableError, match="Landlock"):
        check_landlock(version, as_root=as_root)


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
@pytest.mark.parametrize("name", ["socket", "shmget", "semget", "msgget"])
def test_what_would_be_shared_with_the_host_cannot_be_made(machine, name):
    """No socket is judged by its family then. A pair can still be made: it leads nowhere."""
    usual = list(struct.iter_unpack("=HBBI", seccomp.build_program(machine)))
    stricter = list(struct.iter_unpack("=HBBI", seccomp.build_program(machine, shares_host=True)))
    number = seccomp.ARCHITECTURES[machine].calls[name]

    assert stricter.count((0x15, 0, 1, number)) == usual.count((0x15, 0, 1, number)) + 1
    first = next(at for at, one in enumerate(stricter) if one[3] == number)
    assert stricter[first + 1] == (0x06, 0, 0, 0x00050000 | 13)
