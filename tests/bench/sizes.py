"""How much the benches do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much each bench does.

    Attributes:
        rounds: How often the two sides take turns.
        calls: Calls in one turn of a bench that makes one after another.
        stream_mib: MiB in one stream.
        files: Files in one sync.
        cancels: Execs that are cancelled.
    """

    rounds: int
    calls: int
    stream_mib: int
    files: int
    cancels: int
