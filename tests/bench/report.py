"""Rows of the report: what was measured, against what, and whether it is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

Turn = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio, or a difference, is to be.

    Attributes:
        at_most: True when less is better.
        unit: Of the bound: `x` for ratios.
    """

    bound: float
    at_most: bool = True
    unit: str = "x"

    def met(self, value: float) -> bool:
        """Tell whether `value` is good enough."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}{_spaced(self.unit)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report.

    Attributes:
        ours, theirs: A sample per round. `theirs` is empty where there is
            nothing to compare with.
        compared: What the goal is about, a value per round.
        goal: None where the number is only for information.
    """

    what: str
    against: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float] = ()
    compared: Sequence[float]
    goal: Goal | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the row as the table shows it."""
        unit = "x" if self.goal is None else self.goal.unit
        middle = median(self.compared)
        verdict = ""
        if self.goal is not None:
            verdict = "[green]met[/]" if self.goal.met(middle) else "[bold red]missed[/]"
        return (
            self.what,
            self.against,
            _number(median(self.ours), self.unit),
            _number(median(self.theirs), self.unit) if self.theirs else "",
            f"{middle:.3g}{_spaced(unit)}",
            f"{min(self.compared):.3g}..{max(self.compared):.3g}",
            "" if self.goal is None else str(self.goal),
            verdict,
        )


def in_turns(rounds: int, ours: Turn, theirs: Turn) -> None:
    """Let both sides take turns; who begins changes, for the first has it harder."""
    for number in range(rounds):
        for turn in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            turn(number)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours over theirs, round by round: what disturbed a round disturbed both."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table."""
    table = Table(title="Medians over the rounds; the spread is the rounds' smallest and largest")
    for heading in ("what", "against", "ours", "theirs", "compared", "spread", "goal", "verdict"):
        numeric = heading in ("ours", "theirs", "compared", "spread")
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row.cells())
    console.print(table)


def _number(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def _spaced(unit: str) -> str:
    return unit if unit == "x" else f" {unit}"
