"""Syncing a folder: look at it, hash it, ask what differs, send that, and check the result."""

from __future__ import annotations

import asyncio
import enum
import hashlib
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from miosa.sandbox import v1 as pb

from sandbox_service.client.digest import records
from sandbox_service.client.errors import SyncError, reason_of, sync_error
from sandbox_service.client.excludes import excludes
from sandbox_service.client.hashes import HashCache, hash_files
from sandbox_service.client.ignores import IgnoreError, Ignores
from sandbox_service.client.memory import Memory
from sandbox_service.client.plan import Plan, compare
from sandbox_service.client.tree import Tree, TreeError, walk
from sandbox_service.client.upload import SourceChangedError, upload
from sandbox_service.client.work import InTheWayError, Work, work

_ROUNDS_MAX: Final = 5

# After these somebody else was faster, here or in the sandbox: look again.
_CHANGED: Final = frozenset({"ROOT_DIGEST_MISMATCH", "CHECKSUM_MISMATCH", "CONTENT_MISSING"})

# And after these, if nobody had asked what is in the sandbox: a pipe may be in the way.
_OTHERWISE: Final = frozenset({"NOT_A_FILE", "INVALID_PATH"})


class Phase(enum.StrEnum):
    """What a sync is about just now."""

    HASH = "hashing"
    COMPARE = "comparing"
    SEND = "sending"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a phase is.

    Attributes:
        files, size: Files and bytes of content that are done.
        files_total, size_total: Of how many; 0 where nothing is counted.
    """

    phase: Phase
    files: int = 0
    size: int = 0
    files_total: int = 0
    size_total: int = 0


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync came to.

    Attributes:
        plan: What differed. After a repetition: what still did.
        work: What followed from it; after a repetition, of all rounds.
        receipt: The service's. None when nothing had to be sent, or it was only planned.
        root_digest: Of the tree here, 32 bytes.
        identical: Whether the sandbox's folder has the same digest; None when that cannot
            be told, for it keeps entries that this folder does not have.
        tree: What is here, and why some of it could not be synced.
        stuck: What the sandbox was told to delete and still has: folders with something in
            them that is excluded, and what a program there makes again.
        rounds: How often it was looked at.
    """

    plan: Plan
    work: Work
    receipt: pb.SyncFilesResponse | None
    root_digest: bytes
    identical: bool | None
    tree: Tree
    stuck: Sequence[str] = ()
    rounds: int = 1

    @property
    def changed(self) -> bool:
        """Whether anything came of it in the sandbox, other than that a root was made."""
        it = self.receipt
        return it is not None and bool(it.added or it.modified or it.deleted)


@dataclass(slots=True)
class FolderSync:
    """Syncs folders into sandboxes.

    Whatever is sent, the service writes it only while the sandbox's folder is still as it
    was planned with; else all is looked at again. So only what differs is named, also
    when the folder is to become the same: what is extra is deleted by name.

    Attributes:
        stub: Of SandboxService.
        metadata: Of every call.
        gitignore: Whether to heed `.gitignore` files.
        cached: Whether to keep hashes, and what was synced, in the user's cache folder.
        on_progress: Told how far it is, from any thread.
    """

    stub: Any
    metadata: Sequence[tuple[str, str]]
    gitignore: bool = True
    cached: bool = True
    on_progress: Callable[[Progress], None] | None = None
    _caches: dict[Path, HashCache] = field(default_factory=dict)
    _memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        self._memory = Memory(cached=self.cached)

    async def sync(
        self, folder: Path, header: pb.SyncFilesHeader, *, dry_run: bool = False
    ) -> Synced:
        """Bring what is in a folder into a sandbox.

        Args:
            folder: What to sync.
            header: Where to, and how, as for SyncFiles. With the mode MIRROR the root
                becomes the same: what only the sandbox has is deleted, unless it is left
                out here. `excludes` are heeded here as well. `sync_id` and
                `if_root_digest` are set for every round.
            dry_run: Only plans, and changes nothing.

        Raises:
            SyncError: It failed. Unless its reason says otherwise, each file in the sandbox
                is whole: as it was, or as it is here.
        """
        try:
            return await self._rounds(folder, header, dry_run=dry_run)
        except grpc.aio.AioRpcError as error:
            raise sync_error(error) from error
        except TreeError as error:
            raise SyncError(str(error), "") from error
        except IgnoreError as error:
            raise SyncError(str(error), "", field="header.excludes") from error
        except InTheWayError as error:
            raise SyncError(
                str(error), "Delete it in the sandbox, or let the sync delete (--delete, MIRROR)."
            ) from error
        except EOFError as error:
            raise SyncError(f"The service broke off: {error}.", "Sync again.") from error

    async def listening(self, header: pb.SyncFilesHeader, synced: Synced) -> bool:
        """Return whether something listens on the sandbox's preview port after a sync.

        Args:
            header: The sync's. Its `preview_wait` is how long to wait for it.
            synced: What came of the sync: it has waited itself if it changed something.

        Raises:
            SyncError: Nobody could look.
        """
        if synced.receipt is not None:
            return bool(synced.receipt.preview_state == pb.PREVIEW_STATE_LISTENING)
        asking = pb.GetPreviewRequest(sandbox_id=header.sandbox_id, wait=header.preview_wait)
        try:
            answer = await self.stub.GetPreview(asking, metadata=self.metadata)
        except grpc.aio.AioRpcError as error:
            raise sync_error(error) from error
        return bool(answer.preview_state == pb.PREVIEW_STATE_LISTENING)

    async def _rounds(self, folder: Path, header: pb.SyncFilesHeader, *, dry_run: bool) -> Synced:
        mirror = header.mode == pb.SYNC_MODE_MIRROR
        receipts: list[pb.SyncFilesResponse] = []
        asked: set[str] = set()
        why = ""
        for count in range(1, _ROUNDS_MAX + 1):
            tree = await self._looked(folder, header)
            asking = _plan_header(header, excludes(tree.ignores))
            entries = records(tree)
            digest = hashlib.sha256(entries).digest()
            recalled = None if dry_run else self._recalled(asking, tree, entries, delete=mirror)
            if recalled is None:
                self._tell(Progress(Phase.COMPARE))
                plan = await compare(self.stub, self.metadata, asking, tree)
                todo = work(tree, plan, delete=mirror)
            else:
                plan, todo = recalled
            stuck = [path for path in todo.deletes if path in asked]
            same = None if todo.kept or stuck else plan.summary.root_digest == digest
            done = _is_there(todo, plan, stuck)
            if done and same is False:
                raise SyncError(
                    "The sandbox's folder is the same, but its digest is another one.",
                    "This is a fault of the service or of this program.",
                )
            if dry_run or done:
                if same and not dry_run:
                    self._memory.keep(asking, entries)
                receipt = _merged(receipts)
                return Synced(plan, todo, receipt, digest, same, tree, stuck, count)
            try:
                receipt = await self._send(tree, todo, _sync_header(header, asking, plan))
            except SourceChangedError as error:
                why = f"{error} changed while it was sent"
                continue
            except grpc.aio.AioRpcError as error:
                again = _CHANGED if recalled is None else _CHANGED | _OTHERWISE
                if reason_of(error) not in again or count == _ROUNDS_MAX:
                    raise
                self._memory.forget(asking)
                continue
            receipts.append(receipt)
            asked.update(todo.deletes)
            plan.summary.root = receipt.root
            same = None if todo.kept or receipt.others else receipt.root_digest == digest
            if same:
                self._memory.keep(asking, entries)
            else:
                self._memory.forget(asking)
            # No digest tells of a pipe or a socket. A plan does, so that it is deleted.
            unseen = recalled is not None and mirror and receipt.others
            if same is not False and not unseen:
                whole = _merged(receipts)
                return Synced(plan, todo, whole, digest, same, tree, (), count)
            why = "the sandbox's folder was changed meanwhile"
        raise SyncError(
            f"The sync did not come to an end: {why}, {_ROUNDS_MAX} times.",
            "Exclude what is written all the time.",
        )

    def _recalled(
        self, asking: pb.PlanSyncHeader, tree: Tree, entries: bytes, *, delete: bool
    ) -> tuple[Plan, Work] | None:
        """Return what there is to do, by what is remembered of the sandbox's folder.

        None: ask the service. It is also asked when nothing is to be done, or something
        is in the way: only it knows.
        """
        plan = self._memory.recall(asking, tree, entries)
        if plan is None:
            return None
        try:
            todo = work(tree, plan, delete=delete)
        except InTheWayError:
            return None
        return None if todo.empty or todo.kept else (plan, todo)

    async def _looked(self, folder: Path, header: pb.SyncFilesHeader) -> Tree:
        """Return the tree of a folder, hashed."""
        stop = threading.Event()
        try:
            return await asyncio.to_thread(self._look, folder, header, stop)
        finally:
            # Nobody can cancel a thread, and Python does not end before it.
            stop.set()

    def _look(self, folder: Path, header: pb.SyncFilesHeader, stop: threading.Event) -> Tree:
        tree = walk(folder, Ignores(header.excludes), gitignore=self.gitignore, stop=stop)
        total = len(tree.files), sum(it.stamp.size for it in tree.files.values())
        told = self._counter(Phase.HASH, *total)
        if header.verify == pb.SYNC_VERIFY_FULL:
            cache = HashCache(None)
        elif (found := self._caches.get(tree.folder)) is not None:
            cache = found
        else:
            cache = HashCache.of_user(tree.folder) if self.cached else HashCache(None)
            self._caches[tree.folder] = cache
        hash_files(tree, cache, told, stop=stop)
        return tree

    async def _send(
        self, tree: Tree, todo: Work, header: pb.SyncFilesHeader
    ) -> pb.SyncFilesResponse:
        """Send a piece of work; once more by the same id when nobody knows what came of it."""
        told = self._counter(Phase.SEND, len(todo.files), todo.content_bytes)
        try:
            return await upload(self.stub, self.metadata, header, tree, todo, told)
        except grpc.aio.AioRpcError as error:
            unknown = reason_of(error) == "OUTCOME_UNKNOWN"
            if not unknown and error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        return await upload(self.stub, self.metadata, header, tree, todo, told)

    def _counter(
        self, phase: Phase, files_total: int, size_total: int
    ) -> Callable[[int, int], None]:
        files = size = 0

        def count(more_files: int, more: int) -> None:
            nonlocal files, size
            # Threads may overtake one another here: it is only shown.
            files, size = files + more_files, size + more
            self._tell(Progress(phase, files, size, files_total, size_total))

        return count

    def _tell(self, progress: Progress) -> None:
        if self.on_progress is not None:
            self.on_progress(progress)


def _is_there(todo: Work, plan: Plan, stuck: Sequence[str]) -> bool:
    """Return whether nothing is left to be done that could be done."""
    summary = plan.summary
    new = not (summary.equal or summary.extra or summary.changed)
    left = len(todo.deletes) - len(stuck)
    # A root that is empty may not even be there: it is made then.
    return not (todo.folders or todo.links or todo.files or left or new)


def _plan_header(header: pb.SyncFilesHeader, patterns: Sequence[str]) -> pb.PlanSyncHeader:
    return pb.PlanSyncHeader(
        sandbox_id=header.sandbox_id,
        root=header.root,
        excludes=patterns,
        verify=header.verify,
        user=header.user,
        auto_resume=header.auto_resume,
    )


def _sync_header(
    header: pb.SyncFilesHeader, asking: pb.PlanSyncHeader, plan: Plan
) -> pb.SyncFilesHeader:
    found = pb.SyncFilesHeader()
    found.CopyFrom(header)
    found.mode = pb.SYNC_MODE_PATCH
    found.sync_id = secrets.token_hex(16)
    found.if_root_digest = plan.summary.root_digest
    found.ClearField("excludes")
    found.excludes.extend(asking.excludes)
    return found


def _merged(receipts: Sequence[pb.SyncFilesResponse]) -> pb.SyncFilesResponse | None:
    """Return the last receipt, with the counts of all; None when there is none."""
    if not receipts:
        return None
    merged = pb.SyncFilesResponse()
    merged.CopyFrom(receipts[-1])
    for earlier in receipts[:-1]:
        for name in ("added", "modified", "deleted", "received_bytes", "written_bytes"):
            setattr(merged, name, getattr(merged, name) + getattr(earlier, name))
        merged.changes.extend(earlier.changes)
        if earlier.HasField("reload") and not merged.HasField("reload"):
            merged.reload.CopyFrom(earlier.reload)
    return merged
