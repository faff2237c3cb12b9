"""Programs that take all they can get, beside a neighbour who wants to work.

Each bomb must stay within its sandbox, its neighbour's commands must keep their latency,
and it must still be possible to end it, with nothing left. The latency of `true` beside a
bomb is compared with its own before, in the same test: ten times is what a machine of two
busy CPUs keeps, where a command waits for several turns on a CPU that others had first. A
bomb that is not contained costs a hundred times and more, or the answer never comes.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import signal
import statistics
import termios
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox_service.e2b_local.config import Template
from sandbox_service.e2b_local.images import take_images
from sandbox_service.e2b_local.machine import (
    BootSpec,
    Guest,
    GuestProcess,
    Image,
    Limits,
    Machine,
    MachineConfig,
    SpawnRefusedError,
    SpawnSpec,
)
from sandbox_service.e2b_local.machine.process_tree import measure_tree
from tests.integration.machine_bench import exists, finish, names_in, run, until
from tests.support.processes import alive, family

MIB = 1024**2
FACTOR = 10.0
COMMANDS = 25
# Of a machine that is otherwise idle; below, noise is larger than what is measured.
LEAST_SECONDS = 0.005

LIMITS = Limits(memory_bytes=128 * MIB, cpu_count=1, disk_bytes=64 * MIB, process_count=1500)

FORK_BOMB = """
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.0001)
"""
MEMORY_HOG = """
import os, time
while True:
    if os.fork() == 0:
        held = []
        while True:
            held.append(bytearray(4 << 20))
    os.wait()
"""
DISK_FILLER = """
import os
n = 0
while True:
    with open(f'/home/user/fill{n}', 'wb') as file:
        for _ in range(20):
            file.write(bytes(1 << 20))
    n += 1
"""
OUTPUT_FLOOD = "import os\nwhile True: os.write(1, bytes(65536))"
SLEEPING_THREADS = """
import threading, time
threading.stack_size(65536)
for n in range(1000):
    threading.Thread(target=time.sleep, args=(600,)).start()
print('sleeping', flush=True)
"""
BOMBS = {
    "fork bomb": FORK_BOMB,
    "memory hog": MEMORY_HOG,
    "disk filler": DISK_FILLER,
    "output flood": OUTPUT_FLOOD,
    "a thousand threads": SLEEPING_THREADS,
}


@pytest.fixture(params=["auto", "watch"])
async def machine(request, state_dir):
    machine = await Machine.start(MachineConfig(state_dir=state_dir, limits=request.param))
    yield machine
    await machine.close()


@dataclass(frozen=True)
class Ground:
    """Where bombs go off.

    Attributes:
        machine: Makes the sandboxes.
        image: What they stand on. None: the host's own files.
        python: A Python that runs there.
    """

    machine: Machine
    image: Image | None = None
    python: tuple[str, ...] = ("python3",)

    async def boot(self, name: str) -> Guest:
        return await self.machine.boot(name, BootSpec(limits=LIMITS, image=self.image))


@pytest.fixture(params=["auto", "watch", "auto, a root filesystem"])
async def ground(request, state_dir, images_dir, small_root):
    limits, _, rooted = request.param.partition(",")
    machine = await Machine.start(MachineConfig(state_dir=state_dir, limits=limits))
    if not rooted:
        yield Ground(machine)
        await machine.close()
        return
    template = Template(template_id="tested", rootfs=small_root)
    images = await take_images([template], images_dir, machine, tell=lambda _: None)
    # It has no Python but the agent's.
    python = machine._roots._ready()[1].runtime.command
    yield Ground(machine, images.image_of(template), (*python, "-I", "-S"))
    await machine.close()
    images.close()


async def latency(guest: Guest) -> float:
    """Median of some commands, in seconds."""
    took = []
    for _ in range(COMMANDS):
        began = time.perf_counter()
        outcome = await run(guest, "/bin/true")
        took.append(time.perf_counter() - began)
        assert outcome.code == 0
    return statistics.median(took)


async def light(guest: Guest, bomb: str, python: tuple[str, ...] = ("python3",)) -> GuestProcess:
    return await guest.spawn(SpawnSpec(argv=(*python, "-c", bomb)))


async def until_it_has_gone_off(victim: Guest, process: GuestProcess, name: str) -> None:
    """Wait until a bomb has reached what limits it."""
    init = victim._launched.init_pid
    match name:
        case "fork bomb":
            await until(lambda: measure_tree(init).process_count > 200)
        case "memory hog":
            await until(lambda: victim.oom_kills)
        case "disk filler":
            await until(lambda: victim.disk_full)
        case "output flood":
            await until(lambda: is_full(process.stdout))
        case "a thousand threads":
            await until(lambda: threads_of(init) > 1000)


def is_full(descriptor: int) -> bool:
    """Whether a pipe's reader is behind as far as it can be."""
    waiting = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
    return waiting[0] >= 65536


def threads_of(init: int) -> int:
    count = 0
    for pid in family(init):
        if exists(f"/proc/{pid}/task"):
            count += len(names_in(Path(f"/proc/{pid}/task")))
    return count


@pytest.mark.parametrize("name", BOMBS)
async def test_a_neighbour_keeps_working_and_the_bomb_can_be_ended(ground, state_dir, name):
    """Whatever a program does, it does it to itself."""
    victim = await ground.boot("victim")
    neighbour = await ground.boot("neighbour")
    alone = await latency(neighbour)
    process = await light(victim, BOMBS[name], ground.python)
    await until_it_has_gone_off(victim, process, name)
    if name == "fork bomb" and ground.machine.limits["cpu"] == "soft":
        # Of a busy machine's time a crowd gets a crowd's share: others go on, but slowly.
        assert (await run(neighbour, "/bin/true")).code == 0
    else:
        beside = await latency(neighbour)
        print(f"{name}: {alone * 1000:.1f} ms alone, {beside * 1000:.1f} ms beside it")
        assert beside < FACTOR * max(alone, LEAST_SECONDS)
    assert neighbour.oom_kills == 0
    assert not neighbour.disk_full
    folder = next(state_dir.glob("machine-*/sandboxes"))
    pids = family(victim._launched.init_pid)
    async with asyncio.timeout(30):
        await victim.kill()
    process.close()

    assert not [pid for pid in pids if alive(pid)]
    assert names_in(folder) == ["neighbour"]
    assert (await run(neighbour, "/bin/true")).code == 0


async def test_one_that_cannot_fork_any_more_still_takes_a_signal(machine):
    """Nothing has to be started for that; and then it is as it was before."""
    victim = await machine.boot("victim", BootSpec(limits=Limits(process_count=60)))
    process = await light(victim, FORK_BOMB)
    refused = None
    async with asyncio.timeout(30):
        while refused is None:
            try:
                await finish(await victim.spawn(SpawnSpec(argv=("/bin/true",))))
            except SpawnRefusedError as error:
                refused = error

    assert refused.kind == "resources"
    assert await victim.signal(process.pid, signal.SIGKILL)
    assert os.WTERMSIG(await process.exit) == signal.SIGKILL
    async with asyncio.timeout(30):
        await victim.kill()
    process.close()


@pytest.mark.parametrize("limits", ["auto", "watch"])
async def test_many_hogs_have_no_more_than_the_sum_of_their_limits(state_dir, limits):
    """Each has its own, and so they have one together."""
    number, limit, files = 6, 48 * MIB, 4 * MIB
    config = MachineConfig(
        state_dir=state_dir, limits=limits, tmp_size_bytes=files, shm_size_bytes=files
    )
    machine = await Machine.start(config)
    spec = BootSpec(limits=Limits(memory_bytes=limit))
    guests = [await machine.boot(f"hog{n}", spec) for n in range(number)]
    bombs = [await light(guest, MEMORY_HOG) for guest in guests]
    async with asyncio.timeout(60):
        await until(lambda: all(guest.oom_kills for guest in guests))
    usages = [await guest.usage() for guest in guests]

    # Who is only looked at has taken some more by the time of the look.
    assert sum(usage.memory_rss_bytes for usage in usages) < number * 6 * limit
    for bomb in bombs:
        bomb.close()
    await machine.close()
