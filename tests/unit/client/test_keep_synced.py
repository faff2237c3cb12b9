"""Syncing again: at a change, and when a failure may have mended by itself."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from miosa.sandbox import v1 as pb

from sandbox_service.client.errors import SyncError
from sandbox_service.client.ignores import Ignores
from sandbox_service.client.plan import Plan
from sandbox_service.client.sync import Synced
from sandbox_service.client.tree import walk
from sandbox_service.client.watch import keep_synced
from sandbox_service.client.work import Work

HEADER = pb.SyncFilesHeader(sandbox_id="s", root="r")
DOWN = SyncError("The service does not answer.", "Wait.", passing=True)
IN_THE_WAY = SyncError("Something is in the way.", "Delete it.")
GONE = SyncError("It has ended.", "Create another one.", "SANDBOX_ENDED")


class Syncing:
    """Stands for a sync that comes out as the test says; then well."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.attempts = 0

    async def sync(self, folder, header):
        self.attempts += 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome
        tree = walk(folder, Ignores())
        return Synced(Plan(), Work(), None, b"", True, tree)


async def first(kept, count):
    """Return so many of what is yielded, each as an error or None."""
    found = [await asyncio.wait_for(anext(kept), 60) for _ in range(count)]
    return [it if isinstance(it, SyncError) else None for it in found]


async def test_what_may_mend_by_itself_is_tried_again_without_a_change(tmp_path):
    """A service that comes back finds what changed while it was away."""
    syncing = Syncing(None, None, DOWN, DOWN, DOWN)
    async with aclosing(keep_synced(syncing, tmp_path, HEADER, retry_s=0.001)) as kept:
        before = await first(kept, 2)
        (tmp_path / "a").touch()
        after = await first(kept, 4)

    assert before == [None, None]
    assert after == [DOWN, DOWN, DOWN, None]


async def test_what_only_a_person_can_mend_waits_for_a_change(tmp_path):
    """It would fail again."""
    syncing = Syncing(None, None, IN_THE_WAY)
    async with aclosing(keep_synced(syncing, tmp_path, HEADER, retry_s=0.001)) as kept:
        await first(kept, 2)
        (tmp_path / "a").touch()
        failed = await first(kept, 1)
        waiting = asyncio.create_task(anext(kept))
        done, _ = await asyncio.wait((waiting,), timeout=0.2)
        attempts = syncing.attempts
        (tmp_path / "b").touch()
        await asyncio.wait_for(waiting, 60)

    assert failed == [IN_THE_WAY]
    assert not done
    assert attempts == 3


@pytest.mark.parametrize("outcomes", [(DOWN,), (None, None, DOWN, GONE)])
async def test_a_watch_ends_when_there_is_nothing_to_watch_for(tmp_path, outcomes):
    """At once if it never worked, for then the call is wrong; and with the sandbox."""
    syncing = Syncing(*outcomes)

    async def watch():
        async for it in keep_synced(syncing, tmp_path, HEADER, retry_s=0.001):
            if isinstance(it, Synced):
                (tmp_path / "a").touch()

    with pytest.raises(SyncError) as ended:
        await asyncio.wait_for(watch(), 60)

    assert ended.value is outcomes[-1]
