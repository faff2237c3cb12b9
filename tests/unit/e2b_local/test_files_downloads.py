"""Downloads: ranges, conditions, packing, types."""

from __future__ import annotations

import gzip
import os

import pytest

from sandbox_service.e2b_local.envd.files import FileTransfer
from tests.unit.e2b_local.guest_double import GuestDouble
from tests.unit.e2b_local.wire_double import exchange_of

TOKEN = "token"


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "home/user"
    home.mkdir(parents=True)
    return home


@pytest.fixture
def files(tmp_path, home):
    return FileTransfer(GuestDouble(tmp_path), TOKEN)


@pytest.mark.parametrize(
    ("given", "status", "expected"),
    [
        (None, 200, b"0123456789"),
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=0-99", 206, b"0123456789"),
        ("bytes=10-", 416, b"invalid range: failed to overlap\n"),
        ("bytes=4-2", 416, b"invalid range\n"),
        ("bytes=-", 416, b"invalid range\n"),
        ("bytes=", 200, b"0123456789"),
        ("bytes=1-2,4-5", 200, b"0123456789"),
        ("bytes=1-2,40-50", 206, b"12"),
        ("lines=1-2", 416, b"invalid range\n"),
    ],
)
async def test_a_range_gives_that_part_of_the_file(files, home, given, status, expected):
    """Downloads go on where they broke off."""
    (home / "r").write_bytes(b"0123456789")
    headers = {} if given is None else {"range": given}
    exchange, wire = exchange_of("GET", "/files?path=r", x_access_token=TOKEN, **headers)
    await files(exchange)

    assert wire.status == status
    assert wire.body == expected


@pytest.mark.parametrize(
    ("size", "given", "whole"), [(20, None, True), (20, "bytes=5-", False), (10**6, None, False)]
)
async def test_a_file_that_shrinks_while_it_is_read_keeps_nobody_waiting(
    files, home, monkeypatch, size, given, whole
):
    """Whoever was promised more bytes than there are would wait for them for ever."""
    path = home / "r"
    path.write_bytes(b"x" * size)
    read = os.pread

    def shrink_and_read(fd, length, at):
        os.truncate(path, 0)
        return read(fd, length, at)

    monkeypatch.setattr(os, "pread", shrink_and_read)
    headers = {} if given is None else {"range": given}
    exchange, wire = exchange_of("GET", "/files?path=r", x_access_token=TOKEN, **headers)
    await files(exchange)

    assert wire.aborted is not whole
    if whole:
        assert (wire.status, wire.body) == (200, b"")


# 2001-09-09 01:46:40, and a second before and after it.
CHANGED, BEFORE, AFTER = (f"Sun, 09 Sep 2001 01:46:{second} GMT" for second in (40, 39, 41))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_modified_since": CHANGED}, 304),
        ({"if_modified_since": AFTER}, 304),
        ({"if_modified_since": BEFORE}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_unmodified_since": CHANGED}, 200),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"tag"'}, 200),
        ({"if_none_match": '"tag"', "if_modified_since": AFTER}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": '"tag"'}, 412),
        ({"if_match": "*", "if_unmodified_since": BEFORE}, 200),
        ({"range": "bytes=0-0", "if_range": CHANGED}, 206),
        ({"range": "bytes=0-0", "if_range": AFTER}, 200),
        ({"range": "bytes=0-0", "if_range": '"tag"'}, 200),
    ],
    ids=str,
)
async def test_conditions_are_those_of_gos_file_server(files, home, headers, status):
    """A client that has the file already, or a part of it, gets what it lacks."""
    (home / "c").write_bytes(b"data")
    os.utime(home / "c", (1_000_000_000, 1_000_000_000.5))
    exchange, wire = exchange_of("GET", "/files?path=c", x_access_token=TOKEN, **headers)
    await files(exchange)

    assert wire.status == status
    assert f"last-modified: {CHANGED}" in wire.head
    assert wire.body == {200: b"data", 206: b"d"}.get(status, b"")
    assert ("content-length" in wire.head) is (status != 304)


@pytest.mark.parametrize(
    ("accepted", "status", "packed"),
    [
        (None, 200, False),
        ("gzip", 200, True),
        ("gzip, deflate", 200, False),
        ("gzip;q=0", 200, False),
        ("identity;q=0, gzip", 200, True),
        ("identity;q=0, *", 200, True),
        ("identity;q=0, br", 406, False),
        ("identity;q=0, gzip;q=0", 406, False),
    ],
)
async def test_a_file_is_packed_for_who_asks_for_nothing_else(
    files, home, accepted, status, packed
):
    """Packing costs more time than a local connection does."""
    data = os.urandom(50_000) + bytes(700_000)
    (home / "g").write_bytes(data)
    headers = {} if accepted is None else {"accept_encoding": accepted}
    exchange, wire = exchange_of("GET", "/files?path=g", x_access_token=TOKEN, **headers)
    await files(exchange)

    assert wire.status == status
    assert ("content-encoding: gzip" in wire.head) is packed
    if packed:
        assert gzip.decompress(unchunked(wire.body)) == data
    elif status == 200:
        assert wire.body == data


async def test_a_part_of_a_file_is_never_packed(files, home):
    """Ranges count the file's own bytes."""
    (home / "p").write_bytes(b"0123456789")
    exchange, wire = exchange_of(
        "GET", "/files?path=p", x_access_token=TOKEN, accept_encoding="gzip", range="bytes=2-3"
    )
    await files(exchange)

    assert wire.status == 206
    assert wire.body == b"23"


def unchunked(body):
    data = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        data, body = data + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return data


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.json", b"{}", "application/json"),
        ("a.html", b"", "text/html; charset=utf-8"),
        ("a.tar.gz", b"", "application/gzip"),
        ("README", b"plain \xc3\xbc text\n", "text/plain; charset=utf-8"),
        ("core", b"\x7fELF\0", "application/octet-stream"),
    ],
)
async def test_the_content_type_is_told_by_the_name_or_else_by_the_content(
    files, home, name, data, kind
):
    """A browser that follows a signed URL shows text and saves the rest."""
    (home / name).write_bytes(data)
    exchange, wire = exchange_of("GET", f"/files?path={name}", x_access_token=TOKEN)
    await files(exchange)

    assert f"content-type: {kind}\r\n" in wire.head
