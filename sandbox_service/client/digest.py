"""The digest of a tree, as the contract defines it for `SyncFilesResponse.root_digest`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from sandbox_service.client.tree import Tree


def root_digest(tree: Tree) -> bytes:
    """Return the digest that a folder has which holds this tree and nothing else, 32 bytes."""
    digest = hashlib.sha256()
    for record in sorted(_records(tree)):
        digest.update(record)
    return digest.digest()


def _records(tree: Tree) -> Iterator[bytes]:
    for path, file in tree.files.items():
        yield f"{file.sha256.hex()} f{file.mode:04o} ./{path}\0".encode()
    for path, mode in tree.folders.items():
        yield f"d{mode:04o} ./{path}\0".encode()
    for path, target in tree.links.items():
        yield f"l ./{path}//{target}\0".encode()
