"""A store's intents, of which one key has one at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from sandbox_service.storage.sql_store import open_store
from tests.conformance.stores import START, an_intent


async def test_fifty_claims_of_one_key_have_one_winner(store):
    """Two winners would be two sandboxes for one request."""
    claims = [an_intent(instance=f"instance-{number}") for number in range(50)]
    held = await asyncio.gather(*(store.claim_intent(claim) for claim in claims))
    winners = [claim for claim, holder in zip(claims, held, strict=True) if holder is claim]

    assert len(winners) == 1
    assert all(holder == winners[0] for holder in held)


async def test_claims_through_two_stores_have_one_winner(url):
    """Instances of the service share a database, not memory."""
    stores = [await open_store(url) for _ in range(2)]
    try:
        claims = [an_intent(instance=f"instance-{number}") for number in range(20)]
        held = await asyncio.gather(
            *(stores[number % 2].claim_intent(claim) for number, claim in enumerate(claims))
        )
    finally:
        for store in stores:
            await store.aclose()

    assert sum(holder is claim for claim, holder in zip(claims, held, strict=True)) == 1
    assert len({holder.instance for holder in held}) == 1


async def test_the_same_key_of_another_tenant_is_another_key(store):
    """A tenant must not even learn that another uses a key."""
    mine, other = an_intent(), an_intent(tenant="other")

    assert await store.claim_intent(mine) is mine
    assert await store.claim_intent(other) is other


async def test_an_intent_has_one_successor(store):
    """Two that take over the work of one that died would both do it."""
    left = await store.claim_intent(an_intent())
    taken = await asyncio.gather(
        *(store.take_over_intent(left, f"instance-{number}") for number in range(20))
    )
    holder = await store.claim_intent(an_intent())

    assert sum(taken) == 1
    assert holder.instance == f"instance-{taken.index(True)}"
    assert replace(holder, instance="instance-a") == an_intent()


@pytest.mark.parametrize("meanwhile", ["completed", "freed", "claimed again"])
async def test_an_intent_that_has_changed_is_not_taken_over(store, meanwhile):
    """What was read is no longer so: there is nothing left to do, or somebody does it."""
    left = await store.claim_intent(an_intent())
    if meanwhile == "completed":
        await store.complete_intent("acme", "key-1", "sb-1")
    else:
        await store.free_intent("acme", "key-1")
    if meanwhile == "claimed again":
        await store.claim_intent(an_intent(create_time=START + timedelta(seconds=1)))

    assert not await store.take_over_intent(left, "instance-b")


async def test_a_freed_key_can_be_claimed_again(store):
    """A Create that failed must be repeatable with its key."""
    await store.claim_intent(an_intent())
    await store.free_intent("acme", "key-1")
    again = an_intent(instance="instance-b", request_digests={"template": "b" * 64})

    assert await store.claim_intent(again) is again


async def test_completing_or_freeing_an_unknown_key_does_nothing(store):
    """Clean-up is repeated after errors, and must not fail for having succeeded."""
    await store.complete_intent("acme", "none", "sb-1")
    await store.free_intent("acme", "none")
    mine = an_intent("none")

    assert await store.claim_intent(mine) is mine
