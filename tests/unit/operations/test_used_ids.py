"""No id is ever used twice, and those that the service chooses cost nothing."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_service.operations.execs.used_ids import UsedIds

BOX = "box"


def test_what_was_chosen_is_used_in_that_sandbox_alone():
    """Numbers are per sandbox."""
    used = UsedIds()
    first, second = used.choose(BOX), used.choose(BOX)

    assert first != second
    assert used.has(BOX, first)
    assert used.has(BOX, second)
    assert not used.has("other", first)


def test_two_processes_choose_different_ids():
    """Both may serve one sandbox."""
    assert UsedIds().choose(BOX) != UsedIds().choose(BOX)


def test_a_caller_who_guesses_the_next_id_has_it():
    """Then it is not chosen for anybody else."""
    used = UsedIds()
    first = used.choose(BOX)
    guessed = f"{first[:-1]}2"
    assert not used.has(BOX, guessed)

    used.add(BOX, guessed, {"program": "sha"})

    assert used.digests(BOX, guessed) == {"program": "sha"}
    assert used.choose(BOX) not in (first, guessed)


@pytest.mark.parametrize("written", ["01", "+1", "1 ", "", "x", "\u0661", "1_0", "-1"])
def test_only_what_is_written_as_the_service_writes_it_was_chosen(written):
    """Another spelling of a number is another id."""
    used = UsedIds()
    prefix = used.choose(BOX)[:-1]

    assert not used.has(BOX, prefix + written)


def test_an_id_that_never_ran_can_be_used_again():
    """By whoever gave it."""
    used = UsedIds()
    used.add(BOX, "mine", {})
    used.discard(BOX, "mine")

    assert not used.has(BOX, "mine")


@pytest.mark.parametrize("chosen", [True, False])
def test_a_sandbox_is_known_until_it_is_forgotten(chosen):
    """Whichever kind of ids it has had."""
    used = UsedIds()
    assert not used.knows(BOX)
    exec_id = used.choose(BOX) if chosen else "mine"
    used.add(BOX, exec_id, {})
    assert used.knows(BOX)

    used.forget(BOX)

    assert not used.knows(BOX)
    assert not used.has(BOX, exec_id)


@given(st.lists(st.one_of(st.none(), st.integers(1, 20), st.text(max_size=3)), max_size=40))
def test_no_id_is_chosen_that_was_used(script):
    """None: choose one; a number: a caller takes that one; a text: a caller's own."""
    used = UsedIds()
    prefix = used.choose("elsewhere")[:-1]
    seen = set()
    for step in script:
        if step is None:
            exec_id = used.choose(BOX)
            assert exec_id not in seen
        else:
            exec_id = f"{prefix}{step}" if isinstance(step, int) else step
            assert used.has(BOX, exec_id) == (exec_id in seen)
        used.add(BOX, exec_id, {})
        seen.add(exec_id)
    assert all(used.has(BOX, exec_id) for exec_id in seen)


def test_chosen_ids_take_no_memory():
    """A sandbox may live through any number of execs."""
    used = UsedIds()
    used.add(BOX, used.choose(BOX), {})
    tracemalloc.start()
    try:
        for _ in range(2000):
            used.add(BOX, used.choose(BOX), {})
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert grown < 2000
