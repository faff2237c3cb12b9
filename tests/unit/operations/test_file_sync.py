"""The sync operation, with a sandbox that answers what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

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
from sandbox_service.operations.file_sync import FileSync, receipts, script
from sandbox_service.operations.file_sync.receipts import ReceiptKey, Receipts, StoredReceipt
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


async def test_the_receipt_is_what_the_sandbox_reports() -> None:
    """And the callback is told of it, once."""
    told: list[SyncReceipt] = []
    sync = file_sync(CannedSandbox(), on_synced=told.append)

    receipt = await sync.sync(record(), HEADER, parts(b"1", b"22", b"3"))
    again = await sync.sync(record(), HEADER, parts(b"1", b"22", b"3"))

    assert told == [receipt]
    assert again.repeated
    assert (receipt.added, receipt.modified, receipt.deleted) == (("a",), ("b",), ("c\\xff",))
    assert (receipt.unchanged, receipt.content_bytes, receipt.written_bytes) == (1, 4, 3)
    assert (receipt.root, receipt.root_digest.hex(), receipt.user) == ("/r", DIGEST, "user")


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
async def test_another_sync_of_the_same_id_is_refused(
    header: SyncHeader, contents: tuple[bytes, ...]
) -> None:
    """A receipt is never given for what was not done."""
    sandbox = CannedSandbox()
    sync = file_sync(sandbox)
    await sync.sync(record(), HEADER, parts(b"1"))

    with pytest.raises(SyncIdReusedError):
        await sync.sync(record(), header, parts(*contents))

    assert sandbox.applied == 1


async def test_an_id_counts_for_one_incarnation() -> None:
    """A sandbox that was restored does not have what an earlier one was sent."""
    sandbox = CannedSandbox()
    sync = file_sync(sandbox)
    await sync.sync(record(), HEADER, parts(b"1"))

    receipt = await sync.sync(record(generation=2), HEADER, parts(b"1"))

    assert not receipt.repeated
    assert sandbox.applied == 2


async def test_a_failed_sync_frees_its_id() -> None:
    """Only what succeeded has a receipt."""
    sandbox = CannedSandbox(out(b"=failed\0unpack\0\0other\0"), ProcessEnd(3, ""))
    sync = file_sync(sandbox)
    with pytest.raises(VerifyFailedError):
        await sync.sync(record(), HEADER, parts(b"1"))
    sandbox.events = (out(ANSWER), ProcessEnd(0, ""))

    assert not (await sync.sync(record(), HEADER, parts(b"2"))).repeated


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


async def test_a_retry_joins_the_sync_that_its_first_caller_left() -> None:
    """It is not applied twice, though the first one had no answer."""
    sandbox = CannedSandbox()
    sandbox.until = asyncio.Event()
    sync = file_sync(sandbox)
    first = asyncio.create_task(sync.sync(record(), HEADER, parts(b"1")))
    await settle()
    first.cancel()
    second = asyncio.create_task(sync.sync(record(), HEADER, parts(b"1")))
    await settle()
    sandbox.until.set()

    receipt = await second

    assert first.cancelled()
    assert receipt.repeated
    assert sandbox.applied == 1
    await sync.drain(10)


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
    (b"=failed\0would_change\0\0other\0", b"", 3, BackendError),
    (b"=failed\0digest\0", b"", 3, BackendError),
    (b"", b"mv: cannot move: Permission denied", 1, FileNotAccessibleError),
    (b"", b"bash: join: command not found", 127, BackendError),
    (b"=changes\0./a\0", b"", None, OutcomeUnknownError),
    (b"=changes\0./a\0", b"", 0, BackendError),
    (b"", b"", 0, BackendError),
]


@pytest.mark.parametrize(("stdout", "stderr", "exit_code", "error"), FAILURES)
def test_each_failure_of_the_script_is_a_decision_for_the_caller(
    stdout: bytes, stderr: bytes, exit_code: int | None, error: type[SandboxError]
) -> None:
    """No text of the sandbox's programs is passed on."""
    result = CommandResult(exit_code, "" if exit_code is not None else "KILL", stdout, stderr)

    with pytest.raises(SandboxError) as caught:
        script.parse(result, "sandbox-1", "project")

    assert type(caught.value) is error
    assert not stderr or stderr.decode() not in str(caught.value)


async def test_receipts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, and by the paths that they name; the newest one always stays."""
    monkeypatch.setattr(receipts, "RECEIPTS_MAX", 3)
    monkeypatch.setattr(receipts, "RECEIPT_PATHS_MAX", 10)
    receipt = await file_sync(CannedSandbox()).sync(record(), HEADER, parts(b"1", b"2"))
    kept = Receipts()
    keys = [ReceiptKey("s", 1, str(number)) for number in range(5)]
    for key in keys:
        kept.put(key, StoredReceipt(b"", b"", receipt))
    assert [kept.get(key) is not None for key in keys] == [False, False, True, True, True]

    monkeypatch.setattr(receipts, "RECEIPT_PATHS_MAX", 2)
    kept.put(ReceiptKey("s", 1, "large"), StoredReceipt(b"", b"", receipt))

    assert [kept.get(key) is not None for key in keys] == [False] * 5
    assert kept.get(ReceiptKey("s", 1, "large")) is not None
