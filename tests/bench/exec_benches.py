"""Benches of Exec in ways that cost more: DURABLE here, and a bridge that keeps no connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

from tests.bench.report import Goal, Row, in_turns, ratios
from tests.bench.sizes import Sizes
from tests.bench.stack import Stack


def durable(stack: Stack, sizes: Sizes) -> list[Row]:
    """Exec with its record and output kept in the sandbox, against the same without."""
    rows = []
    for command, bound in (("true", 1.35), ("python3 -c pass", 1.15)):
        ours: list[float] = []
        theirs: list[float] = []

        def turn(walls: list[float], kept: bool, command: str = command) -> None:
            took = stack.service.do("walls", command=command, count=sizes.calls, durable=kept)
            walls.append(median(took) * 1e3)

        in_turns(
            sizes.rounds,
            lambda _, walls=ours, turn=turn: turn(walls, True),
            lambda _, walls=theirs, turn=turn: turn(walls, False),
        )
        rows.append(
            Row(
                what=f"DURABLE Exec of `{command}`, p50",
                against="ATTACHED",
                unit="ms",
                ours=ours,
                theirs=theirs,
                compared=ratios(ours, theirs),
                goal=Goal(bound),
            )
        )
    return rows


def naive(stack: Stack, sizes: Sizes) -> list[Row]:
    """Exec of `true` against a bridge that connects anew for each call."""
    ours: list[float] = []
    theirs: list[float] = []
    in_turns(
        sizes.rounds,
        lambda _: ours.append(median(stack.service.do("true", count=sizes.calls)) * 1e3),
        lambda _: theirs.append(median(stack.sdk.do("naive", count=sizes.calls)) * 1e3),
    )
    return [
        Row(
            what="Exec of `true`, p50",
            against="connect + commands.run",
            unit="ms",
            ours=ours,
            theirs=theirs,
            compared=ratios(theirs, ours),
            goal=Goal(1.5, at_most=False, unit="x faster"),
        )
    ]


EXEC_BENCHES: Final[Mapping[str, Callable[[Stack, Sizes], list[Row]]]] = {
    "durable": durable,
    "naive": naive,
}
"""By the name that the command line takes."""
