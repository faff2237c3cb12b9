"""Syncs of folders, by the client and as a whole, against rsync on the same disk.

Rsync copies from a folder to another one, and nothing of it crosses a network or a
sandbox's border; ours is hashed, sent, verified inside and moved in file by file.
Of ours is counted what a program waits for that uses the client: from its look at the
folder to the receipt, with every call and every program inside, but not the start of
Python. Of rsync is counted the whole command. What ours tidies up after its receipt is
not counted, though it may still run when rsync's turn comes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import Final

from tests.bench.report import Goal, Row, in_turns, ratios
from tests.bench.sizes import Sizes
from tests.bench.stack import Stack

_PLANNED: Final = 10
"""How many times as many files a plan is made of as a sync has."""

_PACKAGE_ROUNDS: Final = 3


def sync_edits(stack: Stack, sizes: Sizes) -> list[Row]:
    """1 % of the files changed, found by what is known of the others."""
    return [_edited(stack, sizes, "edits", full=False, goal=Goal(1.0))]


def sync_hashes(stack: Stack, sizes: Sizes) -> list[Row]:
    """1 % of the files changed, found by hashing all on both sides."""
    return [_edited(stack, sizes, "hashes", full=True, goal=Goal(1.1))]


def _edited(stack: Stack, sizes: Sizes, name: str, *, full: bool, goal: Goal) -> Row:
    folders, count = stack.folders, sizes.files
    peer = "rsync -ac" if full else "rsync -a"
    has_rsync = shutil.which("rsync") is not None
    ours: list[float] = []
    theirs: list[float] = []
    folders.do("tree", name=name, count=count)
    folders.do("sync", name=name, root=name)
    if has_rsync:
        folders.do("rsync", name=name, copy=name)
    for number in range(sizes.rounds + 1):
        folders.do("edit", name=name, count=count, round_=number)
        turns: list[Callable[[], object]] = [
            lambda: ours.append(folders.do("sync", name=name, root=name, full=full) * 1e3)
        ]
        if has_rsync:
            turns.append(
                lambda: theirs.append(folders.do("rsync", name=name, copy=name, full=full) * 1e3)
            )
        for turn in turns if number % 2 == 0 else reversed(turns):
            turn()
    # The first round fills caches: neither side's counts.
    ours, theirs = ours[1:], theirs[1:]
    return Row(
        what=f"sync of {count} files, 1 % changed" + (", all hashed" if full else ""),
        against=peer if has_rsync else f"{peer}: rsync is not installed",
        unit="ms",
        ours=ours,
        theirs=theirs,
        compared=ratios(ours, theirs) if has_rsync else ours,
        goal=goal if has_rsync else None,
    )


def plan(stack: Stack, sizes: Sizes) -> list[Row]:
    """PlanSync of a large tree that is the same on both sides."""
    folders, count = stack.folders, sizes.files * _PLANNED
    folders.do("tree", name="plan", count=count)
    folders.do("sync", name="plan", root="plan")
    walls = [folders.do("plan", name="plan", root="plan") for _ in range(sizes.rounds)]
    return [
        Row(
            what=f"PlanSync of {count} files",
            against="",
            unit="s",
            ours=walls,
            compared=walls,
            goal=Goal(2.0, unit="s"),
        )
    ]


def sync_packages(stack: Stack, sizes: Sizes) -> list[Row]:
    """The first sync of installed packages: thousands of files, some of them large."""
    folders = stack.folders
    made = folders.do("packages", name="packages")
    has_rsync = shutil.which("rsync") is not None
    ours: list[float] = []
    theirs: list[float] = []

    def they(number: int) -> None:
        if has_rsync:
            theirs.append(folders.do("rsync", name="packages", copy=f"packages-{number}"))

    in_turns(
        min(sizes.rounds, _PACKAGE_ROUNDS),
        lambda number: ours.append(
            folders.do("sync", name="packages", root=f"packages-{number}", full=True)
        ),
        they,
    )
    return [
        Row(
            what=f"first sync of {made['files']} files, {made['size'] / 1e6:.0f} MB",
            against="rsync -a" if has_rsync else "rsync -a: rsync is not installed",
            unit="s",
            ours=ours,
            theirs=theirs,
            compared=ratios(ours, theirs) if has_rsync else ours,
        )
    ]


SYNC_BENCHES: Final[Mapping[str, Callable[[Stack, Sizes], list[Row]]]] = {
    "sync-edits": sync_edits,
    "sync-hashes": sync_hashes,
    "plan": plan,
    "sync-packages": sync_packages,
}
"""Every bench by the name that the command line takes."""
