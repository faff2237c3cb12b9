"""What is to be done for a sandbox's folder to become a tree."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from miosa.sandbox import v1 as pb

from sandbox_service.client.plan import Plan
from sandbox_service.client.tree import File, Tree


class InTheWayError(Exception):
    """What the sandbox has at a path may not be deleted, and the tree has something else there."""


@dataclass(slots=True)
class Work:
    """What to do for a sandbox's folder to become a tree.

    Attributes:
        folders: Permission bits by path.
        links: Targets by path.
        files: Those to send, also when only their permission bits are others.
        deletes: Paths; what is below them goes as well.
        kept: What only the sandbox has, and keeps.
    """

    folders: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    deletes: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.folders or self.links or self.files or self.deletes)

    @property
    def content_bytes(self) -> int:
        """Bytes of content that are sent."""
        return sum(file.stamp.size for file in self.files.values())


def work(tree: Tree, plan: Plan, *, delete: bool) -> Work:
    """Return what a plan leaves to be done.

    Args:
        tree: Here.
        plan: How the sandbox's differs.
        delete: Whether what only the sandbox has is to go, unless the tree's rules keep it.

    Raises:
        InTheWayError: Something of another kind would have to be deleted, and may not be.
    """
    found = Work()
    replaced = set()
    for path in sorted((*plan.missing, *plan.changed)):
        there = plan.changed.get(path)
        if path in tree.folders:
            found.folders[path] = tree.folders[path]
        elif path in tree.links:
            found.links[path] = tree.links[path]
        else:
            found.files[path] = tree.files[path]
        is_folder = there is not None and there.sandbox_kind == pb.ENTRY_KIND_DIRECTORY
        if there is not None and is_folder != (path in tree.folders):
            replaced.add(path)
    if replaced and not delete:
        path = min(replaced)
        raise InTheWayError(
            f"{path} is {_kind(plan.changed[path].sandbox_kind)} in the sandbox, "
            f"and {_kind(_kind_of(tree, path))} here."
        )
    doomed = _doomed(tree, plan, delete=delete)
    found.kept = sorted(plan.extra.keys() - doomed)
    for path in found.kept:
        for above in _parents(path):
            if above in replaced:
                raise InTheWayError(f"{above} is a folder in the sandbox, and {path} is ignored.")
    for path in sorted(doomed | replaced):
        if not any(above in doomed or above in replaced for above in _parents(path)):
            found.deletes.append(path)
    return found


def _doomed(tree: Tree, plan: Plan, *, delete: bool) -> set[str]:
    """Return what only the sandbox has and is to go."""
    if not delete:
        return set()
    kept = {
        path
        for path, kind in plan.extra.items()
        if tree.keeps(path, folder=kind == pb.ENTRY_KIND_DIRECTORY)
    }
    # A folder stays with what stays in it.
    kept |= {above for path in kept for above in _parents(path)}
    return plan.extra.keys() - kept


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _kind_of(tree: Tree, path: str) -> int:
    if path in tree.folders:
        return pb.ENTRY_KIND_DIRECTORY
    return pb.ENTRY_KIND_LINK if path in tree.links else pb.ENTRY_KIND_FILE


def _kind(kind: int) -> str:
    names: Mapping[int, str] = {
        pb.ENTRY_KIND_DIRECTORY: "a folder",
        pb.ENTRY_KIND_LINK: "a link",
        pb.ENTRY_KIND_FILE: "a file",
    }
    return names.get(kind, "something else")
