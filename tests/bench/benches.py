"""The benches. Each runs both sides in turns, in the same minutes, and returns rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles
from typing import Final

from tests.bench import loads
from tests.bench.load_benches import open_streams, stalled_reader
from tests.bench.report import Goal, Row, in_turns, ratios
from tests.bench.sizes import MIB, Sizes
from tests.bench.stack import Stack


def exec_true(stack: Stack, sizes: Sizes) -> list[Row]:
    """Exec of `true`, one after another: wall time, and what it costs each process."""
    ours: list[float] = []
    theirs: list[float] = []
    cpu: tuple[list[float], list[float]] = ([], [])

    def we(_: int) -> None:
        before = stack.service_cpu()
        ours.append(median(stack.service.do("true", count=sizes.calls)) * 1e3)
        cpu[0].append((stack.service_cpu() - before) / sizes.calls * 1e6)

    def they(_: int) -> None:
        before = stack.sdk_cpu()
        theirs.append(median(stack.sdk.do("true", count=sizes.calls)) * 1e3)
        cpu[1].append((stack.sdk_cpu() - before) / sizes.calls * 1e6)

    in_turns(sizes.rounds, we, they)
    return [
        Row(
            what="Exec of `true`, p50",
            against="commands.run",
            unit="ms",
            ours=ours,
            theirs=theirs,
            compared=ratios(ours, theirs),
            goal=Goal(1.25),
        ),
        Row(
            what="  CPU of the process",
            against="the SDK's process",
            unit="us",
            ours=cpu[0],
            theirs=cpu[1],
            compared=ratios(*cpu),
        ),
    ]


def exec_burst(stack: Stack, sizes: Sizes) -> list[Row]:
    """Exec of `true`, 64 at once: how many per second."""
    ours: list[float] = []
    theirs: list[float] = []
    load = {"count": 256, "at_once": 64}
    in_turns(
        sizes.rounds,
        lambda _: ours.append(stack.service.do("burst", **load)),
        lambda _: theirs.append(stack.sdk.do("burst", **load)),
    )
    return [
        Row(
            what="Exec of `true`, 64 at once",
            against="commands.run",
            unit="/s",
            ours=ours,
            theirs=theirs,
            compared=ratios(ours, theirs),
            goal=Goal(0.75, at_most=False),
        )
    ]


def stream(stack: Stack, sizes: Sizes) -> list[Row]:
    """A flood of standard output, every byte checked on our side."""
    size = sizes.stream_mib * MIB
    ours: list[float] = []
    theirs: list[float] = []
    cpu: tuple[list[float], list[float]] = ([], [])

    def we(_: int) -> None:
        before = stack.service_cpu()
        ours.append(stack.service.do("stream", size=size) / 1e6)
        cpu[0].append((stack.service_cpu() - before) / size * 1e9)

    def they(_: int) -> None:
        before = stack.sdk_cpu()
        theirs.append(stack.sdk.do("stream", size=size) / 1e6)
        cpu[1].append((stack.sdk_cpu() - before) / size * 1e9)

    in_turns(sizes.rounds, we, they)
    return [
        Row(
            what=f"stdout of {sizes.stream_mib} MiB",
            against="commands.run(on_stdout)",
            unit="MB/s",
            ours=ours,
            theirs=theirs,
            compared=ratios(ours, theirs),
            goal=Goal(0.85, at_most=False),
        ),
        Row(
            what="  CPU of the process",
            against="the SDK's process",
            unit="s/GB",
            ours=cpu[0],
            theirs=cpu[1],
            compared=ratios(*cpu),
        ),
    ]


def first_byte(stack: Stack, sizes: Sizes) -> list[Row]:
    """How much later the first byte of output comes."""
    ours: list[float] = []
    theirs: list[float] = []
    in_turns(
        sizes.rounds,
        lambda _: ours.append(median(stack.service.do("first_byte", count=sizes.calls)) * 1e3),
        lambda _: theirs.append(median(stack.sdk.do("first_byte", count=sizes.calls)) * 1e3),
    )
    return [
        Row(
            what="first byte of output, p50",
            against="commands.run(on_stdout)",
            unit="ms",
            ours=ours,
            theirs=theirs,
            compared=[mine - other for mine, other in zip(ours, theirs, strict=True)],
            goal=Goal(1.0, unit="ms later"),
        )
    ]


def status(stack: Stack, sizes: Sizes) -> list[Row]:
    """What a Status that was just asked for costs, against the least a call can cost."""
    ours: list[float] = []
    theirs: list[float] = []
    load = {"count": max(sizes.calls, 1) * 100, "at_once": 16}

    def we(_: int) -> None:
        before = stack.service_cpu()
        stack.service.do("status", **load)
        ours.append((stack.service_cpu() - before) / load["count"] * 1e6)

    def they(_: int) -> None:
        before = stack.echo_cpu()
        stack.service.do("echo", **load)
        theirs.append((stack.echo_cpu() - before) / load["count"] * 1e6)

    in_turns(sizes.rounds, we, they)
    return [
        Row(
            what="Status (cached), CPU per call",
            against="bare grpc.aio echo",
            unit="us",
            ours=ours,
            theirs=theirs,
            compared=ratios(ours, theirs),
            goal=Goal(1.35),
        )
    ]


def policy(stack: Stack, sizes: Sizes) -> list[Row]:
    """What the code policy takes for a program of 1,000 lines, on top of the call itself."""
    rows = []
    call = "x = 1\n"
    for words, suspicious in (("", False), (" with rule words", True)):
        code = loads.python_lines(1000, suspicious=suspicious)
        ours: list[float] = []
        theirs: list[float] = []

        def check(what: str, walls: list[float]) -> None:
            took = stack.service.do("check", code=what, count=sizes.calls)
            walls.append(median(took) * 1e3)

        check(code, [])  # The first one starts a process for it.
        in_turns(
            sizes.rounds,
            lambda _, code=code, ours=ours: check(code, ours),
            lambda _, theirs=theirs: check(call, theirs),
        )
        rows.append(
            Row(
                what=f"policy, 1,000 lines{words}",
                against="one line",
                unit="ms",
                ours=ours,
                theirs=theirs,
                compared=[mine - other for mine, other in zip(ours, theirs, strict=True)],
                goal=Goal(5.0, unit="ms more"),
            )
        )
    return rows


def sync_files(stack: Stack, sizes: Sizes) -> list[Row]:
    """Small files into a folder that is new: ours verified and atomic, theirs neither."""
    ours: list[float] = []
    theirs: list[float] = []
    count = sizes.files
    in_turns(
        sizes.rounds,
        lambda seed: ours.append(stack.service.do("files", count=count, seed=seed)),
        lambda seed: theirs.append(stack.sdk.do("files", count=count, seed=seed)),
    )
    return [
        Row(
            what=f"SyncFiles of {count} files, first time",
            against="files.write_files",
            unit="s",
            ours=ours,
            theirs=theirs,
            compared=ratios(theirs, ours),
            goal=Goal(2.0, at_most=False, unit="x faster"),
        )
    ]


def cancel(stack: Stack, sizes: Sizes) -> list[Row]:
    """From a client's cancel until its program is gone, watched from inside; a call is a round."""
    walls: list[float] = []
    with ThreadPoolExecutor(1) as watcher:
        for _ in range(max(sizes.calls, 100)):
            sandbox_id, pid = stack.service.do("sleeper")
            gone = watcher.submit(stack.sdk.do, "until_gone", sandbox_id=sandbox_id, pid=pid)
            left = stack.service.do("leave")
            walls.append((gone.result() - left) * 1e3)
    late = quantiles(walls, n=100)[-1]
    return [
        Row(
            what="client cancels: program gone, p99",
            against="",
            unit="ms",
            ours=[late],
            compared=[late],
            goal=Goal(50.0, unit="ms"),
        )
    ]


BENCHES: Final[Mapping[str, Callable[[Stack, Sizes], list[Row]]]] = {
    "true": exec_true,
    "burst": exec_burst,
    "first-byte": first_byte,
    "stream": stream,
    "status": status,
    "policy": policy,
    "sync": sync_files,
    "cancel": cancel,
    "open": open_streams,
    "stall": stalled_reader,
}
"""Every bench by the name that the command line takes."""
