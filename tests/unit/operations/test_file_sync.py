"""The sync operation, with a sandbox that answers what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sandbox_service.domain.errors import (
    BackendError,
    BackendUnavailableError,
    ChecksumMismatchError,
    DiskFullError,
    FileNotAccessibleError,
    InvalidPathError,
    InvalidRequestError,
    NotAFileError,
    OutcomeUnknownError,
    RootDigestMismatchError,
    SandboxError,
    SandboxNotReadyError,
    SyncIdReusedError,
    VerifyFailedError,
)
from sandbox_service.domain.file_errors import ContentMissingError
from sandbox_service.domain.files import (
    SyncData,
    SyncFile,
    SyncHeader,
    SyncMode,
    SyncPart,
    SyncReceipt,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.processes import ProcessEnd
from sandbox_service.domain.sandboxes import (
    InternetAccess,
    PreviewSpec,
    Resources,
    SandboxRecord,
    SandboxState,
)
from sandbox_service.operations.commands import CommandResult
from sandbox_service.operations.file_sync import FileSync, script
from tests.unit.operations.canned_sandbox import ANSWER, DIGEST, CannedSandbox, Event, out, settle


def record(generation: int = 1) -> SandboxRecord:
    now = datetime.now(UTC)
    return SandboxRecord(
        sandbox_id="sandbox-1",
        tenant="tenant",
        user="",
        owner="",
        state=SandboxState.RUNNING,
        template="base",
        backend_template_id="base",
        resources=Resources(1, 512),
        metadata={},
        create_time=now,
        state_time=now,
        expire_time=now,
        preview=PreviewSpec(),
        internet=InternetAccess.BACKEND_DEFAULT,
        generation=generation,
    )


async def parts(*contents: bytes) -> AsyncIterator[SyncPart]:
    for name, content in zip("abcdef", contents, strict=False):
        yield SyncFile(path=name, size=len(content))
        yield SyncData(content)


def file_sync(sandbox: CannedSandbox, **options: object) -> FileSync:
    return FileSync(sandbox, Limits(), **options)  # type: ignore[arg-type]


HEADER = SyncHeader(root="project", sync_id="1")

RECEIPT = 13
"""Where the name that a receipt is kept by is in the command; the digest of the request follows."""


async def test_the_receipt_is_what_the_sandbox_reports() -> None:
    """And the callback is told of it, once."""
    told: list[SyncReceipt] = []
    sandbox = CannedSandbox()
    sync = file_sync(sandbox, on_synced=told.append)

    receipt = await sync.sync(record(), HEADER, parts(b"1", b"22", b"3"))
    sandbox.events = (out(b"=stored\0"), out(ANSWER), out(b"re\0load"), ProcessEnd(0, ""))
    again = await sync.sync(record(), HEADER, parts(b"1", b"22", b"3"))

    assert told == [receipt]
    assert (receipt.added, receipt.modified, receipt.deleted) == (("a",), ("b",), ("c\\xff",))
    assert (receipt.unchanged, receipt.content_bytes, receipt.written_bytes) == (1, 4, 3)
    assert (receipt.root, receipt.root_digest.hex(), receipt.user) == ("/r", DIGEST, "user")
    assert [phase for phase, _ in receipt.timings] == ["upload", "unpack", "run"]
    assert again.repeated
    assert again.reload_result == b"re\0load"
    timings = (("upload", timedelta(microseconds=1500)), ("unpack", timedelta(milliseconds=2)))
    assert again == replace(
        receipt, repeated=True, listening=None, reload_result=b"re\0load", timings=timings
    )


@pytest.mark.parametrize("root", ["/", "//", "../x", "a/../b", "/a/../b", "a/.sandbox-sync", "~\0"])
async def test_a_root_that_is_no_folder_of_the_callers_is_refused(root: str) -> None:
    """Before anything is sent."""
    sandbox = CannedSandbox()

    with pytest.raises(InvalidPathError):
        await file_sync(sandbox).sync(record(), SyncHeader(root=root), parts(b"1"))

    assert not sandbox.files


async def test_a_digest_of_the_wrong_size_is_refused() -> None:
    """It could never match."""
    with pytest.raises(InvalidRequestError):
        await file_sync(CannedSandbox()).sync(
            record(), SyncHeader(root="", if_root_digest=b"short"), parts()
        )


@pytest.mark.parametrize(
    ("header", "contents"),
    [
        (SyncHeader(root="other", sync_id="1"), (b"1",)),
        (SyncHeader(root="project", sync_id="1", mode=SyncMode.MIRROR), (b"1",)),
        (SyncHeader(root="project", sync_id="1", reload_digest=bytes(32)), (b"1",)),
        (HEADER, (b"2",)),
        (HEADER, (b"1", b"2")),
    ],
)
async def test_a_receipt_is_kept_by_all_that_was_asked_for(
    header: SyncHeader, contents: tuple[bytes, ...]
) -> None:
    """None is ever given for what was not done."""
    sandbox = CannedSandbox()
    sync = file_sync(sandbox)
    await sync.sync(record(), HEADER, parts(b"1"))
    await sync.sync(record(), HEADER, parts(b"1"))
    await sync.sync(record(), header, parts(*contents))

    names, digests = zip(
        *(program[RECEIPT : RECEIPT + 2] for program in sandbox.programs), strict=True
    )
    assert len(set(names)) == 1
    assert digests[0] == digests[1] != digests[2]


async def test_a_sync_without_an_id_keeps_nothing() -> None:
    """Nor is the result of its reload action kept."""
    sandbox = CannedSandbox()
    sync = file_sync(sandbox)
    header = SyncHeader(root="project")
    await sync.sync(record(), header, parts(b"1"))
    sync.keep_reload(record(), header, b"result")
    sync.keep_reload(record(), HEADER, b"")
    await sync.drain(10)

    assert sandbox.programs[0][RECEIPT : RECEIPT + 2] == ("", "")
    assert len(sandbox.files) == 1


async def test_a_reload_result_is_kept_beside_its_receipt() -> None:
    """Under a name that the script finds, whatever the id looks like."""
    sandbox = CannedSandbox()
    sync = file_sync(sandbox)
    header = SyncHeader(root="project", sync_id="../../x")
    await sync.sync(record(), header, parts(b"1"))
    sync.keep_reload(record(), header, b"result")
    await sync.drain(10)

    name = sandbox.programs[0][RECEIPT]
    assert name.isalnum()
    assert sandbox.files[f".sandbox-sync/receipts/{name}.reload"] == b"result"


async def test_syncs_of_one_sandbox_are_applied_one_after_the_other() -> None:
    """Roots may lie in one another."""
    sandbox = CannedSandbox()
    sandbox.until = asyncio.Event()
    sync = file_sync(sandbox)
    async with asyncio.TaskGroup() as group:
        for root in "ab":
            group.create_task(sync.sync(record(), SyncHeader(root=root), parts(b"1")))
        await settle()
        assert len(sandbox.files) == 2
        assert sandbox.applied == 1
        sandbox.until.set()

    assert sandbox.applied == 2


async def test_what_is_wrong_with_the_parts_is_the_error_not_how_the_upload_broke() -> None:
    """A client library wraps what its source raises."""
    sandbox = CannedSandbox()
    sandbox.write_error = BackendUnavailableError("broken pipe")
    sync = file_sync(sandbox)

    async def short() -> AsyncIterator[SyncPart]:
        yield SyncFile(path="a", size=2)

    with pytest.raises(ChecksumMismatchError):
        await sync.sync(record(), HEADER, short())
    with pytest.raises(BackendUnavailableError):
        await sync.sync(record(), HEADER, parts(b"1"))
    await sync.drain(10)
    assert sandbox.applied == 0
    assert len(sandbox.programs) == 2


@pytest.mark.parametrize(
    ("start_error", "events", "error"),
    [
        (BackendUnavailableError("no"), (), BackendUnavailableError),
        (None, (BackendUnavailableError("lost"),), OutcomeUnknownError),
        (None, (ProcessEnd(None, "KILL"),), OutcomeUnknownError),
    ],
)
async def test_a_sync_that_was_not_applied_is_cleaned_up(
    start_error: SandboxError | None, events: tuple[Event | Exception, ...], error: type[Exception]
) -> None:
    """Whether it never began, was lost or was killed."""
    sandbox = CannedSandbox(*events)
    sandbox.start_error = start_error
    sync = file_sync(sandbox)

    with pytest.raises(error):
        await sync.sync(record(), HEADER, parts(b"1"))

    await sync.drain(10)
    assert next(iter(sandbox.files)) in sandbox.programs[-1]
    assert sandbox.applied == 1


FAILURES = [
    (b"=failed\0digest\0" + DIGEST.encode() + b"\0other\0", b"", 3, RootDigestMismatchError),
    (b"=failed\0checksum\0x\0other\0", b"", 3, VerifyFailedError),
    (b"=failed\0unpack\0\0other\0", b"tar: short read", 3, VerifyFailedError),
    (b"=failed\0unpack\0\0other\0", b"tar: a: No space left on device", 3, DiskFullError),
    (b"", b"sort: write failed: Disk quota exceeded", 2, DiskFullError),
    (b"=failed\0leaves_root\0./a\0link\0", b"", 3, InvalidPathError),
    (b"=failed\0in_the_way\0./a\0file\0", b"", 3, NotAFileError),
    (b"=failed\0not_a_folder\0/a\0file\0", b"", 3, NotAFileError),
    (b"=failed\0no_root\0/\0directory\0", b"", 3, InvalidPathError),
    (b"=failed\0too_long\0a\0other\0", b"", 3, InvalidPathError),
    (b"=failed\0denied\0/a\0directory\0", b"", 3, FileNotAccessibleError),
    (b"=failed\0busy\0\0other\0", b"", 3, SandboxNotReadyError),
    (b"=failed\0sync_id\0\0other\0", b"", 3, SyncIdReusedError),
    (b"=failed\0unchanged\0ab ./a\0other\0", b"", 3, ContentMissingError),
    (b"=failed\0would_change\0\0other\0", b"", 3, BackendError),
    (b"=failed\0digest\0", b"", 3, BackendError),
    (b"", b"mv: cannot move: Permission denied", 1, FileNotAccessibleError),
    (b"", b"bash: join: command not found", 127, BackendError),
    (b"=changes\0./a\0", b"", None, OutcomeUnknownError),
    (b"=changes\0./a\0", b"", 0, BackendError),
    (ANSWER.replace(b"1500", b"soon"), b"", 0, BackendError),
    (b"", b"", 0, BackendError),
]


@pytest.mark.parametrize(("stdout", "stderr", "exit_code", "error"), FAILURES)
def test_each_failure_of_the_script_is_a_decision_for_the_caller(
    stdout: bytes, stderr: bytes, exit_code: int | None, error: type[SandboxError]
) -> None:
    """No text of the sandbox's programs is passed on."""
    result = CommandResult(exit_code, "" if exit_code is not None else "KILL", stdout, stderr)

    with pytest.raises(SandboxError) as caught:
        script.parse(result, "sandbox-1", HEADER)

    assert type(caught.value) is error
    assert not stderr or stderr.decode() not in str(caught.value)
