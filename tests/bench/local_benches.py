"""The benches of the local backend: the unmodified SDK on it, against plain bubblewrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench.report import Goal, Row, in_turns, ratios
from tests.bench.sizes import MIB
from tests.bench.stack import LocalStack

MB: Final = 1000 * 1000
_AT_ONCE: Final = 64
_CREATED_AT_ONCE: Final = 20
_CREATE_GOAL: Final = 8.0
_SMALL_BYTES: Final = 5
_FLOOD_PATH: Final = "/home/user/flood"

# Of envd 0.6.13 behind a small control plane, measured elsewhere: an order, not a rival.
_ENVD_TRUE_MS: Final = 7.5
_ENVD_CREATE_MS: Final = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSizes:
    """How much each bench does.

    Attributes:
        rounds: How often the two sides take turns.
        calls: Calls in one turn of a bench that makes one after another.
        burst: Commands in one turn of a bench that runs many at once.
        stream_mib: MiB in one stream.
        file_mb: MB in a large file.
    """

    rounds: int
    calls: int
    burst: int
    stream_mib: int
    file_mb: int


def true(stack: LocalStack, sizes: LocalSizes) -> list[Row]:
    """`commands.run("true")`, one after another."""
    ours, theirs = _walls(stack, sizes, "true", "true", count=sizes.calls)
    return [
        Row(
            what="commands.run of `true`, p50",
            against="`bash -lc true` in bwrap",
            unit="ms",
            ours=ours,
            theirs=theirs,
            compared=ratios(ours, theirs),
            goal=Goal(2.0),
        ),
        _beside_envd(ours, _ENVD_TRUE_MS),
    ]


def stream(stack: LocalStack, sizes: LocalSizes) -> list[Row]:
    """Standard output of `cat`, kept nowhere."""
    load = {"path": _FLOOD_PATH, "size": sizes.stream_mib * MIB}
    stack.sdk.do("make_file", **load)
    ours: list[float] = []
    theirs: list[float] = []
    in_turns(
        sizes.rounds,
        lambda _: ours.append(stack.sdk.do("cat", **load) / 1e6),
        lambda _: theirs.append(stack.plain.do("cat", **load) / 1e6),
    )
    return [
        Row(
            what=f"stdout of {sizes.stream_mib} MiB",
            against="`cat` in bwrap, its pipe",
            unit="MB/s",
            ours=ours,
            theirs=theirs,
            compared=ratios(ours, theirs),
        )
    ]


def burst(stack: LocalStack, sizes: LocalSizes) -> list[Row]:
    """`commands.run("true")`, 64 at once: how many per second."""
    load = {"count": sizes.burst, "at_once": _AT_ONCE}
    ours: list[float] = []
    theirs: list[float] = []
    in_turns(
        sizes.rounds,
        lambda _: ours.append(stack.sdk.do("burst", **load)),
        lambda _: theirs.append(stack.plain.do("burst", **load)),
    )
    return [
        Row(
            what=f"{sizes.burst} of `true`, {_AT_ONCE} at once",
            against="`bash -lc true` in bwrap",
            unit="/s",
            ours=ours,
            theirs=theirs,
            compared=ratios(ours, theirs),
        )
    ]


def files(stack: LocalStack, sizes: LocalSizes) -> list[Row]:
    """Files written and read, small and large."""
    rows = []
    for size, count, shown in (
        (_SMALL_BYTES, sizes.calls, f"{_SMALL_BYTES} B"),
        (sizes.file_mb * MB, 1, f"{sizes.file_mb} MB"),
    ):
        for deed in ("write", "read"):
            ours, theirs = _walls(stack, sizes, deed, "copy", size=size, count=count)
            rows.append(
                Row(
                    what=f"files.{deed} of {shown}, p50",
                    against="copy of a local file",
                    unit="ms",
                    ours=ours,
                    theirs=theirs,
                    compared=ratios(ours, theirs),
                )
            )
    return rows


def create(stack: LocalStack, sizes: LocalSizes) -> list[Row]:
    """From asking for a sandbox until it can be used, one after another."""
    rows = []
    for client, shown in ((stack.sdk, "one kept ready"), (stack.cold, "none kept ready")):
        ours: list[float] = []
        theirs: list[float] = []
        in_turns(
            sizes.rounds,
            lambda _, it=client, to=ours: to.append(_p50(it.do("create", count=sizes.calls))),
            lambda _, to=theirs: to.append(_p50(stack.plain.do("bare", count=sizes.calls))),
        )
        rows.append(_created(f"Sandbox.create, {shown}, p50", ours, theirs))
    return [*rows, _beside_envd(rows[0].ours, _ENVD_CREATE_MS)]


def create_many(stack: LocalStack, sizes: LocalSizes) -> list[Row]:
    """Twenty sandboxes asked for at once: when half, and when nearly all can be used."""
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    in_turns(
        sizes.rounds,
        lambda _: ours.append(sorted(stack.sdk.do("create_at_once", count=_CREATED_AT_ONCE))),
        lambda _: theirs.append(sorted(stack.plain.do("bare_at_once", count=_CREATED_AT_ONCE))),
    )
    what = f"{_CREATED_AT_ONCE} of Sandbox.create at once"
    rows = []
    for shown, at in (("p50", _CREATED_AT_ONCE // 2), ("p95", _CREATED_AT_ONCE * 95 // 100 - 1)):
        mine, plain = ([wall[at] * 1e3 for wall in side] for side in (ours, theirs))
        rows.append(_created(f"{what}, {shown}", mine, plain))
    per_second, plain_per_second = (
        [_CREATED_AT_ONCE / wall[-1] for wall in side] for side in (ours, theirs)
    )
    return [
        *rows,
        Row(
            what=what,
            against="`true` in bwrap",
            unit="/s",
            ours=per_second,
            theirs=plain_per_second,
            compared=ratios(per_second, plain_per_second),
            goal=Goal(1 / _CREATE_GOAL, at_most=False),
        ),
    ]


def _created(what: str, ours: list[float], theirs: list[float]) -> Row:
    return Row(
        what=what,
        against="`true` in bwrap",
        unit="ms",
        ours=ours,
        theirs=theirs,
        compared=ratios(ours, theirs),
        goal=Goal(_CREATE_GOAL),
    )


def _p50(seconds: Sequence[float]) -> float:
    return median(seconds) * 1e3


def _walls(
    stack: LocalStack, sizes: LocalSizes, deed: str, plain_deed: str, **load: int
) -> tuple[list[float], list[float]]:
    """Let both take turns; returns the median of each turn, in milliseconds."""
    ours: list[float] = []
    theirs: list[float] = []
    plain_load = load if plain_deed == "copy" else {"count": load["count"]}
    in_turns(
        sizes.rounds,
        lambda _: ours.append(median(stack.sdk.do(deed, **load)) * 1e3),
        lambda _: theirs.append(median(stack.plain.do(plain_deed, **plain_load)) * 1e3),
    )
    return ours, theirs


def _beside_envd(ours: Sequence[float], envd_ms: float) -> Row:
    theirs = [envd_ms] * len(ours)
    return Row(
        what="  the same",
        against="a real envd, elsewhere",
        unit="ms",
        ours=ours,
        theirs=theirs,
        compared=ratios(ours, theirs),
        goal=Goal(1.0),
    )


LOCAL_BENCHES: Final[Mapping[str, Callable[[LocalStack, LocalSizes], list[Row]]]] = {
    "true": true,
    "stream": stream,
    "burst": burst,
    "files": files,
    "create": create,
    "create-many": create_many,
}
"""Every bench of the local backend by the name that the command line takes."""
