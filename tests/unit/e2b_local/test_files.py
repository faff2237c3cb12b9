"""`/files`: who may, what arrives, what is answered."""

from __future__ import annotations

import base64
import errno
import gzip
import hashlib
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


def form(*parts, boundary=b"xyz"):
    body = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n%b\r\n'
        % (boundary, name.encode(), data)
        for name, data in parts
    )
    return body + b"--%b--\r\n" % boundary


FORM = "multipart/form-data; boundary=xyz"
RAW = "application/octet-stream"


async def test_a_form_writes_each_file_under_its_name(files, home):
    """`write_files` sends many in one request, folders included."""
    body = form(("a.txt", b"one"), ("b/c d/\u00fc.bin", bytes(range(256)) * 4))
    exchange, wire = exchange_of("POST", "/files", body, x_access_token=TOKEN, content_type=FORM)
    await files(exchange)

    assert wire.status == 200
    assert [entry["name"] for entry in wire.json()] == ["a.txt", "\u00fc.bin"]
    assert (home / "a.txt").read_bytes() == b"one"
    assert (home / "b/c d/\u00fc.bin").read_bytes() == bytes(range(256)) * 4


async def test_a_form_is_understood_wherever_it_is_cut(files, home):
    """A boundary may lie across two packets."""
    data = b"\r\n--xy" * 1000
    exchange, wire = exchange_of(
        "POST", "/files?path=/home/user/f", None, x_access_token=TOKEN, content_type=FORM
    )
    body = form(("ignored", data))
    for at in range(0, len(body), 7):
        exchange.feed(body[at : at + 7])
    exchange.feed_end()
    await files(exchange)

    assert wire.status == 200
    assert (home / "f").read_bytes() == data


@pytest.mark.parametrize(
    "body",
    [form(("a", b"1"))[:-10], b"--other\r\n", form(("a", b"1"), ("a", b"2")), form(("..", b"1"))],
    ids=["cut off", "no form", "same path twice", "a folder"],
)
async def test_a_form_that_cannot_be_right_is_refused(files, body):
    """An answer of 200 is a promise that every file is there."""
    exchange, wire = exchange_of("POST", "/files", body, x_access_token=TOKEN, content_type=FORM)
    await files(exchange)

    assert wire.status == 400
    assert wire.json()["code"] == 400


async def test_a_gzip_bomb_is_unpacked_in_pieces_and_a_cut_one_refused(files, home):
    """A megabyte on the wire may be a gigabyte on disk, but never in memory."""
    packed = gzip.compress(b"\0" * 20_000_000)
    for body, status in ((packed, 200), (packed[:-9], 400), (b"not gzip", 400)):
        exchange, wire = exchange_of(
            "POST",
            "/files?path=z",
            body,
            x_access_token=TOKEN,
            content_type=RAW,
            content_encoding="gzip",
        )
        await files(exchange)
        assert wire.status == status
        if status == 200:
            assert (home / "z").stat().st_size == 20_000_000


async def test_metadata_is_checked(files):
    """What cannot be stored is refused before anything is written."""
    exchange, wire = exchange_of(
        "POST",
        "/files?path=m",
        b"x",
        x_access_token=TOKEN,
        content_type=RAW,
        x_metadata_key="\u00e9",
    )
    await files(exchange)

    assert wire.status == 400


async def upload(files, path, data=b"x", **headers):
    exchange, wire = exchange_of(
        "POST", f"/files{path}", data, x_access_token=TOKEN, content_type=RAW, **headers
    )
    await files(exchange)
    return wire


async def test_every_upload_replaces_the_metadata(files, home):
    """What an earlier upload said of the file is not true of the new one."""
    first = await upload(files, "?path=m", x_metadata_Author="me", x_metadata_two="2")
    second = await upload(files, "?path=m", x_metadata_Three="3")
    third = await upload(files, "?path=m", x_metadata_="no key")

    assert first.json()[0]["metadata"] == {"author": "me", "two": "2"}
    assert second.json()[0]["metadata"] == {"three": "3"}
    assert third.json() == [{"path": "/home/user/m", "name": "m", "type": "file"}]
    assert os.listxattr(home / "m") == []


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"x_metadata_" + "k" * 247: ""}, "exceeds 246 bytes"),
        ({"x_metadata_a": "v" * 4088}, "total metadata size 4098 exceeds 4096 bytes"),
        ({"x_metadata_a": "tab\t"}, "byte 0x09 at offset 3"),
    ],
)
async def test_metadata_has_limits(files, home, headers, reason):
    """They are those of the file system, told before anything is written."""
    wire = await upload(files, "?path=m", **headers)

    assert wire.status == 400
    assert reason in wire.json()["message"]
    assert not (home / "m").exists()


async def test_metadata_is_dropped_where_files_cannot_have_any(files, home, monkeypatch):
    """The file matters more, and the answer must not claim what is not there."""

    def refuse(*_):
        raise OSError(errno.ENOTSUP, "Not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    wire = await upload(files, "?path=m", x_metadata_a="b")

    assert wire.status == 200
    assert "metadata" not in wire.json()[0]
    assert (home / "m").read_bytes() == b"x"


async def test_a_full_disk_is_told_with_what_was_to_be_written(files, monkeypatch):
    """The SDK raises NotEnoughSpaceException for this status."""

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    wire = await upload(files, "?path=m", content_length="1")

    assert wire.status == 507
    assert wire.json()["message"] == "attempted to write 1 bytes: not enough disk space available"


@pytest.mark.parametrize(
    ("target", "headers", "reason"),
    [
        ("", {}, "path query parameter is required for raw body upload"),
        ("?path=", {}, "path is a directory: /home/user"),
        ("?path=a", {"content_encoding": "br"}, "unsupported Content-Encoding: br"),
    ],
)
async def test_an_upload_that_cannot_be_meant_is_refused(files, target, headers, reason):
    """In envd's words, for some read them."""
    wire = await upload(files, target, **headers)

    assert wire.status == 400
    assert reason in wire.json()["message"]


async def test_of_a_form_with_a_path_only_the_first_file_is_taken(files, home):
    """All its files would go to the same place."""
    body = form(("one", b"1"), ("two", b"2"))
    exchange, wire = exchange_of(
        "POST", "/files?path=t", body, x_access_token=TOKEN, content_type=FORM
    )
    await files(exchange)

    assert wire.status == 400
    assert "only the first specified file was uploaded" in wire.json()["message"]
    assert (home / "t").read_bytes() == b"1"


async def test_the_wrong_user_is_named(files):
    """The SDK turns this into an authentication error."""
    exchange, wire = exchange_of("GET", "/files?path=a&username=bob", x_access_token=TOKEN)
    await files(exchange)

    assert wire.status == 401
    assert "bob" in wire.json()["message"]


async def test_an_empty_file_is_a_file(files, home):
    """Zero bytes are a result, not an error."""
    (home / "empty").touch()
    exchange, wire = exchange_of("GET", "/files?path=empty", x_access_token=TOKEN)
    await files(exchange)

    assert wire.status == 200
    assert "content-length: 0" in wire.head
    assert exchange.finished


@pytest.mark.parametrize(("path", "status"), [("gone", 404), ("", 400), ("~bob/x", 400)])
async def test_what_is_no_file_is_told_apart(files, path, status):
    """Missing, a folder and nonsense call for different reactions."""
    exchange, wire = exchange_of("GET", f"/files?path={path}", x_access_token=TOKEN)
    await files(exchange)

    assert wire.status == status


def signed(*parts):
    digest = hashlib.sha256(":".join(parts).encode()).digest()
    return "v1_" + base64.b64encode(digest).decode().rstrip("=")


async def ask(files, target):
    exchange, wire = exchange_of("GET", target.replace("+", "%2B"))
    await files(exchange)
    return wire.status


async def test_a_signature_opens_one_path_for_one_operation_until_its_end(files, home):
    """A signed URL is handed to strangers."""
    (home / "s").write_bytes(b"x")
    good = signed("s", "read", "", TOKEN)
    future, past = "99999999999", "1000000000"

    assert await ask(files, f"/files?path=s&signature={good}") == 200
    assert await ask(files, f"/files?path=s2&signature={good}") == 401
    assert await ask(files, f"/files?path=s&signature={signed('s', 'write', '', TOKEN)}") == 401
    assert await ask(files, f"/files?path=s&username=root&signature={good}") == 401
    assert await ask(files, "/files?path=s") == 401
    for expiration, status in ((future, 200), (past, 401)):
        timed = signed("s", "read", "", TOKEN, expiration)
        target = f"/files?path=s&signature={timed}&signature_expiration={expiration}"
        assert await ask(files, target) == status
        assert await ask(files, target.replace(expiration, "88888888888")) == 401


async def test_a_wrong_token_is_not_rescued_by_a_signature(files, home):
    """A header that does not match is an attack or a mix-up of sandboxes."""
    good = signed("s", "read", "", TOKEN)
    exchange, wire = exchange_of("GET", f"/files?path=s&signature={good}", x_access_token="wrong")
    await files(exchange)

    assert wire.status == 401


async def test_a_query_of_any_length_is_read_or_refused(files):
    """Which sandbox a signed URL is for is asked of every one, before anybody may anything."""
    target = "/files?path=s&signature=x&" + "&".join(f"{number}=" for number in range(100))
    exchange, wire = exchange_of("GET", target, x_access_token=TOKEN)
    assert not files.accepts_signature(exchange)
    await files(exchange)

    assert wire.status == 400
