"""Which host uids sandboxes get when the server is root."""

from __future__ import annotations

import pytest

from sandbox_service.e2b_local.machine import BootFailedError, IsolationUnavailableError
from sandbox_service.e2b_local.machine.tiers import uids
from sandbox_service.e2b_local.machine.tiers.uids import (
    UidPool,
    claim_for_images,
    find_blocks,
    image_block,
    read_map,
)

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


@pytest.mark.parametrize(("text", "start"), [(WHOLE, 2_999_000), (CONTAINER, 59_000)])
def test_images_have_a_block_of_their_own(text, start):
    """The same for every server, for they share images."""
    assert image_block(read_map(text), read_map(text)) == range(start, start + 1000)


def test_sandboxes_never_get_a_uid_of_images(tmp_path, monkeypatch):
    """One on the host's files could write to an image; rather there is none."""
    only = [range(2_999_000, 3_000_000)]
    monkeypatch.setattr(uids, "_own_maps", lambda: (only, only))

    assert claim_for_images() == only[0]
    with pytest.raises(IsolationUnavailableError, match="sandboxes"):
        UidPool.claim(tmp_path)


def test_a_namespace_of_one_user_has_no_images(monkeypatch):
    """The user is told to be an ordinary one."""
    one = read_map(ONE_USER)
    monkeypatch.setattr(uids, "_own_maps", lambda: (one, one))
    with pytest.raises(IsolationUnavailableError, match="root filesystems") as caught:
        claim_for_images()

    assert "ordinary user" in caught.value.fix
