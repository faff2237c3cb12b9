"""Which host uids sandboxes get when the server is root."""

from __future__ import annotations

import pytest

from sandbox_service.e2b_local.machine import BootFailedError
from sandbox_service.e2b_local.machine.uids import UidPool, find_blocks, read_map

WHOLE = "         0          0 4294967295\n"
CONTAINER = "         0     100000      65536\n"
ONE_USER = "         0       1000          1\n"


def blocks(text: str) -> list[range]:
    return list(find_blocks(read_map(text), read_map(text)))


def test_a_host_gives_uids_that_nobody_has():
    """Distributions give out ids below 65,536, and user namespaces those from 100,000."""
    assert blocks(WHOLE)[0].start == 2_000_000


def test_a_container_gives_uids_that_exist_in_it():
    """An id outside of the map is EINVAL."""
    found = blocks(CONTAINER)

    assert found
    assert all(block.stop <= 60_000 for block in found)


def test_a_namespace_of_one_user_gives_none():
    """Then the machine refuses, and says why."""
    assert blocks(ONE_USER) == []


def test_both_maps_must_hold_an_id():
    """A sandbox's group has the number of its user."""
    assert list(find_blocks(read_map(WHOLE), read_map(ONE_USER))) == []


def test_a_uid_with_an_account_is_left_out():
    """It would be a person's."""
    pool = UidPool(range(5, 8), -1, taken=lambda uid: uid == 5)

    assert [pool.take(), pool.take()] == [6, 7]


def test_uids_are_used_again_and_never_twice_at_once():
    """Two sandboxes with one uid could signal each other's processes."""
    pool = UidPool(range(5, 7), -1, taken=lambda _: False)
    first, second = pool.take(), pool.take()
    with pytest.raises(BootFailedError):
        pool.take()
    pool.give_back(first)

    assert {first, second} == {5, 6}
    assert pool.take() == first
