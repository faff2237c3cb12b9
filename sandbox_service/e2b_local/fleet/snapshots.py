"""Files of sandboxes that were kept to make new sandboxes of.

A snapshot holds what the file system held. The memory of programs is not kept: a
sandbox made of a snapshot starts with its files and no programs, as E2B's own does
when the snapshot was taken with `memory: false`.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.fleet.paging import Page, cut_page
from sandbox_service.e2b_local.fleet.store import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sandbox_service.e2b_local.config import Template
    from sandbox_service.e2b_local.fleet.paging import Position

NAMESPACE: Final = "local"
"""Of all names here, where E2B has the name of the team."""

DEFAULT_TAG: Final = "default"

_NAME: Final = re.compile(r"[a-z0-9_-]+")
_TAG: Final = re.compile(r"[a-z0-9_.-]+")


class InvalidNameError(ValueError):
    """What cannot name a template or a snapshot; the text is E2B's."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a client calls a template or a snapshot.

    Attributes:
        name: A name or an id, without its namespace.
        namespace: None: not given.
        tag: `default` when none was given.
    """

    name: str
    namespace: str | None
    tag: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read `[namespace/]name[:tag]`; case and space around the parts do not matter.

        Raises:
            InvalidNameError: A part holds characters that it must not.
        """
        path, colon, tag = text.partition(":")
        namespace, slash, name = path.rpartition("/")
        return cls(
            _clean(name, "template ID", _NAME),
            _clean(namespace, "namespace", _NAME) if slash else None,
            _clean_tag(tag) if colon else DEFAULT_TAG,
        )


def _clean(text: str, what: str, pattern: re.Pattern[str]) -> str:
    cleaned = text.strip().lower()
    if pattern.fullmatch(cleaned) is None:
        raise InvalidNameError(f"invalid {what}: {text}")
    return cleaned


def _clean_tag(text: str) -> str:
    tag = _clean(text, "tag", _TAG)
    try:
        uuid.UUID(tag)
    except ValueError:
        return tag
    # An id of a build has this form.
    raise InvalidNameError("tag cannot be a UUID")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Files of a sandbox.

    Attributes:
        template_id: Its id, shared with others of its name.
        name: What its creator called it, without the namespace. None: nothing.
        tag: Tells apart those of one name.
        created_at: Seconds since 1970.
        sandbox_id: Whose files these are.
        template: What that sandbox was made of.
        env: Variables that sandbox had, besides the template's.
        path: The archive, which only the server can read.
    """

    template_id: str
    name: str | None
    tag: str
    created_at: float
    sandbox_id: str
    template: Template
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    path: Path

    @property
    def snapshot_id(self) -> str:
        """What a client makes a sandbox of."""
        if self.name is None:
            return f"{self.template_id}:{self.tag}"
        return f"{NAMESPACE}/{self.name}:{self.tag}"

    @property
    def names(self) -> tuple[str, ...]:
        """Its full names: none, or one."""
        return () if self.name is None else (self.snapshot_id,)


class SnapshotStore:
    """All snapshots of this backend.

    Args:
        clock: Returns seconds since 1970.
        discard: Called with each archive that is no longer needed. Sandboxes that are
            just made of it have it open.
    """

    def __init__(self, clock: Callable[[], float], discard: Callable[[Path], None]) -> None:
        self._now = clock
        self._discard = discard
        self._snapshots: dict[tuple[str, str], Snapshot] = {}

    def add(
        self,
        name: Reference | None,
        *,
        sandbox_id: str,
        template: Template,
        env: Mapping[str, str],
        path: Path,
    ) -> Snapshot:
        """Take in a new snapshot; one of the same name and tag is replaced.

        Args:
            name: What to call it. None: nothing.
            sandbox_id: Whose files these are.
            template: What that sandbox was made of.
            env: Variables it had, besides the template's.
            path: The archive. It belongs to this store from now on.
        """
        namesake = None
        if name is not None:
            namesake = next(
                (one for one in self._snapshots.values() if one.name == name.name), None
            )
        snapshot = Snapshot(
            template_id=new_id() if namesake is None else namesake.template_id,
            name=None if name is None else name.name,
            tag=DEFAULT_TAG if name is None else name.tag,
            created_at=self._now(),
            sandbox_id=sandbox_id,
            template=template,
            env=env,
            path=path,
        )
        key = snapshot.template_id, snapshot.tag
        replaced = self._snapshots.pop(key, None)
        if replaced is not None:
            self._discard(replaced.path)
        self._snapshots[key] = snapshot
        return snapshot

    def find(self, reference: Reference) -> Snapshot | None:
        """Return the snapshot that a client means."""
        named = (one for one in self._named(reference) if one.tag == reference.tag)
        return next(named, None)

    def remove(self, reference: Reference) -> bool:
        """Remove a snapshot, and with it all others of its name, whatever their tags.

        Returns:
            False: there is none.
        """
        named = self._named(reference)
        for snapshot in named:
            del self._snapshots[snapshot.template_id, snapshot.tag]
            self._discard(snapshot.path)
        return bool(named)

    def _named(self, reference: Reference) -> list[Snapshot]:
        if reference.namespace not in {None, NAMESPACE}:
            return []
        return [
            one
            for one in self._snapshots.values()
            if reference.name == one.name
            or (reference.namespace is None and reference.name == one.template_id)
        ]

    def page(
        self,
        *,
        sandbox_id: str | None = None,
        name: Reference | None = None,
        limit: int = 100,
        token: str | None = None,
    ) -> Page[Snapshot]:
        """Return some of the snapshots, the newest first.

        Args:
            sandbox_id: Only those of this sandbox's files.
            name: Only those of this name or id, whatever their tags.
            limit: Size of the page, at least 1.
            token: Where to go on: `next_token` of the page before.

        Raises:
            PageTokenError: The token is no `next_token` of such a list.
        """
        wanted = self._snapshots.values() if name is None else self._named(name)
        shown = [one for one in wanted if sandbox_id is None or one.sandbox_id == sandbox_id]
        return cut_page(shown, _position, order="desc", limit=limit, token=token)


def _position(snapshot: Snapshot) -> Position:
    return snapshot.created_at, f"{snapshot.template_id}:{snapshot.tag}"
