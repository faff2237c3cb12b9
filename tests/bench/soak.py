"""What only shows after a long time: `make soak`.

`rounds`: many rounds of the main job, and what they leave. After a warm-up it
counts the descriptors, memory and children of the service and of its backend,
the folders under the state folder, the mounts and the control groups, then
again after the rounds. None of these may grow but memory, which is printed as
a slope, for allocators keep what they were given.

`chaos`: see `tests.bench.soak_chaos`; `syncs`: see `tests.bench.soak_syncs`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from miosa.sandbox import v1 as pb

from sandbox_service.client.service import Service as Client
from sandbox_service.e2b_local.config import DEFAULT_WARM_SANDBOXES
from tests.bench import soak_chaos, soak_syncs
from tests.support.processes import command, family, resident_bytes
from tests.support.service import Service

_SETTLED_S = 60.0
_LOOK_AGAIN_S = 0.1
_LOOKS = 5


@dataclass(frozen=True, slots=True)
class Count:
    """What a service holds at one moment, its backend included."""

    descriptors: int
    processes: int
    folders: int
    mounts: int
    groups: int
    memory_bytes: int


def count(service: Service) -> Count:
    """Look at a service's process, its backend's and their state folder."""
    pids = family(service.process.pid)
    return Count(
        descriptors=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
        processes=len(pids),
        folders=sum(1 for path in service.state.rglob("*") if path.is_dir()),
        mounts=sum(Path(f"/proc/{pid}/mountinfo").read_text().count("\n") for pid in pids),
        groups=sum(1 for pid in pids for _ in groups_of(pid)),
        memory_bytes=sum(map(resident_bytes, pids)),
    )


def count_settled(service: Service) -> Count:
    """Count when the backend keeps as many sandboxes ready as it is to, and boots none."""
    deadline = time.monotonic() + _SETTLED_S
    looks: list[tuple[int, ...]] = []
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError, ProcessLookupError):  # One that was just ending.
            seen = count(service)
            looks.append((seen.processes, seen.folders, seen.mounts, seen.groups))
            commands = [command(pid)[:1] for pid in family(service.process.pid)]
            ready = sum(Path(program).name == "bwrap" for it in commands for program in it)
            if ready == DEFAULT_WARM_SANDBOXES and looks[-_LOOKS:] == [looks[-1]] * _LOOKS:
                return seen
        time.sleep(_LOOK_AGAIN_S)
    raise RuntimeError(f"the backend did not come to rest within {_SETTLED_S} s: {looks[-_LOOKS:]}")


def groups_of(pid: int) -> Iterator[Path]:
    """The control groups that a backend has made, if it is one that makes any."""
    for base in Path("/sys/fs/cgroup").rglob(f"sandbox-service-{pid}-*"):
        yield from (path for path in base.rglob("*") if path.is_dir())


async def one_round(client: Client) -> None:
    """Create a sandbox, run a program that leaves a child behind, destroy it."""
    created = await client.create(pb.CreateRequest())
    sandbox_id = created.sandbox.sandbox_id
    request = pb.ExecRequest(
        sandbox_id=sandbox_id, program=pb.Program(shell_command="sleep 600 & echo out")
    )
    async for event in client.exec(request):
        if event.HasField("exited") and event.exited.exit_code != 0:
            raise RuntimeError(f"the program failed: {event.exited}")
    await client.destroy(sandbox_id)


async def rounds(address: str, number: int, at_once: int) -> None:
    """Run rounds, a few at a time."""
    slots = asyncio.Semaphore(at_once)
    async with Client(address, tenant="soak") as client:

        async def guarded() -> None:
            async with slots:
                await one_round(client)

        await asyncio.gather(*(guarded() for _ in range(number)))


def many_rounds(options: argparse.Namespace) -> int:
    """Run many rounds of the main job; returns 1 when something is left."""
    service = Service.start("--log-format=json")
    try:
        service.wait_until_ready()
        asyncio.run(rounds(service.grpc_address, 20, options.at_once))
        before, began = count_settled(service), time.monotonic()
        asyncio.run(rounds(service.grpc_address, options.rounds, options.at_once))
        took = time.monotonic() - began
        after = count_settled(service)
    finally:
        wrong = service.close()
    grown = after.memory_bytes - before.memory_bytes
    print(f"{options.rounds} rounds in {took:.1f} s, {options.at_once} at once")
    print(f"descriptors {before.descriptors} -> {after.descriptors}")
    print(f"processes   {before.processes} -> {after.processes}")
    print(f"folders     {before.folders} -> {after.folders}")
    print(f"mounts      {before.mounts} -> {after.mounts}")
    print(f"groups      {before.groups} -> {after.groups}")
    print(f"memory      {grown / 1024:.0f} KiB more, {grown / options.rounds:.0f} B per round")
    for line in wrong:
        print(f"left: {line}")
    leaks = (
        after.processes > before.processes
        or after.folders > before.folders
        or after.mounts > before.mounts
        or after.groups > before.groups
        # Idle connections come and go; a leak would be one or more per round.
        or after.descriptors > before.descriptors + options.rounds // 10 + 8
    )
    return 1 if leaks or wrong else 0


SOAKS = {"rounds": many_rounds, "chaos": soak_chaos.run, "syncs": soak_syncs.run}
"""Every soak, by the name that the command line takes."""


def main(arguments: list[str]) -> int:
    """Run the soaks that were chosen, or all; returns 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("soaks", nargs="*", metavar="SOAK", help=f"which: {', '.join(SOAKS)}; all if none")
    add("--rounds", type=int, default=1000, help="after the warm-up")
    add("--at-once", type=int, default=4, help="rounds at a time")
    soak_chaos.add_options(parser)
    soak_syncs.add_options(parser)
    options = parser.parse_args(arguments)
    for name in options.soaks:
        if name not in SOAKS:
            parser.error(f"there is no soak {name!r}; there are {', '.join(SOAKS)}")
    return max(SOAKS[name](options) for name in options.soaks or SOAKS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
