"""What a sync is checked for, and how it is packed, before anything reaches a sandbox."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.domain.errors import (
    ChecksumMismatchError,
    InvalidPathError,
    InvalidRequestError,
    PayloadTooLargeError,
)
from sandbox_service.domain.files import (
    SyncData,
    SyncDelete,
    SyncDirectory,
    SyncFile,
    SyncLink,
    SyncPart,
    file_record,
    folder_record,
    link_record,
    root_digest,
)
from sandbox_service.domain.limits import MIB, Limits
from sandbox_service.operations.file_sync import tar_stream
from sandbox_service.operations.file_sync.excludes import Excludes
from sandbox_service.operations.file_sync.manifest import Manifest
from sandbox_service.operations.file_sync.packing import Packer
from tests.unit.operations.exclude_patterns import PATTERNS


async def stream(parts: Iterable[SyncPart]) -> AsyncIterator[SyncPart]:
    for part in parts:
        yield part


async def pack(
    *parts: SyncPart, limits: Limits | None = None, excludes: tuple[str, ...] = ()
) -> tuple[bytes, Manifest]:
    manifest = Manifest(limits or Limits(), Excludes(excludes))
    pieces = [piece async for piece in Packer(manifest).pack(stream(parts))]
    return b"".join(pieces), manifest


def empty(path: str, **fields: object) -> SyncFile:
    return SyncFile(**{"path": path, "size": 0, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/../b", "..", "./a", "a//b", "a/", "a\0b", "\ud800", "n" * 256, "d/" * 2010 + "f"],
)
async def test_a_path_that_leaves_the_root_or_is_none_is_refused(path: str) -> None:
    """Whatever kind of part it comes with."""
    for part in (empty(path), SyncLink(path, "t"), SyncDirectory(path), SyncDelete(path)):
        with pytest.raises(InvalidPathError):
            await pack(part)


@pytest.mark.parametrize(
    "target", ["", "/etc", "../../x", "a/../..", "a/../b", "../d/../../x", "t\0"]
)
async def test_a_link_that_might_point_outside_is_refused(target: str) -> None:
    """A `..` after a name is no step back when the name is a link itself."""
    with pytest.raises(InvalidPathError):
        await pack(SyncLink("d/link", target))


@pytest.mark.parametrize("target", ["x", "../x", "..", "./x", "a//b/"])
async def test_a_link_inside_is_packed_as_it_is(target: str) -> None:
    """Its text is not tidied."""
    archive, _ = await pack(SyncLink("d/link", target))

    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getmember("t/d/link").linkname == target


@pytest.mark.parametrize(
    "parts",
    [
        (empty("a"), empty("a")),
        (empty("a"), SyncLink("a", "b")),
        (SyncDirectory("a"), empty("a")),
        (empty("a"), empty("a/b")),
        (empty("a/b"), empty("a")),
        (SyncLink("a", "b"), SyncDirectory("a/c")),
        (SyncData(b""),),
        (SyncLink("a", "b"), SyncData(b"x")),
        (empty("a", mode=0o200),),
        (SyncDirectory("a", mode=0o555),),
        (empty("a", size=-1),),
        (empty("a", sha256=b"short"),),
        (empty("a", mtime=datetime(1969, 1, 1, tzinfo=UTC)),),
        (empty("a", mtime=datetime(2020, 1, 1)),),
        (empty(".sandbox-sync/x"),),
        (SyncDelete("a/.sandbox-sync"),),
        (empty("x.log"),),
        (empty("build/x"),),
        (SyncDelete("build"),),
        (SyncDelete("a"), SyncDelete("a")),
        (SyncFile(path="a", size=MIB + 1), SyncData(bytes(MIB + 1))),
    ],
    ids=lambda parts: " ".join(str(part)[:50] for part in parts),
)
async def test_parts_that_contradict_one_another_or_a_rule_are_refused(
    parts: tuple[SyncPart, ...],
) -> None:
    """None of them is silently left out."""
    with pytest.raises(InvalidRequestError):
        await pack(*parts, excludes=("*.log", "build/"))


@pytest.mark.parametrize(
    "parts",
    [
        (SyncFile(path="a", size=2), SyncData(b"1")),
        (SyncFile(path="a", size=2), SyncData(b"1"), empty("b")),
        (SyncFile(path="a", size=2), SyncData(b"123")),
        (empty("a"), SyncData(b"1")),
        (SyncFile(path="a", size=1, sha256=bytes(32)), SyncData(b"1")),
    ],
)
async def test_content_that_is_not_what_was_announced_ends_the_sync(
    parts: tuple[SyncPart, ...],
) -> None:
    """The error names the file."""
    with pytest.raises(ChecksumMismatchError) as caught:
        await pack(*parts)

    assert caught.value.metadata == {"path": "a"}


async def test_a_sync_has_limits() -> None:
    """Entries and bytes, each with a message that names the limit."""
    with pytest.raises(PayloadTooLargeError, match="above 2 entries"):
        await pack(empty("a"), SyncLink("b", "a"), SyncDelete("c"), limits=Limits(sync_files=2))
    with pytest.raises(PayloadTooLargeError, match="above 10 bytes") as caught:
        await pack(
            SyncFile(path="a", size=6),
            SyncData(b"123456"),
            SyncFile(path="b", size=5),
            limits=Limits(sync_bytes=10),
        )
    assert caught.value.metadata == {
        "field": "file.size",
        "limit_bytes": "10",
        "actual_bytes": "11",
    }


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=130)


@given(NAMES, NAMES, st.binary(max_size=1200), st.integers(0, 0o777), st.integers(0, 2**60))
def test_headers_are_those_of_a_tar_archive(
    name: str, target: str, content: bytes, mode: int, mtime_ns: int
) -> None:
    """The standard library reads back names, content, modes, times and targets."""
    name, target = name.replace("/", "_"), target.replace("/", "_")
    mtime_ns -= mtime_ns % 1000
    archive = b"".join(
        [
            tar_stream.folder_header(b"d", mode=mode, mtime_ns=mtime_ns),
            tar_stream.file_header(
                b"d/" + name.encode(), size=len(content), mode=mode, mtime_ns=mtime_ns
            ),
            content,
            tar_stream.padding(len(content)),
            tar_stream.link_header(b"d/link", target.encode(), mtime_ns=mtime_ns),
            tar_stream.END_OF_ARCHIVE,
        ]
    )

    with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8") as tar:
        folder, file, link = tar.getmembers()
        read = tar.extractfile(file)
        assert read is not None
        assert read.read() == content
    assert (folder.name, folder.isdir(), folder.mode) == ("d", True, mode)
    assert (file.name, file.mode) == (f"d/{name}", mode)
    assert round(file.mtime * 1_000_000) == pytest.approx(mtime_ns // 1000, abs=1)
    assert (link.linkname, link.issym()) == (target, True)


def test_a_file_above_8_gib_has_a_size_that_tar_reads() -> None:
    """Eleven octal digits end there."""
    size = 9 * 1024**3
    header = tar_stream.file_header(b"a", size=size, mode=0o644, mtime_ns=0)

    assert tarfile.TarInfo.frombuf(header, "utf-8", "strict").size == size


async def test_the_lists_say_what_the_script_has_to_know() -> None:
    """Sorted as bytes, with the folders that files imply."""
    content = b"content"
    archive, manifest = await pack(
        SyncFile(path="b/c/f", size=7, mode=0o7755),
        SyncData(content),
        SyncLink("a", "b"),
        SyncDirectory("e"),
        SyncDelete("old"),
        excludes=("x",),
    )

    lists = dict(manifest.lists())
    records = [
        file_record("b/c/f", 0o755, hashlib.sha256(content).digest()),
        link_record("a", "b"),
        folder_record("e", 0o755),
    ]
    assert lists["want"] == b"".join(sorted(records))
    assert lists["nondirs"] == b"./a\0./b/c/f\0"
    assert lists["dirs"] == b"./b\0./b/c\0./e\0"
    assert lists["named-dirs"] == b"./e\0"
    assert lists["without-mode"] == b"./e\0"
    assert lists["deletes"] == b"./old\0"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getnames()[-1] == "c/complete"
        want = tar.extractfile("c/want")
        assert want is not None
        assert want.read() == lists["want"]


async def test_memory_does_not_grow_with_content() -> None:
    """A file of 128 MiB passes through without being held."""
    size = 128
    chunk = bytes(MIB)

    async def parts() -> AsyncIterator[SyncPart]:
        yield SyncFile(path="large", size=size * MIB)
        for _ in range(size):
            yield SyncData(chunk)

    packer = Packer(Manifest(Limits(), Excludes(())))
    packed = 0
    tracemalloc.start()
    try:
        async for piece in packer.pack(parts()):
            packed += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert packed > size * MIB
    assert peak < 6 * MIB


def test_the_digest_is_of_sorted_records() -> None:
    """Whoever computes it needs no order of their own."""
    records = [file_record("é", 0o644, bytes(32)), folder_record("d", 0o755), link_record("l", "t")]

    joined = b"d0755 ./d\0" + b"0" * 64 + b" f0644 ./\xc3\xa9\0" + b"l ./l//t\0"
    assert root_digest(records) == root_digest(reversed(records))
    assert root_digest(records) == hashlib.sha256(b"".join(sorted(records))).digest()
    assert sorted(joined.split(b"\0")) == sorted(b"".join(records).split(b"\0"))


@pytest.mark.parametrize(("pattern", "path", "folder", "excluded"), PATTERNS)
def test_patterns_mean_what_gitignore_means(
    pattern: str, path: str, folder: bool, excluded: bool
) -> None:
    """The cases that people trip over."""
    assert Excludes((pattern,)).match(path, folder=folder) is excluded


@pytest.mark.parametrize(
    "pattern",
    [
        "!a",
        "a//b",
        "../a",
        "/",
        "\\",
        "[a",
        "[]a]",
        "[[:alpha:]]",
        "[z-a]",
        "a\n",
        "x" * 1025,
        "*a" * 17,
    ],
)
def test_a_pattern_that_is_not_understood_is_refused(pattern: str) -> None:
    """The field of the request is named."""
    with pytest.raises(InvalidRequestError, match=re.escape("header.excludes[1]")):
        Excludes(("fine", pattern))


def test_patterns_fit_into_one_argument() -> None:
    """Else the kernel would not start `find`, and the caller would not learn why."""
    Excludes(["x" * 1000] * 90)

    for patterns in (["x" * 1000] * 120, ["?" * 1000] * 5, ["?" * 1000 + "/"] * 5):
        with pytest.raises(InvalidRequestError, match="too long in all"):
            Excludes(patterns)
