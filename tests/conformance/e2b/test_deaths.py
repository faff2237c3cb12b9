"""What readers and callers see when a sandbox ends under their hands."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import e2b
import httpx
import pytest

from tests.conformance.e2b.ports import PORT, serving
from tests.support.connect_wire import until


async def test_a_kill_cuts_the_streams_and_says_why(sdk):
    """A reader must learn that its sandbox is gone, not wait for output for ever."""
    sandbox = await sdk.create()
    handle = await sandbox.commands.run("sleep 600", background=True)
    waiting = asyncio.ensure_future(handle.wait())
    await sandbox.kill()

    with pytest.raises(e2b.SandboxNotRunningException, match="killed or reached its"):
        await waiting
    with pytest.raises(e2b.SandboxNotRunningException, match="was not found"):
        await sandbox.commands.run("true")
    with pytest.raises(e2b.SandboxNotRunningException, match="was not found"):
        await sandbox.files.list("/")


async def test_the_end_of_a_lifetime_says_the_same(sdk):
    """It is the same end."""
    sandbox = await sdk.create(timeout=1)
    handle = await sandbox.commands.run("sleep 600", background=True)

    with pytest.raises(e2b.SandboxException, match="killed or reached its"):
        await handle.wait()
    assert not await sandbox.is_running()


async def test_files_of_a_dead_sandbox_are_not_missing_files(sdk):
    """Reading is told apart from a file that is not there."""
    sandbox = await sdk.create()
    await sandbox.files.write("x", "x")
    await sandbox.kill()

    for call in (sandbox.files.read("x"), sandbox.files.write("x", "y")):
        with pytest.raises(e2b.TimeoutException, match="was not found"):
            await call


async def test_a_visitor_of_a_port_is_cut_off(own_box):
    """Not left to wait for a program that is gone."""
    async with serving(own_box):
        url, headers = own_box.to(PORT)
        async with own_box.wire.client.stream("GET", f"{url}/watch", headers=headers) as response:
            await own_box.kill()
            async with asyncio.timeout(10):
                with contextlib.suppress(httpx.TransportError):
                    await response.aread()


def running(marker):
    """Return the processes of this machine whose command line has a text."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if marker.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


@pytest.mark.usefixtures("local")
async def test_a_kill_leaves_nothing_of_the_sandbox(sdk, name):
    """Not those that left their session and ignore every signal either."""
    sandbox = await sdk.create()
    command = f"trap '' TERM HUP INT; exec -a {name} sleep 600"
    await sandbox.commands.run(
        f'for i in 1 2 3; do setsid bash -c "{command}" >/dev/null 2>&1 & done'
    )

    async def begun():
        return len(running(name)) >= 3

    async def over():
        return not running(name)

    await until(begun)
    await sandbox.kill()
    await until(over)


async def test_a_dead_sandbox_does_not_disturb_its_neighbours(sdk):
    """Their streams go on."""
    dies, lives = await asyncio.gather(sdk.create(), sdk.create())
    await dies.commands.run("sleep 600", background=True)
    handle = await lives.commands.run("read line; echo $line", background=True, stdin=True)
    await dies.kill()
    await lives.commands.send_stdin(handle.pid, "on\n")

    assert (await handle.wait()).stdout == "on\n"
