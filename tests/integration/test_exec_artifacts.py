"""`artifact_globs` of Exec: what appeared while a program ran is told with its result."""

from __future__ import annotations

import hashlib
import shutil

import pytest
import pytest_asyncio
from miosa.sandbox import v1 as pb

from tests.support.calls import Box, Client, events, failure
from tests.support.local import backend
from tests.support.service import served, state_folder

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def home(box, request):
    """A folder of the test's own."""
    path = f"/tmp/artifacts-{request.node.name.partition('[')[0]}"
    assert (await box.run(f"rm -rf {path}; mkdir -p {path}")).exited.exit_code == 0
    return path


def paths(ran, home):
    return [it.path.removeprefix(f"{home}/") for it in ran.exited.artifacts.artifacts]


async def test_what_is_new_or_changed_is_told_and_nothing_else(box, home):
    """Whatever its modification time says: that one anybody can set."""
    await box.run(
        "mkdir -p out; for it in kept changed renamed; do echo $it >out/$it; done", cwd=home
    )
    command = (
        "echo more >>out/changed; mv out/renamed out/moved; mkdir -p out/deep/er; echo a >out/new;"
        "echo b >out/deep/er/new; touch -d 2001-01-01 out/new; echo x >elsewhere; cat out/kept"
    )
    ran = await box.run(command, cwd=home, artifact_globs=["out/**"])

    assert paths(ran, home) == ["out/changed", "out/deep/er/new", "out/moved", "out/new"]
    found = ran.exited.artifacts
    assert (found.artifact_count, found.artifact_bytes) == (4, 13 + 2 + 8 + 2)
    assert found.failure_reason == ""
    assert "artifacts" in [it.phase for it in ran.exited.timings]


async def test_an_artifact_is_told_with_its_content_s_hash_mode_time_and_type(box, home):
    """As a caller needs it to decide whether to fetch it."""
    command = r"printf '{}' >a.json; printf '\211PNG\r\n\032\n\0\0' >picture; printf x >'ü .bin'"
    ran = await box.run(f"{command}; chmod 640 a.json", cwd=home, artifact_globs=["*"])
    by_name = dict(zip(paths(ran, home), ran.exited.artifacts.artifacts, strict=True))

    it = by_name["a.json"]
    assert (it.size, it.mode, it.media_type) == (2, 0o640, "application/json")
    assert it.sha256 == hashlib.sha256(b"{}").digest()
    assert abs(it.modify_time.seconds - ran.exited.end_time.seconds) <= 5
    assert by_name["picture"].media_type == "image/png"
    assert by_name["ü .bin"].media_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        (["*.txt"], ["a.txt", "b.txt"]),
        (["**/*.txt"], ["a.txt", "b.txt", "one/c.txt", "one/two/d.txt"]),
        (["**"], ["a.txt", "b.txt", "e.log", "one/c.txt", "one/two/d.txt"]),
        (["one/*"], ["one/c.txt"]),
        (["[!a].txt", "one/two/?.txt"], ["b.txt", "one/two/d.txt"]),
        (["?.[lt][xo][tg]", "*.txt"], ["a.txt", "b.txt", "e.log"]),
        ([r"\a.txt", "nothing/**", "link/*"], ["a.txt"]),
    ],
)
async def test_globs_are_relative_to_the_folder_that_the_program_runs_in(
    box, home, globs, expected
):
    """`*` stays in a folder, `**` does not, and no link is followed."""
    await box.run("ln -s /etc link; ln -s one/two inner", cwd=home)
    command = "mkdir -p one/two; touch a.txt b.txt e.log one/c.txt one/two/d.txt; ln -s a.txt l.txt"
    ran = await box.run(command, cwd=home, artifact_globs=globs)

    assert paths(ran, home) == expected


async def test_without_a_folder_globs_are_relative_to_the_user_s_home(box):
    """Where the program begins too."""
    ran = await box.run("mkdir -p results; date >results/now", artifact_globs=["results/*"])
    (it,) = ran.exited.artifacts.artifacts

    assert it.path.endswith("/results/now")
    assert (await box.run(f"test {it.path} -ef ~/results/now")).exited.exit_code == 0


async def test_a_program_that_fails_or_is_killed_left_something_too(box, home):
    """That is when one looks at what it left."""
    globs = ["core*"]
    failed = await box.run("echo x >core.1; exit 3", cwd=home, artifact_globs=globs)
    killed = await box.run(
        "echo x >core.2; sleep 600", cwd=home, artifact_globs=globs, timeout={"nanos": 300_000_000}
    )

    assert (failed.outcome, paths(failed, home)) == (("EXIT", 3), ["core.1"])
    assert killed.outcome[0] == "TIMEOUT"
    assert paths(killed, home) == ["core.2"]


async def test_many_artifacts_are_counted_and_the_first_are_told(box, home):
    """A result has a size."""
    command = "for ((it = 1000; it < 1700; it++)); do printf 12345 >$it.txt; done"
    ran = await box.run(command, cwd=home, artifact_globs=["*.txt"])
    found = ran.exited.artifacts

    assert paths(ran, home) == [f"{it}.txt" for it in range(1000, 1256)]
    assert (found.artifact_count, found.artifact_bytes) == (700, 3500)
    assert {len(it.sha256) for it in found.artifacts} == {32}


async def test_strange_names_and_strange_files_do_no_harm(box, home):
    """No pipe is read, and what has no name in UTF-8 is counted only."""
    command = (
        r"mkfifo pipe; printf 1 >$'new\nline'; printf 22 >$'\xff'; printf 3 >'*'; printf 4 >-n"
    )
    ran = await box.run(command, cwd=home, artifact_globs=["*"])

    assert paths(ran, home) == ["*", "-n", "new\nline"]
    assert ran.exited.artifacts.artifact_count == 4
    assert all(it.sha256 for it in ran.exited.artifacts.artifacts)


async def test_a_file_that_nobody_may_read_is_told_without_a_hash(box, home):
    """Of its content nothing is known."""
    ran = await box.run("echo x >secret; chmod 0 secret", cwd=home, artifact_globs=["secret"])
    (it,) = ran.exited.artifacts.artifacts

    readable = (await box.run("cat secret", cwd=home)).exited.exit_code == 0
    assert bool(it.sha256) is readable


async def test_a_folder_that_the_program_removed_is_told_as_that(box, home):
    """The result still comes."""
    ran = await box.run(f"rmdir {home}", cwd=home, artifact_globs=["*"])

    assert ran.outcome == ("EXIT", 0)
    assert ran.exited.artifacts.failure_reason == "DIRECTORY_NOT_FOUND"


async def test_without_globs_there_is_no_word_of_artifacts(box):
    """Nor is anything looked for."""
    ran = await box.run("true")

    assert not ran.exited.HasField("artifacts")
    assert "artifacts" not in [it.phase for it in ran.exited.timings]


async def test_a_repeated_call_gets_the_same_artifacts(box, home):
    """They belong to the result, which is kept."""
    asked = {"exec_id": "with-artifacts", "cwd": home, "artifact_globs": ["*"]}
    first = await box.run("echo 1 >one", retention=pb.RETENTION_DETACHED, **asked)
    await box.run("echo 2 >two", cwd=home)
    again = await box.run("echo 1 >one", retention=pb.RETENTION_DETACHED, **asked)

    assert again.started.reused
    assert again.exited.artifacts == first.exited.artifacts
    assert paths(again, home) == ["one"]


@pytest.mark.parametrize(
    ("glob", "field"),
    [
        ("/etc/*", "artifact_globs[1]"),
        ("../*", "artifact_globs[1]"),
        ("a/../../b", "artifact_globs[1]"),
        ("out/", "artifact_globs[1]"),
        ("a//b", "artifact_globs[1]"),
        ("[[:alpha:]]", "artifact_globs[1]"),
        ("*" + "*a" * 40, "artifact_globs[1]"),
    ],
)
async def test_a_glob_that_leaves_the_folder_or_makes_no_sense_is_refused(box, glob, field):
    """Before anything is started."""
    error = await failure(box.run("touch /tmp/was-started", artifact_globs=["fine", glob]))

    assert error.seen == ("INVALID_ARGUMENT", "INVALID_PATH")
    assert error.fields == [field]
    assert (await box.run("test -e /tmp/was-started")).exited.exit_code == 1


async def test_globs_have_a_size_in_all(box):
    """A durable exec keeps them in the sandbox."""
    error = await failure(box.run("true", artifact_globs=["a" * 1000] * 17))

    assert (error.seen, error.fields) == (
        ("INVALID_ARGUMENT", "INVALID_PATH"),
        ["artifact_globs"],
    )


async def test_a_durable_exec_finds_its_artifacts_after_a_restart_of_the_service():
    """What to look for, and since when, is kept in the sandbox."""
    asked = {"exec_id": "outlives", "retention": pb.RETENTION_DURABLE, "artifact_globs": ["out-*"]}
    command = "echo a >out-a; until [ -e go ]; do sleep 0.05; done; echo b >out-b"
    state = state_folder()
    try:
        with backend() as env:
            with served(env=env, state=state) as first:
                async with Client.connected(first.grpc_address) as client:
                    box = await client.sandbox()
                    await box.run("echo old >out-old")
                    call = box.exec(command, **asked)
                    await events(call, 1)
                    call.cancel()
            with served(env=env, state=state) as second:
                async with Client.connected(second.grpc_address, client.tenant) as other:
                    box = Box(other, box.sandbox_id)
                    await box.run("touch go")
                    ran = await box.run(command, **asked)
                    await other.destroy(box.sandbox_id)
    finally:
        shutil.rmtree(state, ignore_errors=True)

    assert ran.started.reused
    names = [it.path.rpartition("/")[2] for it in ran.exited.artifacts.artifacts]
    assert names == ["out-a", "out-b"]
