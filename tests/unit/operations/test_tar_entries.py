"""A tar archive is read as it comes, in any pieces, and whatever is in it."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox_service.domain.errors import BackendError
from sandbox_service.operations.file_reads.byte_reader import ByteReader
from sandbox_service.operations.file_reads.tar_entries import (
    TarKind,
    TarReader,
    point_in_time,
)

RECORD = 64 * 1024
TYPES = {
    TarKind.FILE: tarfile.REGTYPE,
    TarKind.LINK: tarfile.SYMTYPE,
    TarKind.FOLDER: tarfile.DIRTYPE,
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

names = st.lists(
    st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=90
    ).filter(lambda name: name not in (".", "..")),
    min_size=1,
    max_size=4,
).map("/".join)
times = st.integers(-(10**12), 10**13).map(lambda us: us * 1000)
entries = st.lists(
    st.one_of(
        st.tuples(
            st.just(TarKind.FILE), names, st.integers(0, 0o7777), times, st.binary(max_size=2000)
        ),
        st.tuples(st.just(TarKind.FOLDER), names, st.integers(0, 0o7777), times, st.just(b"")),
        st.tuples(st.just(TarKind.LINK), names, st.just(0o777), times, names.map(str.encode)),
    ),
    max_size=6,
)
sizes = st.lists(st.integers(1, 3000), min_size=1, max_size=20)


def archive(described) -> bytes:
    """Return the archive that Python's own library makes of some entries."""
    raw = io.BytesIO()
    with tarfile.open(
        fileobj=raw, mode="w", format=tarfile.PAX_FORMAT, bufsize=RECORD, errors="strict"
    ) as tar:
        for kind, path, mode, mtime_ns, content in described:
            info = tarfile.TarInfo(f"./{path}")
            info.type, info.mode = TYPES[kind], mode
            seconds, nanos = divmod(abs(mtime_ns), 10**9)
            sign = "-" if mtime_ns < 0 else ""
            info.pax_headers = {"mtime": f"{sign}{seconds}.{nanos:09d}"}
            if kind is TarKind.LINK:
                info.linkname = content.decode()
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        size = tar.offset + 1024
    return raw.getvalue()[:size].ljust(-(-size // RECORD) * RECORD, b"\0")


async def cut(raw: bytes, sizes) -> AsyncIterator[bytes]:
    at = turn = 0
    while at < len(raw):
        size = sizes[turn % len(sizes)]
        yield raw[at : at + size]
        at, turn = at + size, turn + 1


async def read(source: ByteReader, *, contents=True, piece_bytes=700):
    """Return the entries of an archive, each with its content."""
    found = []
    reader = TarReader(source)
    while (entry := await reader.entry()) is not None:
        pieces = [piece async for piece in reader.content(piece_bytes)] if contents else []
        assert all(1 <= len(piece) <= piece_bytes for piece in pieces)
        found.append((entry, b"".join(pieces)))
    return found


@settings(deadline=None, max_examples=60)
@given(entries, sizes)
def test_what_another_library_packed_is_read_the_same_in_any_pieces(described, cuts):
    """Long names, times before 1970, empty files, and not a byte beyond the archive."""

    async def check():
        source = ByteReader(cut(archive(described) + b"what follows", cuts))
        found = await read(source)
        return found, await source.gathered(100)

    found, rest = asyncio.run(check())

    assert rest == b"what follows"
    assert [
        (it.kind, it.path, it.mode, it.mtime, content or it.target) for it, content in found
    ] == [
        (kind, b"./" + path.encode(), mode, EPOCH + timedelta(microseconds=mtime // 1000), content)
        for kind, path, mode, mtime, content in described
    ]


@pytest.mark.parametrize("blocks", range(1, 5))
def test_an_archive_may_end_where_a_record_does(blocks):
    """Two blocks of zeros end it, and the second one may begin another record."""
    content = bytes(RECORD - (blocks + 1) * 512)

    async def check():
        raw = archive_of(content)
        source = ByteReader(cut(raw + b"what follows", [4096]))
        return await read(source), await source.gathered(100)

    found, rest = asyncio.run(check())

    assert [it for _, it in found] == [content]
    assert rest == b"what follows"


def archive_of(content: bytes) -> bytes:
    """Return an archive of one file, without an extended header."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT, bufsize=RECORD) as tar:
        info = tarfile.TarInfo("./x")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    size = 512 + len(content) + 1024
    return raw.getvalue()[:size].ljust(-(-size // RECORD) * RECORD, b"\0")


@settings(deadline=None, max_examples=60)
@given(entries, sizes)
def test_content_that_nobody_wants_is_passed_over(described, cuts):
    """The next entry is found all the same."""
    found = asyncio.run(read(ByteReader(cut(archive(described), cuts)), contents=False))
    assert [it.path for it, _ in found] == [b"./" + it[1].encode() for it in described]


@settings(deadline=None, max_examples=60)
@given(
    entries,
    sizes,
    st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 255)), min_size=1, max_size=4),
    st.integers(0, 200_000),
)
def test_damage_is_refused_or_read_but_nothing_else_happens(described, cuts, flips, length):
    """Whatever comes from a sandbox: no other error, no endless loop, no endless memory."""
    raw = bytearray(archive(described))
    for at, flip in flips:
        raw[at % len(raw)] ^= flip
    with suppress(BackendError):
        asyncio.run(read(ByteReader(cut(bytes(raw[: max(length, 1)]), cuts))))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=3000), sizes)
def test_bytes_that_are_no_archive_are_refused(raw, cuts):
    """Only a whole record of zeros is an archive, with nothing in it."""
    with pytest.raises(BackendError):
        asyncio.run(read(ByteReader(cut(raw, cuts))))


@pytest.mark.parametrize(
    "kind",
    [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, b"L", b"K", b"?"],
)
def test_kinds_of_entries_that_were_not_asked_for_are_refused(kind):
    """Hard links, devices and sparse files are never in what the script writes."""
    info = tarfile.TarInfo("./x")
    info.type = kind
    raw = info.tobuf(tarfile.USTAR_FORMAT).ljust(RECORD, b"\0")
    with pytest.raises(BackendError):
        asyncio.run(read(ByteReader(cut(raw, [512]))))


def extended(body: bytes, size: int | None = None) -> bytes:
    """Return an archive of one file with this PAX header."""
    head = tarfile.TarInfo("./PaxHeaders/x")
    head.type, head.size = tarfile.XHDTYPE, len(body) if size is None else size
    raw = head.tobuf(tarfile.USTAR_FORMAT) + body.ljust(-(-len(body) // 512) * 512, b"\0")
    return (raw + tarfile.TarInfo("./x").tobuf(tarfile.USTAR_FORMAT)).ljust(RECORD, b"\0")


@pytest.mark.parametrize(
    "body",
    [
        b"11 path=abc\n",
        b"13 path=abc\n",
        b"0 path=abc\n",
        b"-12 path=abc\n",
        b"99999999999999999999 path=abc\n",
        b"12 path:abc\n",
        b"path=abc\n",
        b"22 GNU.sparse.major=1\n",
        b"12 mtime=abc",
        b"14 size=-1234\n",
        b"29 size=9223372036854775808\n",
        b"14 mtime=1.2.3\n"[:-1] + b"\n",
    ],
)
def test_headers_that_lie_are_refused(body):
    """A length that does not fit, a number that is none, a file that is not there in full."""
    with pytest.raises(BackendError):
        asyncio.run(read(ByteReader(cut(extended(body), [700]))))


def test_a_header_too_large_to_be_honest_is_not_waited_for():
    """It would be kept in memory."""
    with pytest.raises(BackendError):
        asyncio.run(read(ByteReader(cut(extended(b"", 10**9), [700]))))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (b"0", 0),
        (b"1.5", 1.5),
        (b"-1.5", -1.5),
        (b"-1.500000000", -1.5),
        (b"1500.2500000000", 1500.25),
        (b"1.000000999", 1),
        (b"999999999999", None),
        (b"9" * 4000, None),
        (b"-99999999999", None),
    ],
)
def test_times_are_exact_and_outside_of_the_calendar_unknown(seconds, expected):
    """A timestamp of the contract has years from 1 to 9999."""
    assert point_in_time(seconds) == (
        None if expected is None else EPOCH + timedelta(seconds=expected)
    )


@pytest.mark.parametrize("seconds", [b"", b"-", b"1.x", b"+1", b"1e5", b"--1", b"\xb2"])
def test_a_time_that_is_no_number_is_refused(seconds):
    """And is no bug of the service."""
    with pytest.raises(BackendError):
        point_in_time(seconds)
