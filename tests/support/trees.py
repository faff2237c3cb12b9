"""Trees of files as SyncFiles sends them and as its receipt describes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from miosa.sandbox import v1 as pb

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    target: str


@dataclass(frozen=True, slots=True)
class Folder:
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """Something to delete."""


Entry = File | Link | Folder | Gone


def header(sandbox_id: str, root: str, **fields: object) -> pb.SyncFilesRequest:
    return pb.SyncFilesRequest(
        header=pb.SyncFilesHeader(sandbox_id=sandbox_id, root=root, **fields)
    )


def file_header(path: str, content: bytes, **fields: object) -> pb.SyncFilesRequest:
    values = {"size": len(content), "sha256": hashlib.sha256(content).digest(), **fields}
    return pb.SyncFilesRequest(file=pb.SyncFileHeader(path=path, **values))


def data(content: bytes) -> pb.SyncFilesRequest:
    return pb.SyncFilesRequest(data=content)


def parts(tree: Mapping[str, Entry]) -> Iterator[pb.SyncFilesRequest]:
    """Yield the messages that follow the header, deletes last."""
    for path, entry in tree.items():
        match entry:
            case File(content, mode):
                yield file_header(path, content, mode=mode)
                for start in range(0, len(content), CHUNK):
                    yield data(content[start : start + CHUNK])
            case Link(target):
                yield pb.SyncFilesRequest(link=pb.SyncLink(path=path, target=target))
            case Folder(mode):
                yield pb.SyncFilesRequest(directory=pb.SyncDirectory(path=path, mode=mode))
            case Gone():
                continue
    for path, entry in tree.items():
        if isinstance(entry, Gone):
            yield pb.SyncFilesRequest(delete=pb.SyncDelete(path=path))


def digest(tree: Mapping[str, Entry]) -> bytes:
    """Return the root digest that the contract defines for a tree."""
    return hashlib.sha256(b"".join(sorted(_records(tree)))).digest()


def _records(tree: Mapping[str, Entry]) -> Iterable[bytes]:
    folders: dict[str, int] = {}
    for path, entry in tree.items():
        inner = path.split("/")[:-1]
        for depth in range(1, len(inner) + 1):
            folders.setdefault("/".join(inner[:depth]), 0o755)
        match entry:
            case File(content, mode):
                sha256 = hashlib.sha256(content).hexdigest()
                yield f"{sha256} f{0o644 if mode is None else mode:04o} ./{path}\0".encode()
            case Link(target):
                yield f"l ./{path}//{target}\0".encode()
            case Folder(mode):
                folders[path] = 0o755 if mode is None else mode
    for path, mode in folders.items():
        yield f"d{mode:04o} ./{path}\0".encode()
