"""A short slope of `make soak`: what a thousand rounds would leave, sixty show."""

from __future__ import annotations

from tests.bench import soak


def test_nothing_is_left_of_sandboxes_that_came_and_went():
    """Descriptors, processes, folders, mounts, control groups."""
    assert soak.main(["rounds", "--rounds", "60"]) == 0
