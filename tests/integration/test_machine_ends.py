"""The end of a sandbox, of its machine and of the server: nothing of them stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox_service.e2b_local.machine import (
    BootSpec,
    GuestLostError,
    Machine,
    MachineConfig,
    SpawnSpec,
)
from tests.integration.machine_bench import count_descriptors, names_in, sh

REPOSITORY = Path(__file__).parents[2]


def left_of_sandboxes(state_dir: Path) -> list[Path]:
    return list(state_dir.glob("machine-*/sandboxes/*"))


def exists(path: Path | str) -> bool:
    return Path(path).exists()


async def gone(pid: int) -> None:
    """Wait until a process of the host has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(descriptor, ended.set_result, None)
    await asyncio.wait_for(ended, 20)
    loop.remove_reader(descriptor)
    os.close(descriptor)


async def test_a_killed_sandbox_leaves_nothing(machine, state_dir):
    """No process, no folder, no descriptor; and its id can be used again."""
    before = count_descriptors()
    for _ in range(5):
        guest = await machine.boot("again", BootSpec(hostname="box"))
        assert await sh(guest, "hostname") == "box\n"
        init = guest._launched.init_pid
        process = await guest.spawn(SpawnSpec(argv=("sleep", "600")))
        await guest.kill()
        await guest.kill()

        assert not exists(f"/proc/{init}")
        assert await guest.ended == "it was killed"
        with pytest.raises(GuestLostError):
            await process.exit
        with pytest.raises(GuestLostError):
            await guest.spawn(SpawnSpec(argv=("true",)))
        process.close()

    assert count_descriptors() <= before
    assert left_of_sandboxes(state_dir) == []


async def test_whoever_waits_learns_that_a_sandbox_died(guest):
    """It may be the host that ends it, out of memory."""
    process = await guest.spawn(SpawnSpec(argv=("sleep", "600")))
    os.kill(guest._launched.init_pid, signal.SIGKILL)

    assert "agent" in await asyncio.wait_for(guest.ended, 10)
    with pytest.raises(GuestLostError):
        await process.exit
    process.close()


async def test_a_closed_machine_leaves_an_empty_folder(state_dir):
    """Whatever its sandboxes wrote."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir))
    guests = await asyncio.gather(*(machine.boot(f"box-{number}") for number in range(5)))
    await sh(guests[0], "mkdir -p a/b; touch a/b/f; chmod 0 a/b a")
    await machine.close()

    assert names_in(state_dir) == [".lock"]
    assert all(guest.ended.done() for guest in guests)


SERVER = """
import asyncio, sys
from pathlib import Path
from sandbox_service.e2b_local.machine import Machine, MachineConfig, SpawnSpec

async def main():
    machine = await Machine.start(MachineConfig(state_dir=Path(sys.argv[1])))
    guest = await machine.boot("orphan")
    await guest.spawn(SpawnSpec(argv=("setsid", "sleep", "600")))
    print(guest._launched.init_pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def start_server(state_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, str(state_dir)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(filter(None, [str(REPOSITORY), *sys.path]))},
    )


async def test_a_killed_server_takes_its_sandboxes_along(state_dir):
    """Nobody else would end them; the next server removes their folders."""
    first = await Machine.start(MachineConfig(state_dir=state_dir))
    survivor = await first.boot("survivor")
    with start_server(state_dir) as server:
        assert server.stdout is not None
        init = int(await asyncio.to_thread(server.stdout.readline))
        (left,) = (path for path in left_of_sandboxes(state_dir) if path.name == "orphan")
        server.kill()
    await gone(init)
    second = await Machine.start(MachineConfig(state_dir=state_dir))

    assert not exists(left)
    assert await sh(survivor, "echo alive") == "alive\n"
    await first.close()
    await second.close()
