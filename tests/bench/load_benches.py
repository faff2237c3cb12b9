"""Benches of what many callers, and callers who do not read, cost the service."""

from __future__ import annotations

import time
from statistics import median
from typing import Final

from tests.bench.report import Goal, Row
from tests.bench.sizes import MIB, Sizes
from tests.bench.stack import Stack

_OPEN: Final = 1000
_STALLED_BYTES: Final = 2 * 1000**3
_JOURNAL_MIB: Final = 8
_STEADY_S: Final = 3.0
"""How long a flood that nobody reads is watched: a buffer without an end would grow on and on."""


def open_streams(stack: Stack, sizes: Sizes) -> list[Row]:
    """1,000 Execs open at once: memory each, and what it does to Status. One round."""
    service = stack.service
    service.do("rooms")
    calls = sizes.calls * 10
    quiet = median(service.do("status_walls", count=calls)) * 1e3
    before = stack.service_memory()
    service.do("open", count=_OPEN)
    ours = (stack.service_memory() - before) / _OPEN / 1024
    busy = median(service.do("status_walls", count=calls)) * 1e3
    service.do("disperse")
    before = stack.echo_memory()
    service.do("hold", count=_OPEN)
    theirs = (stack.echo_memory() - before) / _OPEN / 1024
    service.do("disperse")
    service.do("close_rooms")
    return [
        Row(
            what=f"{_OPEN} open Exec streams, memory each",
            against="bare grpc.aio stream",
            unit="KiB",
            ours=[ours],
            theirs=[theirs],
            compared=[ours],
            goal=Goal(100.0, unit="KiB"),
        ),
        Row(
            what="  Status meanwhile, p50",
            against="before them",
            unit="ms",
            ours=[busy],
            theirs=[quiet],
            compared=[busy / quiet],
            goal=Goal(1.5),
        ),
    ]


def stalled_reader(stack: Stack, sizes: Sizes) -> list[Row]:
    """A client that stops reading a flood of 2 GB: memory, and the others' speed. One round."""
    service = stack.service
    quiet = median(service.do("true", count=sizes.calls)) * 1e3
    before = stack.service_memory()
    service.do("stall", size=_STALLED_BYTES)
    until, most = time.monotonic() + _STEADY_S, 0
    walls: list[float] = []
    while time.monotonic() < until:
        walls += service.do("true", count=sizes.calls)
        most = max(most, stack.service_memory())
    service.do("disperse")
    more, busy = (most - before) / MIB, median(walls) * 1e3
    return [
        Row(
            what="a client stalls on 2 GB: memory more",
            against="",
            unit="MiB",
            ours=[more],
            compared=[more],
            goal=Goal(_JOURNAL_MIB + 2.0, unit="MiB"),
        ),
        Row(
            what="  Exec of `true` beside it, p50",
            against="before it",
            unit="ms",
            ours=[busy],
            theirs=[quiet],
            compared=[busy / quiet],
        ),
    ]
