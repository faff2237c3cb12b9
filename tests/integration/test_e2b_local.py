"""The unmodified SDK against a real backend with real sandboxes."""

from __future__ import annotations

import asyncio
import time

import e2b
import httpx
import pytest
from e2b import AsyncSandbox, Sandbox, SandboxQuery
from e2b.sandbox.commands.command_handle import PtySize

from tests.integration.local_backend import LocalBackend


@pytest.fixture(scope="module")
def backend():
    backend = LocalBackend.start()
    assert backend.status["ready"], backend.status
    yield backend
    assert backend.stop() == 0


@pytest.fixture
async def sandbox(backend):
    sandbox = await AsyncSandbox.create("base", timeout=60, **backend.sdk)
    yield sandbox
    await sandbox.kill()


async def until(condition):
    """Wait for something that takes its own time, and fail when it takes too long."""
    async with asyncio.timeout(15):
        while not await condition():  # noqa: ASYNC110 - only asking again can tell
            await asyncio.sleep(0.02)


# Sandboxes


async def test_a_sandbox_is_created_found_extended_and_killed(backend):
    """The whole life of a sandbox, as clients see it."""
    metadata = {"owner": "a b&c", "n": "1"}
    sandbox = await AsyncSandbox.create("python", timeout=60, metadata=metadata, **backend.sdk)
    info = await sandbox.get_info()
    found = await AsyncSandbox.list(
        query=SandboxQuery(metadata=metadata), api_key=backend.sdk["api_key"], api_url=backend.url
    ).next_items()
    await sandbox.set_timeout(600)
    later = await sandbox.get_info()

    assert info.metadata == metadata
    assert info.template_id == "python"
    assert info.allow_internet_access is False
    assert [one.sandbox_id for one in found] == [sandbox.sandbox_id]
    assert 500 < (later.end_at - info.end_at).total_seconds() < 600
    assert await sandbox.is_running()
    assert await sandbox.kill() is True
    assert await sandbox.kill() is False
    assert not await sandbox.is_running()
    with pytest.raises(e2b.SandboxNotFoundException):
        await AsyncSandbox.connect(sandbox.sandbox_id, **backend.sdk)


async def test_listing_goes_on_over_pages(backend):
    """A sweep that saw only the first page would leave sandboxes behind."""
    made = [
        await AsyncSandbox.create("base", timeout=60, metadata={"page": "1"}, **backend.sdk)
        for _ in range(3)
    ]
    pages = AsyncSandbox.list(
        query=SandboxQuery(metadata={"page": "1"}),
        limit=2,
        api_key=backend.sdk["api_key"],
        api_url=backend.url,
    )
    seen = []
    while pages.has_next:
        seen += [one.sandbox_id for one in await pages.next_items()]
    for sandbox in made:
        await sandbox.kill()

    assert seen == [sandbox.sandbox_id for sandbox in reversed(made)]


async def test_a_sandbox_ends_with_its_lifetime(backend):
    """What nobody destroys must not stay."""
    sandbox = await AsyncSandbox.create("base", timeout=1, **backend.sdk)
    handle = await sandbox.commands.run("sleep 60", background=True)

    with pytest.raises(e2b.SandboxException, match=r"killed or reached its end of life"):
        await handle.wait()
    assert not await sandbox.is_running()


async def test_a_kill_cuts_the_streams_and_says_why(sandbox):
    """A reader must learn that its sandbox is gone, not wait for output for ever."""
    handle = await sandbox.commands.run("sleep 60", background=True)
    await sandbox.kill()

    with pytest.raises(e2b.TimeoutException, match=r"killed or reached its end of life"):
        await handle.wait()
    with pytest.raises(e2b.TimeoutException, match="was not found"):
        await sandbox.commands.run("true")


async def test_an_unknown_template_and_a_wrong_key_are_told(backend):
    """Both are the caller's mistake and must not look like an outage."""
    with pytest.raises(e2b.SandboxException, match="template 'nope' not found"):
        await AsyncSandbox.create("nope", **backend.sdk)
    with pytest.raises(e2b.AuthenticationException):
        await AsyncSandbox.create("base", **{**backend.sdk, "api_key": "e2b_" + "1" * 40})


async def test_metrics_show_what_the_sandbox_uses(sandbox):
    """Status is made of them."""
    metrics = await sandbox.get_metrics()

    assert metrics[-1].mem_used > 0
    assert metrics[-1].disk_total > metrics[-1].disk_used >= 0
    assert metrics[-1].cpu_count == 2


# Commands


async def test_a_command_runs_where_and_as_what_it_was_asked(sandbox):
    """cwd, variables and user, and both outputs apart."""
    result = await sandbox.commands.run(
        "pwd; echo $A-$E2B_SANDBOX-$E2B_SANDBOX_ID; whoami; echo oops >&2",
        cwd="/tmp",
        envs={"A": "b c"},
    )

    where, variables, user = result.stdout.splitlines()
    assert (where, user) == ("/tmp", "user")
    assert variables == f"b c-true-{sandbox.sandbox_id}"
    assert result.stderr == "oops\n"


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [("exit 3", 3, "exit status 3"), ("kill -9 $$", -1, "signal: killed")],
)
async def test_a_failed_command_tells_how_it_ended(sandbox, command, code, error):
    """A signal is not an exit code."""
    with pytest.raises(e2b.CommandExitException) as caught:
        await sandbox.commands.run(command)

    assert caught.value.exit_code == code
    assert caught.value.error == error


async def test_a_missing_folder_and_an_unknown_user_are_refused(sandbox):
    """Nothing is started in another place, or as somebody else."""
    with pytest.raises(e2b.InvalidArgumentException, match="cwd '/nope' does not exist"):
        await sandbox.commands.run("true", cwd="/nope")
    with pytest.raises(e2b.AuthenticationException, match="invalid username: 'bob'"):
        await sandbox.commands.run("true", user="bob")


async def test_a_timeout_kills_the_command(sandbox):
    """Also the one in the background: it is the last safety net of a lost service."""
    with pytest.raises(e2b.TimeoutException):
        await sandbox.commands.run("exec sleep 61", timeout=0.3)

    async def gone():
        return not await sandbox.commands.list()

    await until(gone)
    result = await sandbox.commands.run("pgrep -f '[s]leep 61' || echo none")
    assert result.stdout == "none\n"


async def test_a_child_in_the_background_holds_the_end_until_the_command_is_killed(sandbox):
    """As envd does: output may still come, unless the caller has had enough."""
    started = time.monotonic()
    result = await sandbox.commands.run("sleep 0.6 & echo hi")
    assert result.stdout == "hi\n"
    assert time.monotonic() - started >= 0.6

    handle = await sandbox.commands.run("sleep 62 & echo hi", background=True)
    await sandbox.commands.run(f"while kill -0 {handle.pid} 2>/dev/null; do sleep 0.01; done")
    assert await sandbox.commands.kill(handle.pid)
    assert (await handle.wait()).exit_code == 0
    assert await sandbox.commands.kill(handle.pid) is False


async def test_input_reaches_a_command_and_ends(sandbox):
    """`cat` gives back what it got, and ends when its input does."""
    handle = await sandbox.commands.run("cat", background=True, stdin=True)
    await sandbox.commands.send_stdin(handle.pid, "line\n" * 20_000)
    await sandbox.commands.close_stdin(handle.pid)

    assert (await handle.wait()).stdout == "line\n" * 20_000


async def test_a_second_reader_gets_what_comes_and_a_late_one_the_result(sandbox):
    """A dropped connection is resumed by pid, for 30 s even after the end."""
    first = await sandbox.commands.run("read x; echo got $x", background=True, stdin=True)
    second = await sandbox.commands.connect(first.pid)
    await sandbox.commands.send_stdin(first.pid, "it\n")

    assert (await second.wait()).stdout == "got it\n"
    assert (await first.wait()).stdout == "got it\n"
    late = await sandbox.commands.connect(first.pid)
    assert (await late.wait()).exit_code == 0
    with pytest.raises(e2b.NotFoundException):
        await sandbox.commands.connect(999_999)


async def test_a_terminal_is_a_terminal(sandbox):
    """Size, resize, input, and the shell's own exit code."""
    output = bytearray()

    async def take(data):
        output.extend(data)

    handle = await sandbox.pty.create(PtySize(rows=24, cols=80), on_data=take)
    await sandbox.pty.send_stdin(handle.pid, b"stty size; tty\n")

    async def sized():
        return b"24 80" in output and b"/dev/pts/" in output

    await until(sized)
    await sandbox.pty.resize(handle.pid, PtySize(rows=43, cols=132))
    await sandbox.pty.send_stdin(handle.pid, b"stty size; exit 4\n")
    with pytest.raises(e2b.CommandExitException) as caught:
        await handle.wait()

    assert b"43 132" in output
    assert caught.value.exit_code == 4


# Files


async def test_files_keep_every_byte_value(sandbox):
    """What was written is what is read, in one piece and as a stream."""
    data = bytes(range(256)) * 8000
    await sandbox.files.write("deep/er/all.bin", data)
    streamed = b"".join(
        [part async for part in await sandbox.files.read("deep/er/all.bin", format="stream")]
    )

    assert bytes(await sandbox.files.read("deep/er/all.bin", format="bytes")) == data
    assert streamed == data
    result = await sandbox.commands.run(
        "sha256sum < deep/er/all.bin; stat -c %U:%a deep/er/all.bin"
    )
    assert result.stdout.splitlines()[1] == "user:644"


async def test_folders_are_made_listed_moved_and_removed(sandbox):
    """The filesystem service, call by call."""
    files = sandbox.files
    assert await files.make_dir("p/q") is True
    assert await files.make_dir("p/q") is False
    await files.write_files([{"path": "p/a", "data": "1"}, {"path": "p/q/b", "data": "22"}])
    await sandbox.commands.run("ln -s q p/link")

    shallow = {entry.name: entry for entry in await files.list("p")}
    assert set(shallow) == {"a", "link", "q"}
    assert shallow["link"].symlink_target == "q"
    assert [entry.path for entry in await files.list("p", depth=2)][-1] == "/home/user/p/q/b"

    moved = await files.rename("p/q/b", "new/place")
    assert (moved.path, moved.size) == ("/home/user/new/place", 2)
    await files.remove("p")
    await files.remove("p")
    assert not await files.exists("p")
    with pytest.raises(e2b.InvalidArgumentException):
        await files.list("new/place")
    with pytest.raises(e2b.FileNotFoundException):
        await files.rename("p", "q")


async def test_metadata_of_an_upload_is_kept_with_the_file(sandbox):
    """And replaced, not added to, by the next upload."""
    try:
        await sandbox.files.write("m", "x", metadata={"a": "1", "b": "2"})
    except e2b.InvalidArgumentException as error:
        pytest.skip(f"the file system keeps no attributes: {error}")
    assert (await sandbox.files.get_info("m")).metadata == {"a": "1", "b": "2"}
    await sandbox.files.write("m", "y", metadata={"c": "3"})
    assert (await sandbox.files.get_info("m")).metadata == {"c": "3"}


async def test_a_signed_url_works_without_any_header(sandbox):
    """A browser has neither the token nor the sandbox's id."""
    await sandbox.files.write("s.txt", "signed")
    async with httpx.AsyncClient() as client:
        good = await client.get(sandbox.download_url("s.txt", use_signature_expiration=60))
        other = await client.get(sandbox.download_url("s.txt").replace("s.txt", "m.txt"))
        upload = await client.post(
            sandbox.upload_url("up.txt"), files={"file": ("whatever", b"loaded")}
        )

    assert good.text == "signed"
    assert other.status_code in {401, 404}
    assert upload.status_code == 200
    assert await sandbox.files.read("up.txt") == "loaded"


async def test_the_hosts_files_cannot_be_reached_through_a_link(sandbox, tmp_path):
    """Paths are resolved inside, so a link leads nowhere outside."""
    secret = tmp_path / "secret"
    secret.write_text("host")
    await sandbox.commands.run(f"ln -s {secret} evil; ln -s /etc/shadow shadow")

    for name in ("evil", "shadow"):
        with pytest.raises(e2b.FileNotFoundException):
            await sandbox.files.read(name)


# The synchronous SDK


def test_the_synchronous_sdk_works_too(backend):
    """Same wire, other client."""
    with Sandbox.create("node", timeout=60, **backend.sdk) as sandbox:
        sandbox.files.write("a.txt", "hello")
        handle = sandbox.commands.run("cat a.txt; sleep 0.1; exit 2", background=True)
        pieces = []
        with pytest.raises(e2b.CommandExitException) as caught:
            handle.wait(on_stdout=pieces.append)

        assert "".join(pieces) == "hello"
        assert caught.value.exit_code == 2
        assert [entry.name for entry in sandbox.files.list(".")].count("a.txt") == 1
    assert not sandbox.is_running()
