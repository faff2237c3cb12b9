"""The service is killed in the middle of syncs: a few times here, many in `make soak`."""

from __future__ import annotations

import random

import pytest

from tests.support.sync_kills import Seen, hashes, kill_rounds, verdict

OLD = {"kept": b"1", "gone": b"1"}
NEW = {"kept": b"2", "new": b"2"}


@pytest.mark.timeout(400)
async def test_a_service_that_is_killed_while_it_syncs_leaves_every_file_old_or_new():
    """Never half of one, none lost; the same sync again ends it, and nothing staged is left."""
    seed = random.randrange(2**32)
    found = await kill_rounds(4, seed)

    assert found.wrong == [], f"seed {seed}"
    assert sum(found.trees.values()) == 4


@pytest.mark.parametrize(
    ("tree", "wrong"),
    [
        ({"kept": b"2", "gone": b"1"}, []),
        ({"kept": b"1", "gone": b"1", "new": b"2"}, []),
        ({"gone": b"1", "new": b"2"}, ["kept: lost"]),
        ({"kept": b"half", "gone": b"1"}, ["kept: neither old nor new"]),
        ({**OLD, "CuXyz": b"2"}, ["CuXyz: unknown"]),
        ({"kept": b"1", "new": b"2"}, ["something was deleted before everything had been written"]),
    ],
)
def test_the_look_at_a_tree_finds_what_must_not_be(tree, wrong):
    """It would find half a file, and a lost one."""
    assert verdict(Seen(set(tree), hashes(tree)), OLD, NEW) == ("mixed", wrong)
