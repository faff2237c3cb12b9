"""What is remembered of a sandbox's folder: a guess that has a digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from miosa.sandbox import v1 as pb

from sandbox_service.client.digest import records, root_digest
from sandbox_service.client.ignores import Ignores
from sandbox_service.client.memory import Memory
from sandbox_service.client.tree import File, Stamp, Tree

APP = pb.PlanSyncHeader(sandbox_id="box", root="app", excludes=["*.o"])


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def tree(files=(), links=(), folders=()) -> Tree:
    found = Tree(Path("/here"), Ignores([]))
    for path, content in dict(files).items():
        sha256 = hashlib.sha256(content).digest()
        found.files[path] = File(path, 0o644, Stamp(0, 0, len(content), 0, 0), sha256)
    found.links.update(links)
    found.folders.update(folders)
    return found


BEFORE = tree(
    {"same": b"1", "edited": b"2", "gone": b"3", "d123 x": b"4", "l\ni": b"5"},
    {"link": "a//b", "was-link": "x"},
    {"folder": 0o755, "opened": 0o700, "was-folder": 0o755},
)
AFTER = tree(
    {"same": b"1", "edited": b"22", "new": b"333", "was-folder": b"", "d123 x": b"4", "l\ni": b"6"},
    {"link": "a//c"},
    {"folder": 0o755, "opened": 0o755},
)


@pytest.mark.parametrize("again", [False, True], ids=["same-run", "next-run"])
def test_the_difference_is_what_a_plan_would_say(again: bool) -> None:
    memory = Memory(cached=True)
    memory.keep(APP, records(BEFORE))
    plan = (Memory(cached=True) if again else memory).recall(APP, AFTER, records(AFTER))

    assert plan is not None
    assert plan.missing == {"new"}
    assert {path: it.sandbox_kind for path, it in plan.changed.items()} == {
        "edited": pb.ENTRY_KIND_FILE,
        "l\ni": pb.ENTRY_KIND_FILE,
        "was-folder": pb.ENTRY_KIND_DIRECTORY,
        "link": pb.ENTRY_KIND_LINK,
        "opened": pb.ENTRY_KIND_DIRECTORY,
    }
    assert plan.extra == {"gone": pb.ENTRY_KIND_FILE, "was-link": pb.ENTRY_KIND_LINK}
    assert plan.summary == pb.PlanSyncSummary(
        missing=1,
        changed=5,
        extra=2,
        equal=3,
        needed_bytes=6,
        root_digest=root_digest(BEFORE),
    )


@pytest.mark.parametrize(
    "other",
    [
        pb.PlanSyncHeader(sandbox_id="other", root="app", excludes=["*.o"]),
        pb.PlanSyncHeader(sandbox_id="box", root="other", excludes=["*.o"]),
        pb.PlanSyncHeader(sandbox_id="box", root="app"),
        pb.PlanSyncHeader(sandbox_id="box", root="app", excludes=["*.o"], user="root"),
    ],
)
def test_another_folder_is_not_remembered(other: pb.PlanSyncHeader) -> None:
    memory = Memory(cached=True)
    memory.keep(APP, records(BEFORE))

    assert memory.recall(other, AFTER, records(AFTER)) is None


def test_what_is_forgotten_is_forgotten_for_good() -> None:
    memory = Memory(cached=True)
    memory.keep(APP, records(BEFORE))
    memory.forget(APP)

    for it in (memory, Memory(cached=True)):
        assert it.recall(APP, AFTER, records(AFTER)) is None


def test_without_a_cache_nothing_is_written(tmp_path: Path) -> None:
    Memory(cached=False).keep(APP, records(BEFORE))

    assert list(tmp_path.rglob("*")) == []


def test_a_file_that_was_damaged_does_not_pass_for_the_folder(tmp_path: Path) -> None:
    Memory(cached=True).keep(APP, records(BEFORE))
    (file,) = (it for it in tmp_path.rglob("*") if it.is_file())
    file.write_bytes(file.read_bytes()[:-9] + b"\xff")
    plan = Memory(cached=True).recall(APP, AFTER, records(AFTER))

    assert plan is None or plan.summary.root_digest != root_digest(BEFORE)
