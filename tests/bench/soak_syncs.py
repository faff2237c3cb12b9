"""Syncs whose service is killed on the way, many times: a part of `make soak`."""

from __future__ import annotations

import argparse
import asyncio
import secrets

from tests.support.sync_kills import kill_rounds


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command line says of it."""
    parser.add_argument("--kills", type=int, default=20, help="of the service amid syncs")


def run(options: argparse.Namespace) -> int:
    """Run the rounds; returns 1 when a file was half, lost, or left behind."""
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    found = asyncio.run(kill_rounds(options.kills, seed))
    print(
        f"{options.kills} syncs of seed {seed} whose service was killed, "
        f"{found.answered} of them answered all the same"
    )
    for tree, count in sorted(found.trees.items()):
        print(f"{count:4} {tree}")
    print(f"{found.archives} uploads left for the sandbox's next cleaning")
    for line in found.wrong:
        print(f"wrong: {line}")
    return 1 if found.wrong else 0
