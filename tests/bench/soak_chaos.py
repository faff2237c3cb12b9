"""Chaos for as long as wanted: `make soak`; see `tests.support.chaos`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import time

from tests.support import chaos

_PART_S = 60.0
"""One world lives for so long: then what it left is counted, and another begins."""

_EXECS_PER_S = 4
_S_PER_KILL = 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command line says of it."""
    parser.add_argument("--minutes", type=float, default=10.0, help="of chaos")
    parser.add_argument("--seed", type=int, help="of chance; drawn, and printed, if not given")


def run(options: argparse.Namespace) -> int:
    """Run chaos, world after world; returns 1 when something was lost or left."""
    first = secrets.randbelow(2**31) if options.seed is None else options.seed
    left_s, number, wrong = options.minutes * 60, 0, 0
    while left_s > 0:
        seconds = min(left_s, _PART_S)
        plan = chaos.Plan(
            seed=first + number,
            seconds=seconds,
            execs=max(int(seconds * _EXECS_PER_S), 1),
            boxes=3,
            kills=max(round(seconds / _S_PER_KILL), 1),
        )
        began = time.monotonic()
        report = asyncio.run(chaos.run(plan))
        print(
            f"chaos of seed {plan.seed} in {time.monotonic() - began:.0f} s: {report}", flush=True
        )
        wrong += len(report.wrong)
        left_s -= seconds
        number += 1
    return 1 if wrong else 0
