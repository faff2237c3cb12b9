"""Asking the service how a sandbox's folder differs from a tree."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from miosa.sandbox import v1 as pb

from sandbox_service.client.tree import Tree

_BATCH: Final = 1000
_BATCH_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Plan:
    """How a sandbox's folder differs from a tree.

    Attributes:
        missing: Paths that only the tree has.
        changed: By path, what the sandbox has instead.
        extra: Kinds by path of what only the sandbox has.
        summary: What it comes to.
    """

    missing: set[str] = field(default_factory=set)
    changed: dict[str, pb.Difference] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)
    summary: pb.PlanSyncSummary = field(default_factory=pb.PlanSyncSummary)


async def compare(
    stub: Any,  # noqa: ANN401 - generated code has no types.
    metadata: Sequence[tuple[str, str]],
    header: pb.PlanSyncHeader,
    tree: Tree,
) -> Plan:
    """Return how a sandbox's folder differs from a tree whose files are hashed.

    Raises:
        grpc.aio.AioRpcError: The call failed.
        EOFError: It ended without its last message.
    """
    call = stub.PlanSync(metadata=metadata)
    # Differences may come before the last entry has gone; nobody waits for the other.
    sending = asyncio.create_task(_send(call, header, tree))
    plan = Plan()
    ended = False
    try:
        async for response in call:
            ended = response.HasField("summary")
            if ended:
                plan.summary = response.summary
            for it in response.differences.differences:
                _note(plan, tree, it)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        call.cancel()
    if not ended:
        raise EOFError("the plan ended without a summary")
    return plan


async def _send(call: Any, header: pb.PlanSyncHeader, tree: Tree) -> None:  # noqa: ANN401
    await call.write(pb.PlanSyncRequest(header=header))
    for entries in _batches(tree):
        await call.write(pb.PlanSyncRequest(manifest=pb.ManifestEntries(entries=entries)))
    await call.done_writing()


def _note(plan: Plan, tree: Tree, it: pb.Difference) -> None:
    if it.kind == pb.DIFFERENCE_KIND_MISSING:
        plan.missing.add(it.path)
    elif it.kind == pb.DIFFERENCE_KIND_CHANGED:
        plan.changed[it.path] = it
    elif it.kind == pb.DIFFERENCE_KIND_EXTRA and not tree.has(it.path):
        # A name that is not UTF-8 is told escaped, and may then look like one of ours.
        plan.extra[it.path] = it.sandbox_kind


def _batches(tree: Tree) -> Iterator[list[pb.ManifestEntry]]:
    batch: list[pb.ManifestEntry] = []
    room = _BATCH_BYTES
    for entry in _entries(tree):
        if len(batch) == _BATCH or room < 0:
            yield batch
            batch, room = [], _BATCH_BYTES
        batch.append(entry)
        room -= len(entry.path)
    if batch:
        yield batch


def _entries(tree: Tree) -> Iterator[pb.ManifestEntry]:
    for path, mode in tree.folders.items():
        yield pb.ManifestEntry(path=path, kind=pb.ENTRY_KIND_DIRECTORY, mode=mode)
    for path, target in tree.links.items():
        sha256 = hashlib.sha256(target.encode()).digest()
        yield pb.ManifestEntry(path=path, kind=pb.ENTRY_KIND_LINK, sha256=sha256)
    for path, file in tree.files.items():
        yield pb.ManifestEntry(
            path=path,
            kind=pb.ENTRY_KIND_FILE,
            size=file.stamp.size,
            mode=file.mode,
            sha256=file.sha256,
        )
