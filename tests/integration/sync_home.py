"""Trees of files for tests of a sync: what is sent, what is found, and a home to sync into."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path

from sandbox_service.domain.files import (
    SyncData,
    SyncDelete,
    SyncDirectory,
    SyncFile,
    SyncHeader,
    SyncLink,
    SyncPart,
    SyncReceipt,
    file_record,
    folder_record,
    link_record,
    root_digest,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.operations.file_sync import FileSync
from tests.integration.bash_sandbox import BashSandbox, record

File = tuple[int, bytes]
"""A file's mode and content."""

Entry = File | int | str
"""A file, a folder's mode, or a link's target."""

Tree = dict[str, Entry]
"""Entries by path, folders of entries left out unless they have a mode of their own."""


def sent(tree: Mapping[str, Entry], deletes: Iterable[str] = ()) -> list[SyncPart]:
    """Return the parts that say what a tree is."""
    parts: list[SyncPart] = [SyncDelete(path) for path in deletes]
    for path, entry in tree.items():
        match entry:
            case str():
                parts.append(SyncLink(path, entry))
            case int():
                parts.append(SyncDirectory(path, entry))
            case mode, content:
                sha256 = hashlib.sha256(content).digest()
                parts.append(SyncFile(path=path, size=len(content), mode=mode, sha256=sha256))
                parts += [SyncData(content[:3]), SyncData(content[3:])] if content else []
    return parts


async def stream(parts: Iterable[SyncPart]) -> AsyncIterator[SyncPart]:
    for part in parts:
        yield part


def found(root: Path) -> Tree:
    """Return what is in a folder, every folder with its mode."""
    tree: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder, name)
            key = str(path.relative_to(root))
            mode = stat.S_IMODE(path.lstat().st_mode)
            if path.is_symlink():
                tree[key] = os.readlink(path)  # noqa: PTH115 - pathlib would tidy the target.
            elif path.is_dir():
                tree[key] = mode
            else:
                tree[key] = (mode, path.read_bytes())
    return tree


def digest(tree: Mapping[str, Entry]) -> bytes:
    """Return the digest that a client would compute of a tree."""
    records = []
    for path, entry in tree.items():
        match entry:
            case str():
                records.append(link_record(path, entry))
            case int():
                records.append(folder_record(path, entry))
            case mode, content:
                records.append(file_record(path, mode, hashlib.sha256(content).digest()))
    return root_digest(records)


def parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def whole(tree: Tree, before: Tree) -> Tree:
    """Return a tree with the folders that its entries imply, as they are after a sync."""
    result = dict(tree)
    for path in tree:
        for parent in parents(path):
            old = before.get(parent)
            result.setdefault(parent, old if isinstance(old, int) else 0o755)
    return result


def leaves(tree: Tree) -> Tree:
    return {path: entry for path, entry in tree.items() if not isinstance(entry, int)}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Home:
    """A home folder to sync into, and the sync."""

    def __init__(self, path: Path, **sandbox: object) -> None:
        self.path = path
        self.root = path / "project"
        self.sandbox = BashSandbox(path, **sandbox)  # type: ignore[arg-type]
        self.sync = FileSync(self.sandbox, Limits())  # type: ignore[arg-type]

    async def send(
        self, tree: Mapping[str, Entry], *, deletes: Iterable[str] = (), **header: object
    ) -> SyncReceipt:
        return await self.send_parts(sent(tree, deletes), **header)

    async def send_parts(self, parts: Iterable[SyncPart], **header: object) -> SyncReceipt:
        asked = SyncHeader(**{"root": "project", **header})  # type: ignore[arg-type]
        return await self.sync.sync(record(), asked, stream(parts))

    async def clean(self) -> bool:
        """Wait until nothing that was staged is left."""
        await self.sync.drain(10)
        state = self.path / ".sandbox-sync"
        for _ in range(1000):
            if not list(state.glob("*.tar")) and not list(state.glob("stage/*")):
                return True
            await asyncio.sleep(0.01)
        return False
