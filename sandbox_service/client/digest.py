"""The digest of a tree, as the contract defines it for `SyncFilesResponse.root_digest`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from sandbox_service.client.tree import Tree


def root_digest(tree: Tree) -> bytes:
    """Return the digest that a folder has which holds this tree and nothing else, 32 bytes."""
    return hashlib.sha256(records(tree)).digest()


def records(tree: Tree) -> bytes:
    """Return what the digest is made of: a record of each entry, ended by a NUL, in order."""
    return b"".join(sorted(_records(tree)))


def _records(tree: Tree) -> Iterator[bytes]:
    for path, file in tree.files.items():
        yield f"{file.sha256.hex()} f{file.mode:04o} ./{path}\0".encode()
    for path, mode in tree.folders.items():
        yield f"d{mode:04o} ./{path}\0".encode()
    for path, target in tree.links.items():
        yield f"l ./{path}//{target}\0".encode()
