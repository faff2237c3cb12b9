"""Plans: the stream of requests to entries, differences and their summary to messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from miosa.sandbox.v1 import file_plan_pb2

from sandbox_service.contract import file_sync
from sandbox_service.domain.files import (
    Difference,
    DifferenceKind,
    EntryKind,
    ManifestEntry,
    PlanHeader,
    PlanSummary,
)

Requests = AsyncIterator[file_plan_pb2.PlanSyncRequest]

_ENTRY_KINDS: Final = {
    file_plan_pb2.ENTRY_KIND_UNSPECIFIED: EntryKind.FILE,
    file_plan_pb2.ENTRY_KIND_FILE: EntryKind.FILE,
    file_plan_pb2.ENTRY_KIND_LINK: EntryKind.LINK,
    file_plan_pb2.ENTRY_KIND_DIRECTORY: EntryKind.DIRECTORY,
}
_SANDBOX_KINDS: Final = {kind: f"ENTRY_KIND_{kind.name}" for kind in EntryKind} | {None: None}
_DIFFERENCE_KINDS: Final = {kind: f"DIFFERENCE_KIND_{kind.name}" for kind in DifferenceKind}


def plan_header(message: file_plan_pb2.PlanSyncHeader) -> PlanHeader:
    """Return what to compare.

    Raises:
        InvalidPathError: The root is no path.
    """
    return PlanHeader(
        root=file_sync.root(message.root),
        verify=file_sync.verify(message.verify),
        excludes=tuple(message.excludes),
        user=message.user,
        include_equal=message.include_equal,
    )


async def manifest(requests: Requests) -> AsyncIterator[Sequence[ManifestEntry]]:
    """Yield what follows the header.

    Raises:
        InvalidStreamError: Another header is among it.
    """
    async for request in requests:
        kind = request.WhichOneof("part")
        if kind != "manifest":
            raise file_sync.wrong_order("manifest", str(kind))
        yield [_entry(it) for it in request.manifest.entries]


def response(part: Sequence[Difference] | PlanSummary) -> file_plan_pb2.PlanSyncResponse:
    """Return one part of the answer."""
    if isinstance(part, PlanSummary):
        summary = file_plan_pb2.PlanSyncSummary(
            missing=part.missing,
            changed=part.changed,
            extra=part.extra,
            equal=part.equal,
            root_digest=part.root_digest,
            needed_bytes=part.needed_bytes,
            root=part.root,
        )
        return file_plan_pb2.PlanSyncResponse(summary=summary)
    answer = file_plan_pb2.PlanSyncResponse()
    answer.differences.differences.extend(_difference(it) for it in part)
    return answer


def _entry(entry: file_plan_pb2.ManifestEntry) -> ManifestEntry:
    return ManifestEntry(
        entry.path,
        _ENTRY_KINDS[entry.kind],
        entry.size,
        entry.mode if entry.HasField("mode") else None,
        entry.sha256,
    )


def _difference(difference: Difference) -> file_plan_pb2.Difference:
    return file_plan_pb2.Difference(
        path=difference.path,
        kind=_DIFFERENCE_KINDS[difference.kind],
        sandbox_kind=_SANDBOX_KINDS[difference.sandbox_kind],
        content_changed=difference.content_changed,
    )
