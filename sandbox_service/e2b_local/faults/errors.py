"""What can be wrong with rules."""

from __future__ import annotations


class RulesError(ValueError):
    """Rules that are none.

    Args:
        problems: What is wrong with each field, by its place in the document,
            such as `1.params.seconds`. An empty place is the document itself.
    """

    def __init__(self, problems: dict[str, str]) -> None:
        told = (f"{place}: {what}" if place else what for place, what in problems.items())
        super().__init__("; ".join(told))
        self.problems = problems


class RuleExistsError(ValueError):
    """A rule's id is taken, or there are as many rules as may be."""
