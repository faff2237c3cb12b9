"""Instances of one state folder are kept apart by a lock."""

from __future__ import annotations

import pytest

from sandbox_service.app.errors import StartError
from sandbox_service.app.instance import claim


def test_two_instances_of_one_state_folder_get_different_corners(tmp_path):
    """Two servers on one machine do not disturb each other."""
    first, second = claim(tmp_path), claim(tmp_path)

    assert first.folder != second.folder
    assert first.name != second.name

    first.release()
    second.release()


def test_a_corner_that_was_released_is_taken_again(tmp_path):
    """A restart finds its store."""
    first = claim(tmp_path)
    folder = first.folder
    first.release()

    again = claim(tmp_path)

    assert again.folder == folder
    assert again.name != first.name
    again.release()


def test_a_state_folder_that_cannot_be_is_told_with_what_to_do(tmp_path):
    """A file in the way is no traceback."""
    (tmp_path / "state").write_text("")

    with pytest.raises(StartError) as caught:
        claim(tmp_path / "state")

    assert "SANDBOX_STATE_DIR" in caught.value.fix


def test_who_had_the_corner_before_is_known_until_somebody_tidied_up(tmp_path):
    """What a crash left in sandboxes carries its name, and a second crash must not hide it."""
    first = claim(tmp_path)
    first.release()
    second = claim(tmp_path)
    second.release()
    third = claim(tmp_path)
    third.tidied_up()
    third.release()
    fourth = claim(tmp_path)
    fourth.release()

    assert first.predecessors == ()
    assert second.predecessors == (first.name,)
    assert third.predecessors == (first.name, second.name)
    assert fourth.predecessors == (third.name,)
