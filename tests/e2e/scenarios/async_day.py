"""What a user of E2B's asynchronous SDK does in a day. Nothing here says where E2B is."""

from __future__ import annotations

import asyncio
import os
import uuid

import httpx
from e2b import AsyncSandbox, CommandExitException, FilesystemEventType, SandboxQuery
from e2b.sandbox.commands.command_handle import PtySize

# Whoever trusts the same authority as the SDK does it by the same variable.
BROWSER = httpx.AsyncClient()


async def until(condition):
    """Wait for something, and fail when it takes too long."""
    async with asyncio.timeout(15):
        while not (found := await condition()):  # noqa: ASYNC110 - only asking again can tell
            await asyncio.sleep(0.02)
    return found


async def commands(sandbox):
    results = await asyncio.gather(*(sandbox.commands.run(f"echo {n}") for n in range(20)))
    assert [result.stdout for result in results] == [f"{n}\n" for n in range(20)]
    pieces = []
    handle = await sandbox.commands.run(
        "cat; exit 3", background=True, stdin=True, on_stdout=pieces.append
    )
    async with sandbox.commands.stream_input(handle.pid) as stream:
        for line in ("one\n", "two\n"):
            await stream.send(line)
    await sandbox.commands.close_stdin(handle.pid)
    code = None
    try:
        await handle.wait()
    except CommandExitException as error:
        code = error.exit_code
    assert code == 3
    assert "".join(pieces) == "one\ntwo\n"


async def files(sandbox):
    data = os.urandom(3_000_000)
    await sandbox.files.write("day/all.bin", data, gzip=True)
    assert bytes(await sandbox.files.read("day/all.bin", format="bytes")) == data
    seen = asyncio.Event()

    def note(event):
        if (event.type, event.name) == (FilesystemEventType.WRITE, "deep/new"):
            seen.set()

    await sandbox.files.make_dir("day/deep")
    watch = await sandbox.files.watch_dir("day", on_event=note, recursive=True)
    await sandbox.files.write("day/deep/new", "x")
    async with asyncio.timeout(15):
        await seen.wait()
    await watch.stop()


async def terminal(sandbox):
    shown = bytearray()
    handle = await sandbox.pty.create(PtySize(rows=24, cols=80), on_data=shown.extend)
    await sandbox.pty.resize(handle.pid, PtySize(rows=43, cols=132))
    await sandbox.pty.send_stdin(handle.pid, b"stty size; exit 0\n")
    await handle.wait()
    assert b"43 132" in shown


async def port(sandbox):
    await sandbox.files.write("www/index.html", "hello from inside")
    await sandbox.commands.run(
        "python3 -m http.server 8000 --directory www", background=True, timeout=0
    )
    host = sandbox.get_host(8000)
    shared = os.environ.get("E2B_SANDBOX_URL")
    url, headers = (shared, {"host": host}) if shared else (f"https://{host}/", {})

    async def served():
        response = await BROWSER.get(url, headers=headers)
        return response.status_code == 200 and response.text

    assert await until(served) == "hello from inside"


async def life(sandbox, marker):
    await sandbox.files.write("kept.txt", "yes")
    assert await sandbox.pause(mode="filesystem")
    await sandbox.connect()
    assert await sandbox.files.read("kept.txt") == "yes"
    forks = await sandbox.fork(count=2)
    assert [await fork.files.read("kept.txt") for fork in forks] == ["yes", "yes"]
    pages = AsyncSandbox.list(query=SandboxQuery(metadata={"marker": marker}))
    assert sandbox.sandbox_id in [info.sandbox_id for info in await pages.next_items()]
    assert await asyncio.gather(*(fork.kill() for fork in forks)) == [True, True]
    assert (await until(sandbox.get_metrics))[-1].mem_used > 0


async def main():
    marker = uuid.uuid4().hex
    async with BROWSER:
        sandbox = await AsyncSandbox.create(timeout=120, metadata={"marker": marker})
        try:
            await commands(sandbox)
            await files(sandbox)
            await terminal(sandbox)
            await port(sandbox)
            await life(sandbox, marker)
        finally:
            assert await sandbox.kill()
    print("done")


asyncio.run(main())
