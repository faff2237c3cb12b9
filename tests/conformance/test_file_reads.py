"""Files come out of sandboxes the same way, whichever backend they run on."""

from __future__ import annotations

import hashlib
import secrets

import pytest

from sandbox_service.domain.errors import FileNotAccessibleError, UserNotFoundError
from sandbox_service.domain.execs import ShellCommand
from sandbox_service.domain.file_reads import (
    FileInfo,
    FileRange,
    FolderQuery,
    ReadSummary,
    TreeQuery,
    TreeSummary,
)
from sandbox_service.domain.files import (
    EntryKind,
    SyncData,
    SyncFile,
    file_record,
    folder_record,
    link_record,
    root_digest,
)
from sandbox_service.operations.file_reads import FileReads
from tests.conformance.sandbox_backends import Box, record_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL_BYTES = bytes(range(256)) * 5000


async def folder_with(box: Box, script: str) -> str:
    name = f"reads-{secrets.token_hex(4)}"
    ran = await box.run(ShellCommand(f"mkdir {name} && cd {name} && {script}"))
    assert ran.end.exit_code == 0, ran.stderr
    return name


async def test_a_file_and_its_range_are_exact_bytes(box: Box):
    """Through every layer between a disk in the sandbox and here."""
    folder = await folder_with(box, "true")
    await box.provider.write_file(box.id, f"{folder}/it", ALL_BYTES)
    reads, record = FileReads(box.provider), record_of(box.sandbox)
    for offset, length in ((0, None), (255, 70_000), (len(ALL_BYTES), None)):
        what = FileRange(path=f"{folder}/it", offset=offset, length=length)
        info, *pieces, summary = [it async for it in reads.read(record, what)]
        expected = ALL_BYTES[offset:] if length is None else ALL_BYTES[offset : offset + length]

        assert isinstance(info, FileInfo)
        assert info.path.endswith(f"/{folder}/it")
        assert info.size == len(ALL_BYTES)
        assert b"".join(pieces) == expected
        assert summary == ReadSummary(len(expected), hashlib.sha256(expected).digest())


async def test_a_folder_is_listed_with_what_is_in_it(box: Box):
    """By the tools that every template has."""
    folder = await folder_with(
        box, "mkdir d && printf abc >d/f && ln -s d/f l && touch -d @5.5 d/f"
    )
    query = FolderQuery(path=folder, depth=2, page_size=2)
    first = await FileReads(box.provider).list(record_of(box.sandbox), query)
    query = FolderQuery(path=folder, depth=2, page_size=2, page_token=first.next_page_token)
    last = await FileReads(box.provider).list(record_of(box.sandbox), query)
    found = [*first.files, *last.files]

    assert [it.path.partition(folder)[2] for it in found] == ["/d", "/d/f", "/l"]
    assert [it.kind for it in found] == [EntryKind.DIRECTORY, EntryKind.FILE, EntryKind.LINK]
    assert found[1].modify_time is not None
    assert (found[1].size, found[1].modify_time.timestamp()) == (3, 5.5)
    assert found[2].link_target == "d/f"
    assert not last.next_page_token


async def test_a_tree_comes_out_with_its_digest(box: Box):
    """As tar of that template packs it."""
    long = "n" * 200
    folder = await folder_with(
        box, f"mkdir -m 700 d && printf abc >d/ü && chmod 640 d/ü && ln -s {long} l && touch {long}"
    )
    query = TreeQuery(root=folder, excludes=("?.log",))
    parts = [it async for it in FileReads(box.provider).download(record_of(box.sandbox), query)]
    summary = parts[-1]

    assert isinstance(summary, TreeSummary)
    assert summary.root_digest == root_digest(
        [
            folder_record("d", 0o700),
            file_record("d/ü", 0o640, hashlib.sha256(b"abc").digest()),
            file_record(long, 0o644, hashlib.sha256(b"").digest()),
            link_record("l", long),
        ]
    )
    assert (summary.entries, summary.sent_bytes, summary.skipped) == (4, 3, 0)
    at = next(n for n, it in enumerate(parts) if isinstance(it, SyncFile) and it.path == "d/ü")
    assert parts[at + 1] == SyncData(b"abc")


async def test_users_are_those_of_the_sandbox(box: Box):
    """What the kernel there denies is denied, and a user that is not there is told."""
    folder = await folder_with(box, "touch it && chmod 0 it")
    reads, record = FileReads(box.provider), record_of(box.sandbox)
    with pytest.raises(FileNotAccessibleError):
        await anext(reads.read(record, FileRange(path=f"{folder}/it")))
    with pytest.raises(UserNotFoundError):
        await anext(reads.read(record, FileRange(path="/etc/passwd", user="no-such-user")))
