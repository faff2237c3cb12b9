"""A sandbox's limits, and its usage, which is counted against them."""

from __future__ import annotations

import os
import signal

from sandbox_service.e2b_local.machine import Machine, MachineConfig, SpawnRefusedError, SpawnSpec
from sandbox_service.e2b_local.machine.process_tree import measure_tree
from tests.integration.machine_bench import finish, read_line, run, sh

# It takes every place that becomes free; a shell would give up after a few refusals.
BOMB = """
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(600)
    except OSError:
        time.sleep(0.001)
"""


async def test_a_fork_bomb_stays_in_its_sandbox(state_dir):
    """The neighbours do not notice, the caller learns why, and it can still be ended."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir, process_limit=40))
    victim, neighbour = await machine.boot("victim"), await machine.boot("neighbour")
    bomb = await victim.spawn(SpawnSpec(argv=("python3", "-c", BOMB)))
    refusal = None
    while refusal is None:
        try:
            await finish(await victim.spawn(SpawnSpec(argv=("/bin/true",))))
        except SpawnRefusedError as error:
            refusal = error

    assert refusal.kind == "resources"
    assert measure_tree(victim._launched.init_pid).process_count <= 40
    assert await sh(neighbour, "echo fine") == "fine\n"
    assert await victim.signal(bomb.pid, signal.SIGKILL)
    assert os.WTERMSIG(await bomb.exit) == signal.SIGKILL
    bomb.close()
    await machine.close()


async def test_memory_file_systems_are_full_at_their_size(state_dir):
    """Files in them are memory of the host."""
    size = 4 * 1024**2
    config = MachineConfig(
        state_dir=state_dir, tmp_size_bytes=size, shm_size_bytes=size, home_size_bytes=size
    )
    machine = await Machine.start(config)
    guest = await machine.boot("one")
    for folder in ("/tmp", "/dev/shm", "/home/user", "/workspace"):
        command = f"head -c {size * 2} /dev/zero > {folder}/f; stat -c %s {folder}/f"
        outcome = await run(guest, "/bin/bash", "-c", command)
        assert int(outcome.out) <= size, folder
        assert b"No space left" in outcome.err, folder
    await machine.close()


async def test_one_file_has_a_largest_size(state_dir):
    """The one limit on the disk that needs no help from the file system."""
    machine = await Machine.start(MachineConfig(state_dir=state_dir, file_size_limit_bytes=10_000))
    guest = await machine.boot("one")
    outcome = await run(guest, "/bin/bash", "-c", "head -c 20000 /dev/zero > f; stat -c %s f")

    assert outcome.out == b"10000\n"
    await machine.close()


async def test_usage_counts_what_runs(guest):
    """Status shows it to callers."""
    before = await guest.usage()
    process = await guest.spawn(
        SpawnSpec(
            argv=("python3", "-c", "x = bytearray(40_000_000); print(1, flush=True); input()"),
            stdin=True,
        )
    )
    assert process.stdout is not None
    await read_line(process.stdout)
    during = await guest.usage()

    assert before.process_count == 1
    assert during.process_count == 2
    assert during.memory_rss_bytes - before.memory_rss_bytes > 40_000_000
    assert during.cpu_seconds >= before.cpu_seconds
    assert 0 < during.memory_rss_bytes < during.memory_total_bytes
    assert 0 <= during.disk_used_bytes < during.disk_total_bytes
    process.close()
