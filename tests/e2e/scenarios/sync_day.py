"""What a user of E2B's synchronous SDK does in a day. Nothing here says where E2B is."""

from __future__ import annotations

import os
import time
import uuid

import httpx
from e2b import (
    CommandExitException,
    FileNotFoundException,
    FilesystemEventType,
    Sandbox,
    SandboxNotFoundException,
    SandboxQuery,
)
from e2b.sandbox.commands.command_handle import PtySize


def until(condition):
    """Wait for something, and fail when it takes too long."""
    deadline = time.monotonic() + 15
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
    return found


def commands(sandbox):
    result = sandbox.commands.run("echo out; echo err >&2; echo $GIVEN; pwd")
    assert (result.stdout, result.stderr) == ("out\nyes\n/home/user\n", "err\n")
    code = None
    try:
        sandbox.commands.run("exit 3")
    except CommandExitException as error:
        code = error.exit_code
    assert code == 3
    handle = sandbox.commands.run("read line; echo got $line", background=True, stdin=True)
    assert handle.pid in [process.pid for process in sandbox.commands.list()]
    sandbox.commands.send_stdin(handle.pid, "it\n")
    pieces = []
    handle.wait(on_stdout=pieces.append)
    assert "".join(pieces) == "got it\n"
    sleeping = sandbox.commands.run("sleep 600", background=True)
    assert sleeping.kill()


def files(sandbox):
    data = bytes(range(256)) * 2000
    sandbox.files.write("day/all.bin", data, metadata={"of": "me"})
    assert bytes(sandbox.files.read("day/all.bin", format="bytes")) == data
    assert b"".join(sandbox.files.read("day/all.bin", format="stream")) == data
    sandbox.files.write_files([{"path": f"day/{n}", "data": str(n)} for n in range(20)])
    assert len(sandbox.files.list("day")) == 21
    assert sandbox.files.get_info("day/all.bin").metadata == {"of": "me"}
    watch = sandbox.files.watch_dir("day")
    sandbox.files.rename("day/1", "day/one")
    seen = []

    def moved():
        seen.extend((event.type, event.name) for event in watch.get_new_events())
        return (FilesystemEventType.CREATE, "one") in seen

    until(moved)
    watch.stop()
    sandbox.files.remove("day")
    try:
        sandbox.files.read("day/0")
    except FileNotFoundException:
        pass
    else:
        raise AssertionError("a file that is gone was read")


def terminal(sandbox):
    handle = sandbox.pty.create(PtySize(rows=24, cols=80))
    sandbox.pty.send_stdin(handle.pid, b"stty size; exit 0\n")
    shown = bytearray()
    handle.wait(on_pty=shown.extend)
    assert b"24 80" in shown


def port(sandbox):
    sandbox.files.write("www/index.html", "hello from inside")
    sandbox.commands.run("python3 -m http.server 8000 --directory www", background=True, timeout=0)
    host = sandbox.get_host(8000)
    # Where there is one address for all, a header says what a host's name says elsewhere.
    shared = os.environ.get("E2B_SANDBOX_URL")
    url, headers = (shared, {"host": host}) if shared else (f"https://{host}/", {})

    def served():
        response = httpx.get(url, headers=headers)
        return response.status_code == 200 and response.text

    assert until(served) == "hello from inside"


def signed(sandbox):
    sandbox.files.write("signed.txt", "for a browser")
    url = sandbox.download_url("signed.txt", use_signature_expiration=60)
    assert httpx.get(url).text == "for a browser"


def life(sandbox, marker):
    handle = sandbox.commands.run("read line; echo $line", background=True, stdin=True, timeout=0)
    sandbox.pause()
    assert not sandbox.is_running()
    again = Sandbox.connect(sandbox.sandbox_id)
    reader = again.commands.connect(handle.pid)
    again.commands.send_stdin(handle.pid, "still there\n")
    assert reader.wait().stdout == "still there\n"
    snapshot = again.create_snapshot()
    copy = Sandbox.create(snapshot.snapshot_id, metadata={"marker": marker})
    (fork,) = again.fork()
    assert copy.files.read("signed.txt") == fork.files.read("signed.txt") == "for a browser"
    found = []
    pages = Sandbox.list(query=SandboxQuery(metadata={"marker": marker}), limit=1)
    while pages.has_next:
        found += [info.sandbox_id for info in pages.next_items()]
    assert {copy.sandbox_id, sandbox.sandbox_id} <= set(found)
    assert copy.kill()
    assert fork.kill()
    assert Sandbox.delete_snapshot(snapshot.snapshot_id)
    assert until(again.get_metrics)[-1].mem_used > 0


def main():
    marker = uuid.uuid4().hex
    sandbox = Sandbox.create(timeout=120, metadata={"marker": marker}, envs={"GIVEN": "yes"})
    try:
        commands(sandbox)
        files(sandbox)
        terminal(sandbox)
        port(sandbox)
        signed(sandbox)
        life(sandbox, marker)
    finally:
        assert sandbox.kill()
    try:
        Sandbox.connect(sandbox.sandbox_id)
    except SandboxNotFoundException:
        print("done")


main()
