"""`sandbox-service sync` as a person calls it."""

from __future__ import annotations

import json
import secrets
import signal

import pytest
from typer.testing import CliRunner

from sandbox_service.app.cli import cli
from tests.support.calls import until
from tests.support.folders import described, sandboxed
from tests.support.sync_command import SyncCommand

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def root():
    """A folder that no other test uses."""
    return f"/tmp/command-{secrets.token_hex(4)}"


@pytest.fixture
def folder(tmp_path):
    """A small project."""
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src/app.py").write_text("print(1)\n")
    (project / "new\nline").write_text("x")
    (project / ".gitignore").write_text("*.log\n")
    (project / "here.log").touch()
    return project


@pytest.fixture
def command(service, box, tmp_path):
    """The command, as the tenant that the sandbox is of."""
    return SyncCommand(service.grpc_address, box.client.tenant, tmp_path / "cache")


@pytest.fixture
def run(command):
    """Call the command to its end; returns its exit code, and what it wrote."""
    return command.run


async def test_a_folder_is_synced_and_the_second_time_nothing_is_to_be_done(run, box, root, folder):
    """One line for each change, and one for all."""
    code, out, err = await run(folder, f"{box.sandbox_id}:{root}")
    again = await run(folder, f"{box.sandbox_id}:{root}")

    assert (code, err) == (0, "")
    assert "+ src/app.py\n" in out
    assert "+ 'new\\nline'\n" in out
    assert "4 added, 0 modified, 0 deleted" in out
    assert "both digests are the same" in out
    assert again == (0, "nothing to do: 4 the same\n", "")
    expected = described(folder)
    del expected["here.log"]
    assert await sandboxed(box, root) == expected


async def test_a_dry_run_tells_what_a_mirror_would_do(run, box, root, folder):
    """Before anything is deleted."""
    await run(folder, f"{box.sandbox_id}:{root}")
    await box.run("echo x >extra; echo l >kept.log", cwd=root)
    (folder / "src/app.py").write_text("print(2)\n")
    code, out, _ = await run(folder, f"{box.sandbox_id}:{root}", "--delete", "--dry-run")
    before = await sandboxed(box, root)
    _, told, _ = await run(folder, f"{box.sandbox_id}:{root}", "--delete", "--json")
    after = await sandboxed(box, root)

    assert code == 0
    assert out.splitlines() == [
        "delete  extra",
        "change  src/app.py",
        "2 to change, 3 the same, 9 B to send, 0 only there and kept",
    ]
    record = json.loads(told)
    assert {name: record[name] for name in ("modified", "deleted", "identical")} == {
        "modified": 1,
        "deleted": 1,
        "identical": True,
    }
    assert set(before) - set(after) == {"extra"}
    assert "kept.log" in after


async def test_what_is_left_out_is_told_and_shows_in_the_exit_code(run, box, root, folder):
    """A script can tell that not everything is there."""
    (folder / "out").symlink_to("/etc/passwd")
    code, _, err = await run(folder, f"{box.sandbox_id}:{root}")
    excluded, _, _ = await run(folder, f"{box.sandbox_id}:{root}", "--exclude", "/out")

    assert code == 3
    assert err.startswith("left out: out is a link to an absolute path")
    assert excluded == 0


async def test_a_failure_says_what_to_do(run, box, folder):
    """And nothing of gRPC."""
    code, out, err = await run(folder, "missing:app")
    absent, _, why = await run(folder / "absent", f"{box.sandbox_id}:app")

    assert (code, out) == (1, "")
    assert "What to do: Check the sandbox's id and the tenant." in err
    assert "Traceback" not in err
    assert absent == 1
    assert "There is no folder" in why
    assert "absent. Name one to sync." in why


async def test_a_service_that_is_not_there_is_told_so(run, box, folder):
    """The commonest mistake."""
    code, _, err = await run(folder, f"{box.sandbox_id}:app", "--address", "127.0.0.1:1")

    assert code == 1
    assert "What to do: Check its address, and that it runs." in err


async def test_a_reload_command_runs_when_something_changed(run, box, root, folder):
    """Its failure is another exit code than that of the files."""
    target = f"{box.sandbox_id}:{root}"
    ran = await run(folder, target, "--reload", "pwd >../reloaded; echo done")
    idle = await run(folder, target, "--reload", "exit 9")
    (folder / "src/app.py").write_text("print(3)\n")
    failed = await run(folder, target, "--reload", "echo why; exit 9")

    assert ran[0] == 0
    assert "reload: exit code 0\ndone\n" in ran[1]
    assert idle[0] == 0
    assert failed[0] == 4
    assert "reload: exit code 9\nwhy\n" in failed[1]
    assert (await box.run("cat /tmp/reloaded; rm /tmp/reloaded")).text.strip() == root


async def test_watching_syncs_at_every_change(command, box, root, folder):
    """In folders that are new, too; Ctrl-C ends it."""
    async with command.started(
        folder, f"{box.sandbox_id}:{root}", "--delete", "--watch"
    ) as process:
        assert b".gitignore" in await process.stdout.readline()

        async def same():
            ours = {path: it for path, it in described(folder).items() if path[-4:] != ".log"}
            return await sandboxed(box, root) == ours

        await until(same, limit_s=60)
        (folder / "deep/er").mkdir(parents=True)
        (folder / "deep/er/file").write_text("new")
        await until(same, limit_s=60)
        (folder / "deep/er/file").write_text("changed")
        await until(same, limit_s=60)
        (folder / "src/app.py").rename(folder / "deep/app.py")
        (folder / "src").rmdir()
        await until(same, limit_s=60)
        process.send_signal(signal.SIGINT)
        code = await process.wait()

    assert code == 130


async def test_help_teaches():
    """Defaults, examples and exit codes are there for who has never seen it."""
    told = CliRunner().invoke(cli, ["sync", "--help"], env={"COLUMNS": "100"})

    assert told.exit_code == 0
    for word in (".gitignore", "--delete", "--dry-run", "SANDBOX_GRPC", "Exits with 0"):
        assert word in told.output
    assert "\n    sandbox-service sync . SANDBOX:app " in told.output
