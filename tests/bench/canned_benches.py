"""Benches on a backend that answers at once and runs nothing: what the service itself costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import quantiles
from typing import Final

from tests.bench.report import Goal, Row, in_turns, ratios
from tests.bench.sizes import Sizes
from tests.bench.stack import CannedStack, StackError

_KILL_LIMIT_S: Final = 10.0
_AT_ONCE: Final = 50
_WARM_UP: Final = 4
"""So many times as many come first: a process takes long to have all the memory that it keeps."""


def cpu(stack: CannedStack, sizes: Sizes) -> list[Row]:
    """Exec without output, and a flood of short lines: CPU of the process, nothing else runs."""
    calls = sizes.calls * 25
    lines = sizes.calls * 1000
    idle = _cpu(stack, sizes.rounds, calls, "true", count=calls)
    flood = _cpu(stack, sizes.rounds, lines, "lines", count=lines)
    more = [mine - other for mine, other in zip(*idle, strict=True)]
    return [
        _row("Exec without output, CPU", "commands.run", idle, ratios(*idle), Goal(2.6)),
        _row("  how much more", "", idle, more, Goal(750.0, unit="us")),
        _row(
            "a flood of 64-byte lines, CPU a line",
            "commands.run(on_stdout)",
            flood,
            ratios(*flood),
            Goal(1.5),
        ),
    ]


def _cpu(
    stack: CannedStack, rounds: int, share: int, deed: str, **load: int
) -> tuple[list[float], list[float]]:
    """Return what each side's process used for a share of its work, in us a round."""
    ours: list[float] = []
    theirs: list[float] = []

    def we(_: int) -> None:
        before = stack.service_cpu()
        stack.service.do(deed, **load)
        ours.append((stack.service_cpu() - before) / share * 1e6)

    def they(_: int) -> None:
        before = stack.sdk_cpu()
        stack.sdk.do(deed, **load)
        theirs.append((stack.sdk_cpu() - before) / share * 1e6)

    in_turns(rounds, we, they)
    return ours, theirs


def _row(
    what: str,
    against: str,
    sides: tuple[list[float], list[float]],
    compared: list[float],
    goal: Goal,
) -> Row:
    ours, theirs = sides
    return Row(
        what=what,
        against=against,
        unit="us",
        ours=ours,
        theirs=theirs,
        compared=compared,
        goal=goal,
    )


def kill_sent(stack: CannedStack, sizes: Sizes) -> list[Row]:
    """From a client's cancel until the backend is asked to kill its program; a call is a round."""
    walls = []
    for _ in range(max(sizes.calls, 100)):
        stack.service.do("holder")
        left = stack.service.do("leave")
        until = time.monotonic() + _KILL_LIMIT_S
        while (at := stack.last_kill()) < left:
            if time.monotonic() > until:
                raise StackError("The service sent no kill for a call that was cancelled.")
        walls.append((at - left) * 1e3)
    return [
        Row(
            what="client cancels: kill sent, p99",
            against="",
            unit="ms",
            ours=walls,
            compared=[quantiles(walls, n=100)[-1]],
            goal=Goal(50.0, unit="ms"),
        )
    ]


def cancelled(stack: CannedStack, sizes: Sizes) -> list[Row]:
    """What a cancelled Exec leaves in memory, once as many have left what they always leave."""
    count = sizes.cancels

    def grown(memory: Callable[[], int], deed: str) -> float:
        stack.service.do(deed, count=count * _WARM_UP, at_once=_AT_ONCE)
        before = memory()
        stack.service.do(deed, count=count, at_once=_AT_ONCE)
        return (memory() - before) / count

    ours = grown(stack.service_memory, "cancelled")
    theirs = grown(stack.echo_memory, "cancelled_holds")
    return [
        Row(
            what=f"{count} cancelled Execs, memory each",
            against="bare grpc.aio stream",
            unit="B",
            ours=[ours],
            theirs=[theirs],
            compared=[ours - 1.5 * theirs],
            goal=Goal(0.0, unit="B beyond 1.5x"),
        )
    ]


CANNED_BENCHES: Final[Mapping[str, Callable[[CannedStack, Sizes], list[Row]]]] = {
    "cpu": cpu,
    "kill-sent": kill_sent,
    "cancelled": cancelled,
}
"""By the name that the command line takes."""
