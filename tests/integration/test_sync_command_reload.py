"""What `sandbox-service sync` does after the files are there, and what it refuses to do."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal

import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import until
from tests.support.folders import described, sandboxed
from tests.support.sync_command import SyncCommand

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/reload-{secrets.token_hex(4)}"


@pytest.fixture
def folder(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "index.html").write_text("1")
    return project


@pytest.fixture
def command(service, box, tmp_path):
    """The command, as the tenant that the sandbox is of."""
    return SyncCommand(service.grpc_address, box.client.tenant, tmp_path / "cache")


async def lines(process, count):
    """Read so many lines of a report for programs."""
    found = [await asyncio.wait_for(process.stdout.readline(), 60) for _ in range(count)]
    return [json.loads(line) for line in found]


@pytest.mark.parametrize(
    ("where", "options", "told"),
    [
        ("../up", (), "Invalid value for SANDBOX[:ROOT]: the path '../up' has the component"),
        ("/", (), "Invalid value for SANDBOX[:ROOT]: "),
        ("app", ("--user", "No One"), "Invalid value for --user: "),
    ],
)
async def test_what_the_service_finds_wrong_is_told_as_a_wrong_call(
    command, box, folder, where, options, told
):
    """It is no failure that another attempt could mend."""
    code, out, err = await command.run(folder, f"{box.sandbox_id}:{where}", *options)

    assert (code, out) == (2, "")
    assert told in err
    assert "header." not in err


async def test_a_server_is_started_waited_for_and_reloaded_by_a_signal(command, box, folder, root):
    """The whole round of somebody who writes a server."""
    target = f"{box.sandbox_id}:{root}"
    idle = await command.run(folder, target, "--preview-wait", "0", "--json")
    (folder / "index.html").write_text("2")
    serve = (
        "trap 'echo again >>reloads' HUP; (trap '' HUP; exec python3 -m http.server 3000) & "
        "while :; do wait; done"
    )
    options = ("--json", "--preview-wait", "60")
    code, out, _ = await command.run(folder, target, "--reload", serve, "--reload-detach", *options)
    started = json.loads(out)
    exec_id = started["reload"]["exec_id"]
    again = await command.run(folder, target, *options)
    (folder / "index.html").write_text("3")
    signalled = await command.run(folder, target, "--reload-signal", exec_id, *options)

    async def reloaded():
        return (await box.run("cat reloads || true", cwd=root)).text == "again\n"

    await until(reloaded)
    kill = pb.SignalRequest(sandbox_id=box.sandbox_id, exec_id=exec_id, signal="KILL")
    await box.client.call("Signal", kill)

    assert idle[0] == 5
    assert json.loads(idle[1])["listening"] is False
    assert (code, started["listening"], started["reload"]["running"]) == (0, True, True)
    # Nothing was to be done: then the service is asked for the preview alone.
    assert (again[0], json.loads(again[1])["listening"]) == (0, True)
    assert json.loads(again[1])["changes"] == []
    assert signalled[0] == 0
    assert json.loads(signalled[1])["reload"]["delivered"] is True


async def test_a_signal_to_an_exec_that_never_was_changes_nothing(command, box, folder, root):
    """And says what to do."""
    target = f"{box.sandbox_id}:{root}"
    code, _, err = await command.run(folder, target, "--reload-signal", "nobody:TERM")

    assert code == 1
    assert "Name an exec that the sandbox has had" in err
    assert await sandboxed(box, "/tmp") == {} or root[5:] not in await sandboxed(box, "/tmp")


async def test_a_command_that_takes_too_long_is_ended(command, box, folder, root):
    """After as long as was said, not after half a minute."""
    target = f"{box.sandbox_id}:{root}"
    options = ("--reload", "sleep 1000", "--reload-timeout", "0.2", "--json")
    code, out, _ = await command.run(folder, target, *options)

    assert code == 4
    assert json.loads(out)["reload"]["exit_code"] is None
    assert await sandboxed(box, root) == described(folder)


async def test_while_watching_only_what_happened_is_told(command, box, folder, root):
    """Neither that an empty folder is still empty, nor that a file was touched."""
    (folder / "index.html").unlink()
    target = f"{box.sandbox_id}:{root}"
    async with command.started(folder, target, "--delete", "--watch", "--json") as process:
        (first,) = await lines(process, 1)
        # Each of these is a sync of its own, or part of one.
        for name in ("x", "y"):
            (folder / name).mkdir()
            (folder / name).rmdir()
        (folder / "a").write_text("1")
        (second,) = await lines(process, 1)
        (folder / "a").touch()
        (folder / "odd").symlink_to("/etc")
        (folder / "b").write_text("2")
        (third,) = await lines(process, 1)
        process.send_signal(signal.SIGINT)
        rest = await process.stdout.read()

    told = [it["changes"] for it in (first, second, third)]
    assert told[0] == []
    assert told[1] == [{"kind": "added", "path": "a"}]
    assert told[2][-1] == {"kind": "added", "path": "b"}
    assert rest == b""


async def test_a_watch_goes_on_after_a_failure_and_tells_when_it_is_mended(
    command, box, folder, root
):
    """Programs that read lines see both."""
    target = f"{box.sandbox_id}:{root}"
    async with command.started(folder, target, "--watch", "--json") as process:
        (first,) = await lines(process, 1)
        (folder / "index.html").unlink()
        (folder / "index.html").mkdir()
        (failed,) = await lines(process, 1)
        (folder / "index.html").rmdir()
        (folder / "index.html").write_text("1")
        (mended,) = await lines(process, 1)

    assert [it["path"] for it in first["changes"]] == ["index.html"]
    assert failed["error"].startswith("index.html is a file in the sandbox")
    assert "--delete" in failed["advice"]
    assert mended["changes"] == []
