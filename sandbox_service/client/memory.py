"""What sandboxes' folders were after their last syncs, so that the next ones need not ask.

Only a guess: whoever goes by it has the service check the folder's digest first. It is
kept as the records that the digest is made of, so it cannot stand for another tree.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from miosa.sandbox import v1 as pb

from sandbox_service.client.cache_files import cache_file, write_cache
from sandbox_service.client.plan import Plan
from sandbox_service.client.tree import Tree

_BYTES_MAX: Final = 64 * 1024 * 1024
_MODE_BYTES: Final = len("d0755 ")
_HASH_BYTES: Final = 64
_HEAD_BYTES: Final = _HASH_BYTES + len(" f0644 ")


class Memory:
    """The records of folders after their last syncs.

    Args:
        cached: Whether to keep them in the user's cache folder, too.
    """

    def __init__(self, *, cached: bool) -> None:
        self._cached = cached
        self._known: dict[bytes, bytes] = {}

    def keep(self, header: pb.PlanSyncHeader, records: bytes) -> None:
        """Remember what a folder was made."""
        key = _key(header)
        if len(records) > _BYTES_MAX:
            return
        self._known[key] = records
        if (file := self._file(key)) is not None:
            with suppress(OSError):
                write_cache(file, records)

    def forget(self, header: pb.PlanSyncHeader) -> None:
        """Remember nothing of a folder: it was found to be another one."""
        key = _key(header)
        self._known.pop(key, None)
        if (file := self._file(key)) is not None:
            with suppress(OSError):
                file.unlink()

    def recall(self, header: pb.PlanSyncHeader, tree: Tree, records: bytes) -> Plan | None:
        """Return how a folder differs from a tree, should it be as it was.

        Args:
            header: Which folder.
            tree: What to compare with; its files are hashed.
            records: The tree's.

        Returns:
            None: nothing is remembered of the folder.
        """
        key = _key(header)
        known = self._known.get(key)
        if known is None and (file := self._file(key)) is not None:
            with suppress(OSError):
                known = file.read_bytes()
        with suppress(ValueError):
            return None if known is None else _difference(known, tree, records)
        return None  # It is damaged.

    def _file(self, key: bytes) -> Path | None:
        return cache_file("roots", key) if self._cached else None


def _difference(known: bytes, tree: Tree, records: bytes) -> Plan:
    there, here = set(known.split(b"\0")[:-1]), set(records.split(b"\0")[:-1])
    old = dict(_path_and_kind(it) for it in there - here)
    plan = Plan()
    for record in here - there:
        path, _ = _path_and_kind(record)
        if path in old:
            plan.changed[path] = pb.Difference(
                path=path, kind=pb.DIFFERENCE_KIND_CHANGED, sandbox_kind=old.pop(path)
            )
        else:
            plan.missing.add(path)
    plan.extra.update(old)
    needed = (
        tree.files[it].stamp.size for it in (*plan.missing, *plan.changed) if it in tree.files
    )
    plan.summary = pb.PlanSyncSummary(
        missing=len(plan.missing),
        changed=len(plan.changed),
        extra=len(old),
        equal=len(here & there),
        root_digest=hashlib.sha256(known).digest(),
        needed_bytes=sum(needed),
    )
    return plan


def _path_and_kind(record: bytes) -> tuple[str, pb.EntryKind]:
    """Return what a record of the digest is about. A path begins with `./`."""
    if record.startswith(b"l "):
        return record[4:].partition(b"//")[0].decode(), pb.ENTRY_KIND_LINK
    if record.startswith(b"d") and record[_MODE_BYTES - 1 : _MODE_BYTES] == b" ":
        return record[_MODE_BYTES + 2 :].decode(), pb.ENTRY_KIND_DIRECTORY
    return record[_HEAD_BYTES + 2 :].decode(), pb.ENTRY_KIND_FILE


def _key(header: pb.PlanSyncHeader) -> bytes:
    fields = (header.sandbox_id, header.root, header.user, list(header.excludes))
    return repr(fields).encode()
