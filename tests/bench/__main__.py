"""`python -m tests.bench`: this service against the bare SDK, side by side.

`python -m tests.bench local`: the SDK on the local backend against plain bubblewrap.

Everything runs on this machine, on one backend, in turns. What counts are the
ratios: absolute numbers are the machine's. It fails only when something breaks,
never because a number is bad.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping

from rich.console import Console

from tests.bench.benches import BENCHES
from tests.bench.canned_benches import CANNED_BENCHES
from tests.bench.exec_benches import EXEC_BENCHES
from tests.bench.local_benches import LOCAL_BENCHES, LocalSizes
from tests.bench.peers import Peer, PeerError
from tests.bench.report import Row, show
from tests.bench.sizes import Sizes
from tests.bench.stack import CannedStack, LocalStack, Stack, StackError
from tests.bench.sync_benches import SYNC_BENCHES

_WIDTH = 160
_REAL = {**BENCHES, **EXEC_BENCHES, **SYNC_BENCHES}
_ALL: Mapping[str, Callable[..., list[Row]]] = {**_REAL, **CANNED_BENCHES}


def _parser(
    program: str, description: str, benches: Mapping[str, Callable[..., list[Row]]]
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog="Benches: "
        + "; ".join(f"{name}: {(it.__doc__ or '').strip()}" for name, it in benches.items()),
    )
    add = parser.add_argument
    add("benches", nargs="*", metavar="BENCH", help=f"which: {', '.join(benches)}; all if none")
    add("--rounds", type=int, default=5, help="how often the sides take turns (default 5)")
    add("--calls", type=int, default=20, help="calls in one turn (default 20)")
    add("--stream-mib", type=int, default=256, help="MiB in one stream (default 256)")
    return parser


def _options(
    parser: argparse.ArgumentParser, benches: Iterable[str], arguments: list[str]
) -> argparse.Namespace:
    options = parser.parse_args(arguments)
    for name in options.benches:
        if name not in benches:
            parser.error(f"there is no bench {name!r}; there are {', '.join(benches)}")
    for name, value in vars(options).items():
        if isinstance(value, int) and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return options


def main(arguments: list[str]) -> int:
    """Run the benches that were chosen, and print the table."""
    if arguments[:1] == ["local"]:
        return _measure_local(arguments[1:])
    description = "Measure this service against the bare SDK on the same backend."
    parser = _parser("python -m tests.bench [local]", description, _ALL)
    parser.add_argument("--files", type=int, default=2000, help="files in one sync (default 2000)")
    many = "Execs that are cancelled, after four times as many (default 2000)"
    parser.add_argument("--cancels", type=int, default=2000, help=many)
    options = _options(parser, _ALL, arguments)
    sizes = Sizes(
        rounds=options.rounds,
        calls=options.calls,
        stream_mib=options.stream_mib,
        files=options.files,
        cancels=options.cancels,
    )

    def measure(rows: list[Row], console: Console) -> None:
        chosen = options.benches or list(_ALL)
        stacks = ((Stack, _REAL, _warm_up), (CannedStack, CANNED_BENCHES, _connect))
        for kind, benches, prepare in stacks:
            names = [name for name in chosen if name in benches]
            if not names:
                continue
            with kind() as stack:
                prepare(stack.service, stack.sdk)
                for name in names:
                    began = time.monotonic()
                    rows += _ALL[name](stack, sizes)
                    console.print(f"{name}: {time.monotonic() - began:.1f} s", style="dim")

    return _report(measure)


def _measure_local(arguments: list[str]) -> int:
    description = "Measure the SDK on the local backend against plain bubblewrap and files."
    parser = _parser("python -m tests.bench local", description, LOCAL_BENCHES)
    add = parser.add_argument
    add("--burst", type=int, default=1000, help="commands in one turn of a burst (default 1000)")
    add("--file-mb", type=int, default=200, help="MB in a large file (default 200)")
    options = _options(parser, LOCAL_BENCHES, arguments)
    sizes = LocalSizes(
        rounds=options.rounds,
        calls=options.calls,
        burst=options.burst,
        stream_mib=options.stream_mib,
        file_mb=options.file_mb,
    )

    def measure(rows: list[Row], console: Console) -> None:
        with LocalStack() as stack:
            stack.sdk.do("true", count=10)
            stack.plain.do("true", count=10)
            for name in options.benches or LOCAL_BENCHES:
                began = time.monotonic()
                rows += LOCAL_BENCHES[name](stack, sizes)
                console.print(f"{name}: {time.monotonic() - began:.1f} s", style="dim")

    return _report(measure)


def _report(measure: Callable[[list[Row], Console], None]) -> int:
    """Measure, and print what was measured, also when it broke."""
    # As wide as the table, also where the output is a file.
    console = Console(width=max(_WIDTH, Console().width))
    rows: list[Row] = []
    try:
        measure(rows, console)
    except (StackError, PeerError) as error:
        console.print(f"[bold red]The bench broke.[/] {error}", highlight=False)
        return 1
    finally:
        if rows:
            show(rows, console)
            load = ", ".join(f"{it:.1f}" for it in os.getloadavg())
            console.print(f"{os.cpu_count()} CPUs; load average {load}.", style="dim")
    return 0


def _connect(*peers: Peer) -> None:
    for peer in peers:
        peer.do("true", count=10)


def _warm_up(*peers: Peer) -> None:
    """Connect, and fill the caches that every process has once."""
    _connect(*peers)
    for peer in peers:
        peer.do("stream", size=4 * 1024 * 1024)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
