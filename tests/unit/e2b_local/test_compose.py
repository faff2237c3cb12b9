"""`/files/compose`: parts become one file, or everything stays as it was."""

from __future__ import annotations

import errno
import json
import os

import pytest

from sandbox_service.e2b_local.envd import compose
from sandbox_service.e2b_local.envd.files import FileTransfer
from tests.unit.e2b_local.guest_double import GuestDouble
from tests.unit.e2b_local.wire_double import exchange_of


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home/user"
    home.mkdir(parents=True)
    return home


@pytest.fixture
def ask(tmp_path, home):
    files = FileTransfer(GuestDouble(tmp_path), None)

    async def ask(document):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        exchange, wire = exchange_of("POST", "/files/compose", body)
        await files.compose(exchange)
        return wire

    return ask


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def test_parts_are_joined_in_order_and_removed(ask, home):
    """Clients upload a large file in parts, at once, and join them here."""
    (home / "a").write_bytes(b"one ")
    (home / "empty").touch()
    (home / "b").write_bytes(b"two")
    wire = await ask({"source_paths": ["a", "empty", "~/b", "a"], "destination": "new/whole"})

    assert wire.status == 200
    assert wire.json() == {"path": "/home/user/new/whole", "name": "whole", "type": "file"}
    assert (home / "new/whole").read_bytes() == b"one twoone "
    assert everything(home) == ["new", "new/whole"]


async def test_files_of_any_size_are_joined_piece_by_piece(ask, home, monkeypatch):
    """One piece must not end where the next one does not begin."""
    monkeypatch.setattr(compose, "_PIECE_BYTES", 1000)
    parts = [os.urandom(2500), os.urandom(1000)]
    for number, part in enumerate(parts):
        (home / str(number)).write_bytes(part)
    await ask({"source_paths": ["0", "1"], "destination": "whole"})

    assert (home / "whole").read_bytes() == b"".join(parts)


async def test_files_of_other_file_systems_are_joined_too(ask, home, monkeypatch):
    """The kernel copies between two of them only by another call."""

    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    (home / "a").write_bytes(b"one ")
    (home / "b").write_bytes(b"two")
    await ask({"source_paths": ["a", "b"], "destination": "whole"})

    assert (home / "whole").read_bytes() == b"one two"


async def test_a_disk_that_is_full_leaves_the_old_file_and_all_parts(ask, home, monkeypatch):
    """Nothing may be lost by trying."""

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (home / "whole").write_bytes(b"old")
    (home / "a").write_bytes(b"new")
    monkeypatch.setattr(os, "copy_file_range", refuse)
    wire = await ask({"source_paths": ["a"], "destination": "whole"})

    assert wire.status == 507
    assert wire.json()["message"] == "not enough disk space available"
    assert everything(home) == ["a", "whole"]
    assert (home / "whole").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("document", "status", "reason"),
    [
        (b"nonsense", 400, "invalid request body"),
        ({"source_paths": "a", "destination": "d"}, 400, "invalid request body"),
        ({"destination": "d"}, 400, "source_paths must not be empty"),
        ({"source_paths": ["a"]}, 400, "destination is required"),
        ({"source_paths": ["a"], "destination": "d", "username": "bob"}, 401, "unknown user bob"),
        ({"source_paths": ["a", "gone"], "destination": "d"}, 404, "source file not found: gone"),
        (
            {"source_paths": ["a", "."], "destination": "d"},
            400,
            "source path is not a regular file: .",
        ),
        (
            {"source_paths": ["a"], "destination": "./a"},
            400,
            'source path "a" cannot be the same as destination',
        ),
    ],
)
async def test_what_cannot_be_joined_is_refused_and_nothing_changes(
    ask, home, document, status, reason
):
    """In envd's words and with its statuses."""
    (home / "a").write_bytes(b"x")
    wire = await ask(document)

    assert wire.status == status
    assert reason in wire.json()["message"]
    assert everything(home) == ["a"]


async def test_a_folder_is_not_replaced(ask, home):
    """The parts stay, so that another name can be tried."""
    (home / "a").write_bytes(b"x")
    (home / "d/e").mkdir(parents=True)
    wire = await ask({"source_paths": ["a"], "destination": "d"})

    assert wire.status == 500
    assert everything(home) == ["a", "d", "d/e"]
