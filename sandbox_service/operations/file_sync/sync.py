"""The sync operation: one upload, one command in the sandbox, one receipt."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Hashable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, Final, TypeVar

from sandbox_service.domain.errors import DiskFullError, InvalidRequestError, SandboxError
from sandbox_service.domain.files import SyncHeader, SyncPart, SyncReceipt
from sandbox_service.domain.limits import Limits
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.sandboxes import SandboxRecord
from sandbox_service.operations.commands import run_command
from sandbox_service.operations.file_sync import script
from sandbox_service.operations.file_sync.excludes import Excludes
from sandbox_service.operations.file_sync.manifest import RECORDS_BYTES_MAX, Manifest, check_root
from sandbox_service.operations.file_sync.packing import Packer

APPLY_TIMEOUT: Final = timedelta(minutes=10)
_DISCARD_TIMEOUT: Final = timedelta(seconds=30)
_DIGEST_BYTES: Final = 32

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Upload:
    """An archive that lies in the sandbox."""

    name: str
    size: int
    duration: timedelta


class FileSync:
    """Syncs trees into sandboxes.

    What arrives is packed into one archive and sent on as it comes. A script in
    the sandbox then unpacks it beside the root, compares every hash, moves in
    what differs by rename, and deletes last. A sync that fails before the moves
    has changed nothing; one that fails later leaves each file old or new.

    Args:
        provider: Where the sandboxes are.
        limits: How large one sync may be.
        on_synced: Told of each receipt, retries left out.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        limits: Limits,
        *,
        on_synced: Callable[[SyncReceipt], None] | None = None,
    ) -> None:
        self._provider = provider
        self._limits = limits
        self._on_synced = on_synced
        self._locks = _Locks()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def sync(
        self,
        record: SandboxRecord,
        header: SyncHeader,
        parts: AsyncIterator[SyncPart],
        refusal: SandboxError | None = None,
    ) -> SyncReceipt:
        """Make a folder of a sandbox what the parts say.

        Cancelling the call while parts arrive changes nothing. Once all have
        arrived the sync goes on to its end without the caller, who finds the
        receipt by repeating the call with the same sync id. It lies in the sandbox,
        so that any instance of the service finds it.

        Args:
            record: A running sandbox of the caller.
            header: Where to write, and how.
            parts: Files, each followed by its content, and links, folders and
                deletes, in any order. Read once, as fast as the sandbox takes them.
            refusal: Raised instead of changing anything.

        Raises:
            InvalidRequestError: A part cannot be synced. Nothing was changed.
            InvalidPathError: A path leaves the root, or lies below a link that
                does. Nothing was changed.
            PayloadTooLargeError: It is more than one sync may have. Nothing was changed.
            ChecksumMismatchError: Content is not what was announced. Nothing was changed.
            VerifyFailedError: It was damaged on its way. Nothing was changed.
            NotAFileError: A folder is where a file is to be, or the reverse.
                Nothing was changed.
            FileNotAccessibleError: The user may not write there. Nothing was
                changed, unless the message says so.
            UserNotFoundError: There is no such user. Nothing was changed.
            RootDigestMismatchError: The root has another digest. Nothing was changed.
            SyncIdReusedError: The sync id belongs to another sync.
            DiskFullError: Each file is whole, old or new.
            OutcomeUnknownError: Contact was lost, or it took too long.
        """
        _check_header(header)
        manifest = Manifest(self._limits, Excludes(header.excludes))
        archive = Packer(manifest).pack(parts)
        async with aclosing(archive):
            return await self._run(record, header, manifest, archive, refusal)

    def keep_reload(self, record: SandboxRecord, header: SyncHeader, result: bytes) -> None:
        """Keep the result of a sync's reload action with its receipt, in the background.

        Without an id of the sync there is no receipt, and nothing happens; nor
        does it when the result is empty.

        Args:
            record: The sandbox.
            header: Of the sync.
            result: Given back in the receipt of a repeated call.
        """
        if header.sync_id and result:
            self._background(self._keep_reload(record, header, result))

    async def drain(self, limit_s: float) -> None:
        """Wait for the syncs and the cleaning that go on without a caller, then give up.

        A sync that is given up still ends by itself, inside the sandbox.
        """
        deadline = monotonic() + limit_s
        while self._tasks and (left := deadline - monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        for task in self._tasks:
            task.cancel()

    async def _run(
        self,
        record: SandboxRecord,
        header: SyncHeader,
        manifest: Manifest,
        archive: AsyncIterator[bytes],
        refusal: SandboxError | None,
    ) -> SyncReceipt:
        name = secrets.token_hex(8)
        began = monotonic()
        try:
            size = await self._upload(record.sandbox_id, name, archive, header.user)
        except BaseException as error:
            self._background(self._discard(record.sandbox_id, name, header.user))
            if isinstance(error, DiskFullError):
                raise script.disk_full(record.sandbox_id, header.root) from error
            raise
        upload = _Upload(name, size, timedelta(seconds=monotonic() - began))
        applying = self._apply(record, header, manifest, upload, refusal)
        return await asyncio.shield(self._background(applying))

    async def _upload(
        self, sandbox_id: str, name: str, archive: AsyncIterator[bytes], user: str
    ) -> int:
        """Send the archive in. Returns its bytes."""
        failures: list[Exception] = []
        size = 0

        async def watched() -> AsyncGenerator[bytes, None]:
            nonlocal size
            try:
                async for piece in archive:
                    size += len(piece)
                    yield piece
            except Exception as error:
                failures.append(error)
                raise

        async with aclosing(watched()) as content:
            try:
                await self._provider.write_file(
                    sandbox_id, script.archive_path(name), content, user
                )
            except Exception:
                # What the parts did wrong is the cause; how the upload broke on it is not.
                if failures:
                    raise failures[0] from None
                raise
        return size

    async def _apply(
        self,
        record: SandboxRecord,
        header: SyncHeader,
        manifest: Manifest,
        upload: _Upload,
        refusal: SandboxError | None,
    ) -> SyncReceipt:
        began = monotonic()
        asked = script.Asked(
            sync_id=header.sync_id,
            digest=_request_digest(header, manifest) if header.sync_id else "",
            content_bytes=manifest.content_bytes,
            uploading=upload.duration,
        )
        # One at a time in a sandbox, for roots may lie in one another.
        async with self._locks.hold(record.sandbox_id):
            try:
                result = await run_command(
                    self._provider,
                    record.sandbox_id,
                    script.apply_argv(
                        header,
                        upload.name,
                        upload.size,
                        manifest.longest_path,
                        asked,
                        record.preview.port,
                        manifest.excludes,
                        may_change=refusal is None,
                    ),
                    user=header.user,
                    timeout=APPLY_TIMEOUT,
                    output_limit=2 * RECORDS_BYTES_MAX,
                )
            except SandboxError:
                self._background(self._discard(record.sandbox_id, upload.name, header.user))
                raise
        if result.exit_code is None:
            self._background(self._discard(record.sandbox_id, upload.name, header.user))
        applied = script.parse(result, record.sandbox_id, header, refusal)
        receipt = _receipt(header, manifest, applied, timedelta(seconds=monotonic() - began))
        if self._on_synced is not None and not receipt.repeated:
            self._on_synced(receipt)
        return receipt

    async def _keep_reload(self, record: SandboxRecord, header: SyncHeader, result: bytes) -> None:
        path = script.reload_path(header.sync_id)
        with suppress(SandboxError):
            await self._provider.write_file(record.sandbox_id, path, result, header.user)

    async def _discard(self, sandbox_id: str, name: str, user: str) -> None:
        """Remove what nobody will apply any more, if it can be done."""
        try:
            await run_command(
                self._provider,
                sandbox_id,
                script.discard_argv(name),
                user=user,
                timeout=_DISCARD_TIMEOUT,
            )
        except SandboxError:
            return  # The next sync of the sandbox removes archives that are old.

    def _background(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # A caller that left does not ask; asyncio would complain of it.


class _Locks:
    """Locks by key, kept only while somebody holds or wants them."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Hold the lock of a key."""
        lock, wanted = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, wanted + 1
        try:
            async with lock:
                yield
        finally:
            _, wanted = self._locks[key]
            if wanted > 1:
                self._locks[key] = lock, wanted - 1
            else:
                del self._locks[key]


def _receipt(
    header: SyncHeader, manifest: Manifest, applied: script.Applied, took: timedelta
) -> SyncReceipt:
    """Return the receipt of what was applied, now or by an earlier call that asked for the same."""
    phases = [("upload", applied.uploading), *applied.phases]
    if not applied.stored:
        inside = sum((it for _, it in applied.phases), timedelta(0))
        phases.append(("run", max(took - inside, timedelta(0))))
    return SyncReceipt(
        sync_id=header.sync_id,
        root=applied.root,
        added=applied.added,
        modified=applied.modified,
        deleted=applied.deleted,
        unchanged=manifest.named - len(applied.added) - len(applied.modified),
        content_bytes=applied.content_bytes,
        written_bytes=manifest.size_of((*applied.added, *applied.modified)),
        root_digest=applied.root_digest,
        others=applied.others,
        user=applied.user,
        timings=tuple(phases),
        repeated=applied.stored,
        listening=applied.listening,
        reload_result=applied.reload_result,
    )


def _check_header(header: SyncHeader) -> None:
    check_root(header.root)
    digest = header.if_root_digest
    if digest is not None and len(digest) != _DIGEST_BYTES:
        raise InvalidRequestError.of("header.if_root_digest", f"is not {_DIGEST_BYTES} bytes")


def _request_digest(header: SyncHeader, manifest: Manifest) -> str:
    fields = (
        header.root,
        header.mode.value,
        header.verify.value,
        header.excludes,
        header.if_root_digest,
        header.user,
        header.reload_digest,
        manifest.digest(),
    )
    return hashlib.sha256(repr(fields).encode()).hexdigest()
