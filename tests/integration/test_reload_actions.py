"""Reload actions other than a program that is waited for, and what keeps one from starting."""

from __future__ import annotations

import secrets
import time

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import failure, first_output, program, source
from tests.support.trees import File, header, parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

PORT = 3000
SERVER = f"exec python3 -m http.server {PORT}"
LISTENER = """
import signal

signal.signal(signal.SIGHUP, lambda *_: print("again", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/sync-{secrets.token_hex(4)}"


async def sync(box, root, tree, **fields):
    return await box.client.sync([header(box.sandbox_id, root, **fields), *parts(tree)])


async def runs(box, exec_id):
    """Return an exec that runs, or None."""
    listed = await box.client.call("ListExecs", pb.ListExecsRequest(sandbox_id=box.sandbox_id))
    running = [it for it in listed.execs if it.state == pb.EXEC_STATE_RUNNING]
    return next((it for it in running if it.exec_id == exec_id), None)


async def test_a_detached_reload_is_left_running_and_the_receipt_says_so(client, root):
    """A dev server is started by the sync that brings its code; the preview answers then."""
    box = await client.sandbox()
    reload = {"program": program(SERVER), "exec_id": "server", "detach": True}
    receipt = await sync(
        box, root, {"index.html": File(b"1")}, reload=reload, preview_wait={"seconds": 30}
    )
    server = await runs(box, "server")
    result = receipt.reload

    assert (result.exec_id, result.running, result.cause) == ("server", True, 0)
    assert not result.HasField("duration")
    assert receipt.preview_state == pb.PREVIEW_STATE_LISTENING
    assert server.retention == pb.RETENTION_DETACHED


async def test_a_detached_reload_that_fails_is_told_and_nobody_waits_for_its_preview(client, root):
    """A mistake in the code that was just sent: the common case, told with its last words."""
    box = await client.sandbox()
    reload = {"program": program("echo 'SyntaxError: oops' >&2; exit 7"), "detach": True}
    began = time.monotonic()
    receipt = await sync(
        box, root, {"app.py": File(b"oops")}, reload=reload, preview_wait={"seconds": 600}
    )
    result = receipt.reload

    assert time.monotonic() - began < 60
    assert (result.running, result.cause, result.exit_code) == (False, pb.CAUSE_EXIT, 7)
    assert result.fault == pb.FAULT_USER
    assert result.output_tail == b"SyntaxError: oops\n"
    assert result.HasField("duration")
    assert receipt.preview_state == pb.PREVIEW_STATE_NOT_LISTENING
    assert receipt.added == 1


async def test_a_launcher_that_ends_well_does_not_end_the_wait_for_its_server(client, root):
    """It has left a server behind, which takes its time."""
    box = await client.sandbox()
    launch = f"(sleep 0.5; {SERVER}) >/dev/null 2>&1 &"
    reload = {"program": program(launch), "detach": True}
    receipt = await sync(
        box, root, {"index.html": File(b"1")}, reload=reload, preview_wait={"seconds": 60}
    )

    assert (receipt.reload.running, receipt.reload.exit_code) == (False, 0)
    assert receipt.preview_state == pb.PREVIEW_STATE_LISTENING


async def test_a_signal_reaches_the_exec_that_is_to_read_its_files_anew(box, root):
    """HUP to a server, as its own documentation asks for; only when something changed."""
    exec_id = f"hup-{secrets.token_hex(4)}"
    call = box.exec(source("python", LISTENER), exec_id=exec_id)
    assert (await first_output(call)).output.data == b"ready\n"
    reload = {"signal": {"exec_id": exec_id, "signal": "HUP"}}
    tree = {"conf": File(b"1")}
    receipt = await sync(box, root, tree, reload=reload)
    heard = await first_output(call)
    quiet = await sync(box, root, tree, reload=reload)
    call.cancel()

    assert heard.output.data == b"again\n"
    assert receipt.reload.exec_id == exec_id
    assert receipt.reload.delivered
    assert receipt.reload.running
    assert not quiet.HasField("reload")


async def test_a_signal_for_an_exec_that_has_ended_is_told_as_not_sent(box, root):
    """The files are there; whoever keeps the server starts it again."""
    exec_id = f"gone-{secrets.token_hex(4)}"
    await box.run("true", exec_id=exec_id)
    reload = {"signal": {"exec_id": exec_id, "signal": "HUP"}}
    receipt = await sync(box, root, {"a": File(b"a")}, reload=reload)

    assert receipt.added == 1
    assert receipt.reload.HasField("delivered")
    assert not receipt.reload.delivered
    assert not receipt.reload.running


async def test_a_signal_for_an_exec_that_never_was_changes_nothing(box, root):
    """A mistyped id; but a sync that changes nothing sends no signal either."""
    tree = {"a": File(b"a")}
    reload = {"signal": {"exec_id": "nobody", "signal": "HUP"}}
    error = await failure(sync(box, root, tree, reload=reload))
    there = await box.run(["test", "-e", root])
    await sync(box, root, tree)
    same = await sync(box, root, tree, reload=reload)

    assert error.seen == ("NOT_FOUND", "EXEC_NOT_FOUND")
    assert there.outcome == ("EXIT", 1)
    assert same.unchanged == 1


@pytest.mark.parametrize(
    "reload",
    [
        {},
        {"program": program("true"), "signal": {"exec_id": "a", "signal": "HUP"}},
        {"signal": {"exec_id": "a", "signal": "HUP"}, "detach": True},
        {"signal": {"exec_id": "a", "signal": "SIGHUP"}},
    ],
)
async def test_a_reload_is_a_program_or_a_signal(box, root, reload):
    """One of the two, with what belongs to it."""
    error = await failure(sync(box, root, {"a": File(b"a")}, reload=reload))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert error.fields[0].startswith("header.reload")


async def test_a_reload_that_cannot_start_still_gets_its_receipt(box, root):
    """The files are there: the caller learns both. A repeated call tries it again, once."""
    tree = {"a": File(b"a")}
    fields = {
        "sync_id": f"rev-{secrets.token_hex(4)}",
        "reload": {"program": program("pwd"), "cwd": "not/there"},
    }
    first = await sync(box, root, tree, **fields)
    await box.run("mkdir -p not/there", cwd=root)
    again = await sync(box, root, tree, **fields)

    assert first.added == 1
    assert first.reload.refusal == pb.ERROR_REASON_DIRECTORY_NOT_FOUND
    assert "not/there" in first.reload.refusal_message
    assert (first.reload.running, first.reload.cause) == (False, pb.CAUSE_UNSPECIFIED)
    assert again.reused
    assert again.reload.refusal == pb.ERROR_REASON_UNSPECIFIED
    assert again.reload.output_tail == f"{root}/not/there\n".encode()


@pytest.mark.parametrize(
    ("reload", "reason"),
    [({"user": "nobody-here"}, "USER_NOT_FOUND"), ({"cwd": "/not/there"}, "DIRECTORY_NOT_FOUND")],
)
async def test_what_can_be_known_beforehand_is_refused_before_anything_is_written(
    box, root, reload, reason
):
    """A user of its own, and a folder that the sync cannot make."""
    error = await failure(
        sync(box, root, {"a": File(b"a")}, reload={"program": program("true"), **reload})
    )
    there = await box.run(["test", "-e", root])

    assert error.seen == ("FAILED_PRECONDITION", reason)
    assert there.outcome == ("EXIT", 1)
