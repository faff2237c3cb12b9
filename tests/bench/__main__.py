"""`python -m tests.bench`: this service against the bare SDK, side by side.

Everything runs on this machine, on one backend, in turns. What counts are the
ratios: absolute numbers are the machine's. It fails only when something breaks,
never because a number is bad.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from rich.console import Console

from tests.bench.benches import BENCHES, Sizes
from tests.bench.peers import PeerError
from tests.bench.report import Row, show
from tests.bench.stack import Stack, StackError

_WIDTH = 160


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure this service against the bare SDK on the same backend.",
        epilog="Benches: "
        + "; ".join(f"{name}: {(it.__doc__ or '').strip()}" for name, it in BENCHES.items()),
    )
    add = parser.add_argument
    add("benches", nargs="*", metavar="BENCH", help=f"which: {', '.join(BENCHES)}; all if none")
    add("--rounds", type=int, default=5, help="how often the sides take turns (default 5)")
    add("--calls", type=int, default=20, help="calls in one turn (default 20)")
    add("--stream-mib", type=int, default=256, help="MiB in one stream (default 256)")
    add("--files", type=int, default=2000, help="files in one sync (default 2000)")
    options = parser.parse_args(arguments)
    for name in options.benches:
        if name not in BENCHES:
            parser.error(f"there is no bench {name!r}; there are {', '.join(BENCHES)}")
    for name in ("rounds", "calls", "stream_mib", "files"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return options


def main(arguments: list[str]) -> int:
    """Run the benches that were chosen, and print the table."""
    options = _parse(arguments)
    # As wide as the table, also where the output is a file.
    console = Console(width=max(_WIDTH, Console().width))
    sizes = Sizes(
        rounds=options.rounds,
        calls=options.calls,
        stream_mib=options.stream_mib,
        files=options.files,
    )
    rows: list[Row] = []
    try:
        with Stack() as stack:
            _warm_up(stack)
            for name in options.benches or BENCHES:
                began = time.monotonic()
                rows += BENCHES[name](stack, sizes)
                console.print(f"{name}: {time.monotonic() - began:.1f} s", style="dim")
    except (StackError, PeerError) as error:
        console.print(f"[bold red]The bench broke.[/] {error}", highlight=False)
        return 1
    finally:
        if rows:
            show(rows, console)
            load = ", ".join(f"{it:.1f}" for it in os.getloadavg())
            console.print(f"{os.cpu_count()} CPUs; load average {load}.", style="dim")
    return 0


def _warm_up(stack: Stack) -> None:
    """Connect, and fill the caches that every process has once."""
    for peer in (stack.service, stack.sdk):
        peer.do("true", count=10)
        peer.do("stream", size=4 * 1024 * 1024)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
