"""Syncs whose service is killed on the way, many times: a part of `make soak`.

`python -m tests.bench.soak_syncs [ROUNDS [SEED]]` runs it alone.
"""

from __future__ import annotations

import asyncio
import random
import sys

from tests.support.sync_kills import kill_rounds

ROUNDS = 20


def main(arguments: list[str]) -> int:
    """Run the rounds; returns 1 when a file was half, lost, or left behind."""
    numbers = [int(it) for it in arguments]
    rounds = numbers[0] if numbers else ROUNDS
    seed = numbers[1] if len(numbers) > 1 else random.randrange(2**32)
    found = asyncio.run(kill_rounds(rounds, seed))
    print(
        f"{rounds} syncs whose service was killed, {found.answered} of them answered all the same"
    )
    for tree, count in sorted(found.trees.items()):
        print(f"{count:4} {tree}")
    print(f"{found.archives} uploads left for the sandbox's next cleaning")
    for line in found.wrong:
        print(f"wrong: {line}")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
