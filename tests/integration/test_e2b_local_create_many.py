"""Twenty sandboxes asked for at once, through the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from e2b import AsyncSandbox

from tests.integration.local_backend import LocalBackend
from tests.support.processes import command, family

AT_ONCE = 20
PATIENCE_S = 60


@pytest.fixture(params=[0, 2], ids=["none kept ready", "two kept ready"])
def warm(request) -> int:
    """How many sandboxes the backend keeps booted ahead."""
    return request.param


@pytest.fixture
def backend(warm: int) -> Iterator[LocalBackend]:
    backend = LocalBackend.start("--warm", str(warm))
    assert backend.status["ready"], backend.status
    yield backend
    assert backend.stop() == 0


def sandboxes(backend: LocalBackend) -> int:
    """How many there are, for the host."""
    commands = [command(pid)[:1] for pid in family(backend.process.pid)]
    return sum(Path(program).name == "bwrap" for one in commands for program in one)


def held(backend: LocalBackend) -> tuple[int, int, int]:
    """What the host has of a backend: sandboxes, their folders, and open files.

    Not sockets, for clients keep their connections; each sandbox costs more than those.
    """
    folders = list(backend.state.glob("machine-*/sandboxes/*"))
    return sandboxes(backend), len(folders), sum(1 for _ in open_files(backend))


def open_files(backend: LocalBackend) -> Iterator[str]:
    for descriptor in Path(f"/proc/{backend.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            target = str(descriptor.readlink())
            if not target.startswith("socket:"):
                yield target


async def until_it_holds(backend: LocalBackend, wanted: tuple[int, int, int]) -> None:
    """Wait until a backend holds no more than that, and has all its sandboxes ready."""
    now: tuple[int, ...] = ()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                now = held(backend)
                if now[:2] == wanted[:2] and now[2] <= wanted[2]:
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{now} are held, and {wanted} should be")


async def test_twenty_are_made_at_once_and_nothing_is_left(backend, warm):
    """Each is a sandbox of its own, and works."""
    # The first one makes what a backend has once: threads, connections, caches.
    first = await AsyncSandbox.create("base", timeout=300, **backend.sdk)
    await first.commands.run("true")
    await first.kill()
    async with asyncio.timeout(PATIENCE_S):
        while sandboxes(backend) != warm:  # noqa: ASYNC110 - Nobody tells.
            await asyncio.sleep(0.05)
    before = held(backend)

    async def make(number: int) -> AsyncSandbox:
        return await AsyncSandbox.create(
            "base", timeout=300, envs={"N": str(number)}, **backend.sdk
        )

    async def use(number: int, sandbox: AsyncSandbox) -> tuple[str, ...]:
        await sandbox.files.write("/home/user/number", f"{number}\n")
        said = await sandbox.commands.run(
            "echo $N; cat number; cat /proc/sys/kernel/random/boot_id; echo $E2B_SANDBOX_ID; ls"
        )
        return tuple(said.stdout.split())

    made = await asyncio.gather(*(make(number) for number in range(AT_ONCE)))
    assert sandboxes(backend) >= AT_ONCE
    told = await asyncio.gather(*(use(number, one) for number, one in enumerate(made)))
    killed = await asyncio.gather(*(sandbox.kill() for sandbox in made))

    numbers = [str(number) for number in range(AT_ONCE)]
    assert [one[0] for one in told] == numbers
    assert [one[1] for one in told] == numbers
    assert len({one[2] for one in told}) == AT_ONCE
    assert [one[3] for one in told] == [sandbox.sandbox_id for sandbox in made]
    assert {one[4:] for one in told} == {("number",)}
    assert killed == [True] * AT_ONCE
    await until_it_holds(backend, before)
