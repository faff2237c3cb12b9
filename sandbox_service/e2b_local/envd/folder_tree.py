"""The watched folders of one tree, by the numbers their events carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Folder:
    """A watched folder and its place.

    Attributes:
        wd: The number of its watch.
        parent: The watched folder that holds it. None: the root, or it was taken away.
        name: In its parent.
        children: Watched folders in it, by name.
    """

    __slots__ = ("children", "name", "parent", "wd")

    def __init__(self, wd: int, parent: Folder | None, name: str) -> None:
        self.wd = wd
        self.parent = parent
        self.name = name
        self.children: dict[str, Folder] = {}


class FolderTree:
    """Folders that can be renamed and moved without touching what is below them.

    Attributes:
        root: The folder that everything is relative to. None until it was added.
    """

    def __init__(self) -> None:
        self.root: Folder | None = None
        self._by_wd: dict[int, Folder] = {}

    def __iter__(self) -> Iterator[Folder]:
        return iter(list(self._by_wd.values()))

    def get(self, wd: int) -> Folder | None:
        """Return the folder of a watch."""
        return self._by_wd.get(wd)

    def add(self, wd: int, parent: Folder | None, name: str) -> Folder | None:
        """Add a folder, the root first. None: it is in the tree already, somewhere."""
        if wd in self._by_wd:
            return None
        folder = self._by_wd[wd] = Folder(wd, parent, name)
        if parent is None:
            self.root = folder
        else:
            parent.children[name] = folder
        return folder

    def place(self, folder: Folder) -> str | None:
        """Return a folder's path relative to the root, which is empty for the root itself.

        Returns:
            None: it was taken away, or is in a folder that was.
        """
        names: list[str] = []
        while folder.parent is not None:
            names.append(folder.name)
            folder = folder.parent
        return "/".join(reversed(names)) if folder is self.root else None

    def take(self, parent: Folder, name: str) -> Folder | None:
        """Take a folder away from its parent, with all that is below it."""
        folder = parent.children.pop(name, None)
        if folder is not None:
            folder.parent = None
        return folder

    def put(self, folder: Folder, parent: Folder, name: str) -> None:
        """Give a folder that was taken away a new place."""
        folder.parent, folder.name = parent, name
        parent.children[name] = folder

    def remove(self, folder: Folder) -> None:
        """Remove one folder, which holds no others any more."""
        self._by_wd.pop(folder.wd, None)
        if folder.parent is not None and folder.parent.children.get(folder.name) is folder:
            del folder.parent.children[folder.name]

    def remove_all(self, folder: Folder) -> list[Folder]:
        """Remove a folder and all below it; return them."""
        removed, below = [], [folder]
        while below:
            one = below.pop()
            removed.append(one)
            below.extend(one.children.values())
        for one in removed:
            self._by_wd.pop(one.wd, None)
        return removed

    def clear(self) -> None:
        """Remove everything."""
        self._by_wd.clear()
