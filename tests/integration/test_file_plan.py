"""What a plan says of a root: the script, run by this machine's own bash, against the truth."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox_service.domain.errors import BackendUnavailableError, FileNotAccessibleError
from sandbox_service.domain.files import (
    Difference,
    DifferenceKind,
    EntryKind,
    ManifestEntry,
    PlanHeader,
    PlanSummary,
    SyncMode,
    SyncVerify,
)
from sandbox_service.domain.limits import Limits
from sandbox_service.operations.file_sync import Plans
from tests.integration.bash_sandbox import BashSandbox, record
from tests.integration.sync_home import Entry, Home, Tree, digest, found, parents, whole
from tests.integration.test_file_sync_script import scribble, trees

EXAMPLES = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def entry(path: str, it: Entry) -> ManifestEntry:
    match it:
        case str():
            sha256 = hashlib.sha256(it.encode()).digest()
            return ManifestEntry(path, EntryKind.LINK, sha256=sha256)
        case int():
            return ManifestEntry(path, EntryKind.DIRECTORY, mode=it)
        case mode, content:
            sha256 = hashlib.sha256(content).digest()
            return ManifestEntry(path, EntryKind.FILE, len(content), mode, sha256)


async def plan(
    sandbox: BashSandbox, entries: Sequence[ManifestEntry], **header: object
) -> tuple[list[Difference], PlanSummary]:
    async def manifest() -> AsyncIterator[Sequence[ManifestEntry]]:
        for at in range(0, len(entries), 3):
            yield entries[at : at + 3]

    plans = Plans(sandbox, Limits())  # type: ignore[arg-type]
    asked = PlanHeader(**{"root": "project", **header})  # type: ignore[arg-type]
    *batches, summary = [it async for it in plans.plan(record(), asked, manifest())]
    assert isinstance(summary, PlanSummary)
    return [one for batch in batches for one in batch], summary


def expected(mine: Tree, theirs: Tree) -> dict[str, DifferenceKind]:
    implied = {parent for path in mine for parent in parents(path)} - mine.keys()
    kinds = {}
    for path in mine.keys() | theirs.keys():
        if path not in theirs:
            kinds[path] = DifferenceKind.MISSING
        elif path in mine:
            same = mine[path] == theirs[path]
            kinds[path] = DifferenceKind.EQUAL if same else DifferenceKind.CHANGED
        elif not (path in implied and isinstance(theirs[path], int)):
            kinds[path] = DifferenceKind.EXTRA
    return kinds


@EXAMPLES
@given(st.lists(trees(), min_size=2, max_size=3), st.sampled_from(SyncVerify))
def test_a_plan_is_the_truth_after_any_edits(versions: list[Tree], verify: SyncVerify) -> None:
    """Every path of either tree, its kind and its difference; and what a sync would need."""

    async def run(home: Home) -> None:
        for tree in versions:
            theirs = found(home.root) if home.root.exists() else {}
            entries = [entry(path, it) for path, it in tree.items()]
            differences, summary = await plan(
                home.sandbox, entries, verify=verify, include_equal=True
            )
            kinds = expected(tree, theirs)
            needed = [
                len(tree[it.path][1])
                for it in differences
                if type(tree.get(it.path)) is tuple
                and (it.kind is DifferenceKind.MISSING or it.content_changed)
            ]

            assert {it.path: it.kind for it in differences} == kinds
            assert len(differences) == len(kinds)
            assert summary.root_digest == digest(theirs)
            assert summary.needed_bytes == sum(needed)
            counts = (summary.missing, summary.changed, summary.extra, summary.equal)
            assert counts == tuple(list(kinds.values()).count(kind) for kind in DifferenceKind)
            for it in differences:
                there = theirs.get(it.path)
                kind = None if there is None else entry(it.path, there).kind
                assert it.sandbox_kind is kind

            await home.send(tree, mode=SyncMode.MIRROR)
            scribble(home.root, tree)
        assert await home.clean()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Home(Path(folder))))


async def test_what_a_plan_names_is_what_a_sync_changes(tmp_path: Path) -> None:
    """And after the sync a plan finds nothing."""
    home = Home(tmp_path)
    await home.send({"a": (0o644, b"a"), "old/x": (0o644, b"x"), "l": "a"})
    tree: Tree = {"a": (0o600, b"a"), "n/x": (0o644, b"new"), "l": "n/x"}
    entries = [entry(path, it) for path, it in tree.items()]

    differences, summary = await plan(home.sandbox, entries)
    receipt = await home.send(tree, mode=SyncMode.MIRROR, if_root_digest=summary.root_digest)
    nothing, after = await plan(home.sandbox, entries)

    named = {kind: {it.path for it in differences if it.kind is kind} for kind in DifferenceKind}
    assert named[DifferenceKind.MISSING] == set(receipt.added)
    assert named[DifferenceKind.CHANGED] == set(receipt.modified)
    assert named[DifferenceKind.EXTRA] == set(receipt.deleted)
    assert nothing == []
    assert after.root_digest == receipt.root_digest == digest(whole(tree, {}))


async def test_a_plan_of_the_home_leaves_out_what_syncs_keep_there(tmp_path: Path) -> None:
    """And leaves nothing there itself, but its index."""
    home = Home(tmp_path)
    (tmp_path / "a").write_bytes(b"a")

    differences, summary = await plan(home.sandbox, [], root=".")

    assert [it.path for it in differences] == ["a"]
    assert summary.root == str(tmp_path)
    left = {path.name.partition(".")[0] for path in (tmp_path / ".sandbox-sync").iterdir()}
    assert left == {"index", "lock", "stage"}
    assert list((tmp_path / ".sandbox-sync/stage").iterdir()) == []


async def test_files_that_a_plan_has_hashed_are_not_hashed_again(tmp_path: Path) -> None:
    """Shown by a wrong hash in the index, which is believed where the stat key fits."""
    home = Home(tmp_path)
    home.root.mkdir()
    (home.root / "a").write_bytes(b"a")
    ctime = (home.root / "a").stat().st_ctime
    while (await asyncio.to_thread(_now, tmp_path)) < ctime + 0.1:
        pass
    await plan(home.sandbox, [])
    (index,) = (tmp_path / ".sandbox-sync").glob("index.*")
    true = hashlib.sha256(b"a").hexdigest().encode()
    assert true in index.read_bytes()
    index.write_bytes(index.read_bytes().replace(true, b"0" * 64))

    believed, _ = await plan(home.sandbox, [entry("a", (0o644, b"a"))])
    full, _ = await plan(
        home.sandbox, [entry("a", (0o644, b"a"))], verify=SyncVerify.FULL, include_equal=True
    )

    assert [it.kind for it in believed] == [DifferenceKind.CHANGED]
    assert [it.kind for it in full] == [DifferenceKind.EQUAL]


def _now(folder: Path) -> float:
    """Return the time of the file system's own clock."""
    probe = folder / "clock"
    probe.write_bytes(b"")
    return probe.stat().st_ctime


async def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """There is nowhere to list to."""
    (tmp_path / ".sandbox-sync").write_bytes(b"a file in the way")

    with pytest.raises(FileNotAccessibleError):
        await plan(BashSandbox(tmp_path), [])


async def test_a_listing_that_is_killed_can_be_repeated(tmp_path: Path) -> None:
    """Nothing was changed by it."""
    sandbox = BashSandbox(tmp_path, wrap=("/bin/bash", "-c", "kill -KILL $$"))

    with pytest.raises(BackendUnavailableError):
        await plan(sandbox, [])


async def test_patterns_of_any_bytes_reach_the_sandbox(tmp_path: Path) -> None:
    """Also more of them than one argument may have."""
    home = Home(tmp_path)
    names = ["a\\b", "é", "ab", "x.log", "kept"]
    await home.send(dict.fromkeys(names, (0o644, b"x")))
    excludes = ("a\\\\b", "?", "a[b]", "*.log", *(f"{n:0900}" for n in range(100)))

    differences, _ = await plan(home.sandbox, [], excludes=excludes)

    assert [it.path for it in differences] == ["kept"]
    assert replace(differences[0], path="") == Difference("", DifferenceKind.EXTRA, EntryKind.FILE)
