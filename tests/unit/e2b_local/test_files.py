"""`/files`: who may, what arrives, what is answered."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os

import pytest

from sandbox_service.e2b_local.envd.files import FileTransfer
from sandbox_service.e2b_local.machine import GuestOSError
from tests.unit.e2b_local.wire_double import exchange_of

TOKEN = "token"


class GuestDouble:
    """A sandbox whose root is a folder."""

    def __init__(self, root):
        self.root = root

    def _inside(self, path):
        return self.root / path.lstrip("/")

    async def open(self, path, flags, mode=0o666):
        try:
            return os.open(self._inside(path), flags, mode)
        except OSError as error:
            raise GuestOSError(error.errno, error.strerror) from None

    async def make_dir(self, path):
        self._inside(path).mkdir(parents=True)
        return True


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


async def test_the_wrong_user_is_named(files):
    """The SDK turns this into an authentication error."""
    exchange, wire = exchange_of("GET", "/files?path=a&username=bob", x_access_token=TOKEN)
    await files(exchange)

    assert wire.status == 401
    assert "bob" in wire.json()["message"]


@pytest.mark.parametrize(
    ("given", "status", "expected"),
    [
        (None, 200, b"0123456789"),
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-99", 200, b"0123456789"),
        ("bytes=0-99", 200, b"0123456789"),
        ("bytes=10-", 416, b""),
        ("bytes=4-2", 200, b"0123456789"),
        ("bytes=1-2,4-5", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
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
