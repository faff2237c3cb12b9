"""The plan operation: the caller's tree as it arrives, the sandbox's as it is read."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from sandbox_service.domain.errors import InvalidRequestError
from sandbox_service.domain.files import (
    Difference,
    DifferenceKind,
    EntryKind,
    ManifestEntry,
    PlanHeader,
    PlanSummary,
)
from sandbox_service.domain.limits import MIB, Limits
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.sandboxes import SandboxRecord
from sandbox_service.operations.file_sync.excludes import Excludes
from sandbox_service.operations.file_sync.listing import Listed, Listing
from sandbox_service.operations.file_sync.manifest import (
    RECORDS_BYTES_MAX,
    check_path,
    check_root,
    invalid_path,
    too_large,
)

_BATCH: Final = 1000
_BATCH_BYTES: Final = MIB
"""Of paths in one batch of differences: a message has its limit."""

_ANY_MODE: Final = 0xFFFF
_KINDS: Final = tuple(EntryKind)
_PACKED: Final = struct.Struct(">BHQ")


class Plans:
    """Compares trees with those of sandboxes.

    Args:
        provider: Where the sandboxes are.
        limits: How large one manifest may be.
    """

    def __init__(self, provider: SandboxProvider, limits: Limits) -> None:
        self._provider = provider
        self._limits = limits

    async def plan(
        self,
        record: SandboxRecord,
        header: PlanHeader,
        manifest: AsyncIterator[Sequence[ManifestEntry]],
    ) -> AsyncGenerator[Sequence[Difference] | PlanSummary, None]:
        """Yield how a root differs from the caller's tree, and last what that comes to.

        The root is listed while the manifest arrives. In memory is the manifest;
        the listing is read as fast as the differences are taken.

        Args:
            record: A running sandbox of the caller.
            header: What to compare.
            manifest: All entries of the caller's tree, some at a time, in any order.

        Raises:
            InvalidRequestError, InvalidPathError: An entry cannot be synced.
            PayloadTooLargeError: The manifest has more than one may have.
            NotAFileError: The root is no folder.
            FileNotAccessibleError: The user may not read it.
            UserNotFoundError: There is no such user.
            BackendUnavailableError: Contact was lost. Repeat the call.
        """
        check_root(header.root)
        excludes = Excludes(header.excludes)
        tree = CallerTree(self._limits, excludes)
        name = secrets.token_hex(8)
        listing = Listing(self._provider, record.sandbox_id, header, excludes, name)
        beginning = asyncio.create_task(listing.begin())
        arriving = asyncio.create_task(tree.read(manifest))
        try:
            await asyncio.wait({arriving, beginning}, return_when=asyncio.FIRST_EXCEPTION)
            for task in (arriving, beginning):
                if task.done():
                    task.result()
            head = beginning.result()
            batch = _Batch()
            async for listed in listing.entries():
                for entry in listed:
                    difference = tree.compare(entry)
                    if difference is not None and (
                        header.include_equal or difference.kind is not DifferenceKind.EQUAL
                    ):
                        batch.add(difference)
                    if batch.full:
                        yield batch.take()
            for difference in tree.missing():
                batch.add(difference)
                if batch.full:
                    yield batch.take()
            if batch.differences:
                yield batch.take()
            yield tree.summary(head.root, head.root_digest)
        finally:
            for task in (arriving, beginning):
                task.cancel()
            await asyncio.wait({arriving, beginning})
            await listing.aclose()


class CallerTree:
    """The caller's tree: what the sandbox's is compared with, entry by entry.

    Holds an entry in about 300 bytes, and refuses to hold more than one sync
    may have.

    Args:
        limits: How many entries it may have.
        excludes: What it may not have.
    """

    def __init__(self, limits: Limits, excludes: Excludes) -> None:
        self._limits = limits
        self._excludes = excludes
        self._entries: dict[bytes, bytes] = {}
        self._folders: set[str] = set()
        self._paths_bytes = 0
        self._counts = dict.fromkeys(DifferenceKind, 0)
        self._needed_bytes = 0

    async def read(self, manifest: AsyncIterator[Sequence[ManifestEntry]]) -> None:
        """Take in the whole manifest.

        Raises:
            InvalidRequestError, InvalidPathError: An entry cannot be synced.
            PayloadTooLargeError: There are too many.
        """
        async for entries in manifest:
            for index, entry in enumerate(entries):
                self.add(entry, f"manifest.entries[{index}]")
        self.check_whole()

    def add(self, entry: ManifestEntry, field: str = "entry") -> None:
        """Check an entry, and note it.

        Args:
            entry: It.
            field: Where in the request it stands, for the error.

        Raises:
            InvalidRequestError, InvalidPathError: It cannot be synced.
            PayloadTooLargeError: It is one too many.
        """
        path = entry.path
        check_path(path, f"{field}.path")
        _check_content(entry, field)
        key = path.encode()
        if key in self._entries:
            raise InvalidRequestError.of(f"{field}.path", f"{path!r} is there twice")
        self._check_excluded(entry, f"{field}.path")
        self._paths_bytes += len(key)
        if self._paths_bytes > RECORDS_BYTES_MAX:
            raise too_large(f"{field}.path", "bytes", RECORDS_BYTES_MAX, self._paths_bytes)
        mode = _ANY_MODE if entry.mode is None else entry.mode
        head = _PACKED.pack(_KINDS.index(entry.kind), mode, entry.size)
        self._entries[key] = head + entry.sha256
        if len(self._entries) > self._limits.sync_files:
            limit = self._limits.sync_files
            raise too_large("manifest.entries", "entries", limit, len(self._entries))

    def check_whole(self) -> None:
        """Check what only shows when all entries are known.

        Raises:
            InvalidPathError: A path lies below a file or a link of the same tree.
        """
        for folder in self._folders:
            packed = self._entries.get(folder.encode())
            if packed is not None and _kind(packed) is not EntryKind.DIRECTORY:
                raise invalid_path(
                    "manifest.entries.path", folder, "one_kind", "is no folder, but has entries"
                )

    def compare(self, listed: Listed) -> Difference | None:
        """Return how an entry of the sandbox differs; None for a folder that is only implied."""
        packed = self._entries.pop(listed.path, None)
        path = listed.path.decode(errors="backslashreplace")
        if packed is None:
            if listed.kind is EntryKind.DIRECTORY and path in self._folders:
                return None
            return self._counted(Difference(path, DifferenceKind.EXTRA, listed.kind))
        kind, mode, size = _PACKED.unpack_from(packed)
        content = not (_KINDS[kind] is listed.kind and _same(packed[_PACKED.size :], size, listed))
        if content and _KINDS[kind] is EntryKind.FILE:
            self._needed_bytes += size
        other_mode = mode not in (_ANY_MODE, listed.mode) and listed.kind is not EntryKind.LINK
        changed = DifferenceKind.CHANGED if content or other_mode else DifferenceKind.EQUAL
        return self._counted(Difference(path, changed, listed.kind, content))

    def missing(self) -> Sequence[Difference]:
        """Return what the sandbox did not have, once all that it has was compared."""
        found = []
        for key, packed in self._entries.items():
            kind, _, size = _PACKED.unpack_from(packed)
            self._needed_bytes += size if _KINDS[kind] is EntryKind.FILE else 0
            found.append(self._counted(Difference(key.decode(), DifferenceKind.MISSING, None)))
        self._entries.clear()
        return found

    def summary(self, root: str, root_digest: bytes) -> PlanSummary:
        """Return what the comparison came to."""
        return PlanSummary(
            root=root,
            root_digest=root_digest,
            missing=self._counts[DifferenceKind.MISSING],
            changed=self._counts[DifferenceKind.CHANGED],
            extra=self._counts[DifferenceKind.EXTRA],
            equal=self._counts[DifferenceKind.EQUAL],
            needed_bytes=self._needed_bytes,
        )

    def _counted(self, difference: Difference) -> Difference:
        self._counts[difference.kind] += 1
        return difference

    def _check_excluded(self, entry: ManifestEntry, field: str) -> None:
        """Check the entry and the folders that it lies in, each of these once."""
        folder = entry.kind is EntryKind.DIRECTORY
        path, excluded = entry.path, self._excludes.match_itself(entry.path, folder=folder)
        while not excluded and (parent := path.rpartition("/")[0]) and parent not in self._folders:
            excluded = self._excludes.match_itself(parent, folder=True)
            self._folders.add(parent)
            self._paths_bytes += len(parent)
            path = parent
        if excluded:
            raise InvalidRequestError.of(field, f"{entry.path!r} is excluded")


class _Batch:
    """Differences that are gathered until a message is full."""

    def __init__(self) -> None:
        self.differences: list[Difference] = []
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether no other one should be added."""
        return len(self.differences) >= _BATCH or self._bytes >= _BATCH_BYTES

    def add(self, difference: Difference) -> None:
        """Add one."""
        self.differences.append(difference)
        # No character of a path takes more than four bytes, as which it may count here.
        self._bytes += 4 * len(difference.path)

    def take(self) -> Sequence[Difference]:
        """Return them, and begin anew."""
        taken, self.differences, self._bytes = self.differences, [], 0
        return taken


def _check_content(entry: ManifestEntry, field: str) -> None:
    """Check that size and hash are those of its kind."""
    if entry.kind is EntryKind.FILE:
        return
    if entry.size:
        raise InvalidRequestError.of(f"{field}.size", "is set, but this is no file")
    if entry.kind is EntryKind.DIRECTORY and entry.sha256:
        raise InvalidRequestError.of(f"{field}.sha256", "is set, but this is a folder")
    if entry.kind is EntryKind.LINK and not entry.sha256:
        raise InvalidRequestError.of(f"{field}.sha256", "is not set: of a link, that of its target")


def _kind(packed: bytes) -> EntryKind:
    return _KINDS[packed[0]]


def _same(sha256: bytes, size: int, listed: Listed) -> bool:
    """Whether the content is the same, of entries of one kind."""
    match listed.kind:
        case EntryKind.FILE:
            return sha256 == listed.sha256 if sha256 else size == listed.size
        case EntryKind.LINK:
            return sha256 == hashlib.sha256(listed.target).digest()
        case _:
            return True
