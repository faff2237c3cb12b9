"""Manifests as PlanSync takes them, and what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from miosa.sandbox import v1 as pb

from tests.support.calls import Box
from tests.support.trees import Entry, File, Folder, Link

FILE, LINK, FOLDER = pb.ENTRY_KIND_FILE, pb.ENTRY_KIND_LINK, pb.ENTRY_KIND_DIRECTORY


@dataclass(frozen=True, slots=True)
class Planned:
    """The answer of a PlanSync.

    Attributes:
        kinds: How each path differs, by name.
    """

    differences: Sequence[pb.Difference]
    summary: pb.PlanSyncSummary

    @property
    def kinds(self) -> dict[str, str]:
        names = {it.path: pb.DifferenceKind.Name(it.kind) for it in self.differences}
        assert len(names) == len(self.differences), "a path is named twice"
        return {path: name.removeprefix("DIFFERENCE_KIND_") for path, name in names.items()}


def plan_header(sandbox_id: str, root: str, **fields: object) -> pb.PlanSyncRequest:
    return pb.PlanSyncRequest(header=pb.PlanSyncHeader(sandbox_id=sandbox_id, root=root, **fields))


def entry(path: str, kind: int = FILE, **fields: object) -> pb.ManifestEntry:
    return pb.ManifestEntry(path=path, kind=kind, **fields)


def entries(tree: Mapping[str, Entry]) -> list[pb.ManifestEntry]:
    """Return the manifest of a tree, which has no folders but those that are named."""
    found = []
    for path, it in tree.items():
        match it:
            case File(content, mode):
                sha256 = hashlib.sha256(content).digest()
                found.append(entry(path, FILE, size=len(content), mode=mode, sha256=sha256))
            case Link(target):
                found.append(entry(path, LINK, sha256=hashlib.sha256(target.encode()).digest()))
            case Folder(mode):
                found.append(entry(path, FOLDER, mode=mode))
    return found


def manifest(found: Iterable[pb.ManifestEntry], size: int = 1000) -> Iterator[pb.PlanSyncRequest]:
    """Yield the messages that carry entries."""
    rest = list(found)
    for at in range(0, len(rest), size):
        yield pb.PlanSyncRequest(manifest=pb.ManifestEntries(entries=rest[at : at + size]))


async def plan(box: Box, root: str, found: Iterable[pb.ManifestEntry], **fields: object) -> Planned:
    """Plan a sync, and check what holds for every answer."""
    return await answered(box, [plan_header(box.sandbox_id, root, **fields), *manifest(found)])


async def answered(box: Box, messages: Iterable[pb.PlanSyncRequest]) -> Planned:
    """Send the messages of a PlanSync stream, and return the whole answer."""
    call = box.client.stub.PlanSync(iter(messages), metadata=box.client.metadata)
    parts = [part async for part in call]
    assert [it.WhichOneof("part") for it in parts[:-1]] == ["differences"] * (len(parts) - 1)
    assert all(1 <= len(it.differences.differences) <= 1000 for it in parts[:-1])
    differences = [one for it in parts[:-1] for one in it.differences.differences]
    return Planned(differences, parts[-1].summary)
