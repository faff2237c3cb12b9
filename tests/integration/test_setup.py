"""Create's setup steps: run, watched, and told in full when one fails."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from miosa.sandbox import v1 as pb

from tests.support.calls import Box, failure, program, source, unlikely, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1 << 20


def step(what, **fields):
    return pb.SetupStep(program=program(what), **fields)


async def nothing_left(client, before):
    """Assert that the caller has no more sandboxes than before."""
    listed = await client.list()
    assert [it.sandbox_id for it in listed.sandboxes] == before


async def test_setup_steps_run_in_order_with_their_own_settings(client):
    """Each is an exec with a known id, and its result is told."""
    answer = await client.create(
        setup_steps=[
            step("echo one >> /tmp/log", name="first"),
            step(
                'echo "$WORD $PWD" >> /tmp/log', cwd="/usr", env={"WORD": "two"}, exec_id="second"
            ),
            step(source("python", "open('/tmp/log', 'a').write('three\\n')")),
        ]
    )
    results = answer.setup_results
    ran = await Box(client, answer.sandbox.sandbox_id).run("cat /tmp/log")

    assert ran.text.splitlines() == ["one", "two /usr", "three"]
    assert [it.state for it in results] == [pb.SETUP_STATE_SUCCEEDED] * 3
    assert [it.exit_code for it in results] == [0] * 3
    assert (results[0].name, results[1].exec_id) == ("first", "second")
    assert all(it.HasField("duration") for it in results)


async def test_steps_without_names_and_ids_are_numbered_from_one(client):
    """So that their output can be attached to while Create waits."""
    results = (await client.create(setup_steps=[step("true"), step("true")])).setup_results

    assert [it.exec_id for it in results] == ["setup-1", "setup-2"]
    assert [it.name for it in results] == ["step-1", "step-2"]


async def test_the_sandbox_itself_remembers_what_became_of_its_steps(client):
    """Status tells it to who was not there."""
    answer = await client.create(setup_steps=[step("true", name="a", exec_id="b")])
    status = await client.status(answer.sandbox.sandbox_id)

    assert list(answer.sandbox.setup_results) == list(answer.setup_results)
    assert list(status.sandbox.setup_results) == list(answer.setup_results)


async def test_what_setup_steps_did_is_there_when_create_answers(client):
    """READY means ready."""
    box = await client.sandbox(setup_steps=[step("sleep 0.3; echo one > /tmp/log"), step("true")])
    ran = await box.run("cat /tmp/log")

    assert ran.stdout == b"one\n"


async def test_a_failed_step_is_told_in_full_and_leaves_nothing_running(client, service):
    """The one place where a failed program is an error."""
    mark = str(unlikely())
    error = await failure(
        client.create(
            setup_steps=[
                step("echo fine", name="prepare"),
                step(
                    f"setsid sleep {mark} & head -c 5000 /dev/zero | tr '\\0' a; "
                    "echo; sleep 0.2; echo boom >&2; exit 9",
                    name="install",
                    exec_id="install-1",
                ),
                step("echo never", name="after"),
            ]
        )
    )
    told = error.details["SetupFailure"]

    assert error.seen == ("FAILED_PRECONDITION", "SETUP_FAILED")
    assert error.metadata["step"] == "1"
    assert error.metadata["step_name"] == "install"
    assert (told.step, told.step_index, told.exec_id) == ("install", 1, "install-1")
    assert (told.cause, told.fault, told.exit_code) == (pb.CAUSE_EXIT, pb.FAULT_USER, 9)
    assert not told.HasField("signal")
    assert told.output_tail.endswith(b"boom\n")
    assert len(told.output_tail) == 2048
    assert told.output_truncated
    await nothing_left(client, [])
    assert [it for it in service.family().left() if mark in it] == []


@pytest.mark.parametrize(
    ("what", "cause", "signal"),
    [
        (step("kill -9 $$"), pb.CAUSE_SIGNAL, "KILL"),
        (step("sleep 30", timeout=Duration(nanos=200_000_000)), pb.CAUSE_TIMEOUT, None),
    ],
    ids=["signal", "timeout"],
)
async def test_a_step_that_was_ended_is_told_by_its_cause(client, what, cause, signal):
    """A timeout is no exit code."""
    error = await failure(client.create(setup_steps=[what]))
    told = error.details["SetupFailure"]

    assert error.seen == ("FAILED_PRECONDITION", "SETUP_FAILED")
    assert told.cause == cause
    assert not told.HasField("exit_code")
    assert signal is None or told.signal == signal


async def test_a_failed_setup_leaves_a_tombstone_that_says_which_step(client):
    """Who only has the id learns why it ended."""
    await failure(client.create(setup_steps=[step("echo boom; exit 9", name="install")]))
    ended = await client.list(states=[pb.SANDBOX_STATE_ENDED])
    (it,) = ended.sandboxes

    assert it.end.cause == pb.END_CAUSE_SETUP_FAILED
    assert it.end.setup_failure.step == "install"
    assert it.end.setup_failure.exit_code == 9


async def test_created_answers_while_the_steps_go_on(client):
    """For callers who want to watch them."""
    answer = await client.create(
        return_when=pb.RETURN_WHEN_CREATED,
        initial_files=[pb.InitialFile(path="early", content=b"early")],
        setup_steps=[step("until [ -e /tmp/go ]; do sleep 0.02; done", exec_id="install")],
    )
    sandbox_id = answer.sandbox.sandbox_id

    async def running():
        status = await client.status(sandbox_id)
        return [it.exec_id for it in status.running_execs] == ["install"]

    async def ready():
        return (await client.status(sandbox_id)).sandbox.state == pb.SANDBOX_STATE_RUNNING

    assert answer.sandbox.state == pb.SANDBOX_STATE_SETTING_UP
    await until(running)
    status = await client.status(sandbox_id)
    box = Box(client, sandbox_id)
    assert (await box.run("cat early")).stdout == b"early"
    await box.run("touch /tmp/go")
    assert status.sandbox.state == pb.SANDBOX_STATE_SETTING_UP
    assert status.health == pb.HEALTH_HEALTHY
    await until(ready)


async def test_created_means_that_the_initial_files_are_there(client):
    """The contract says so; only the steps may still be at work."""
    box = await client.sandbox(
        return_when=pb.RETURN_WHEN_CREATED,
        initial_files=[
            pb.InitialFile(path=f"f{number}", content=b"x" * 100_000, mode=0o600)
            for number in range(25)
        ],
    )
    ran = await box.run("stat -c '%a %s' f* | sort | uniq -c")

    assert ran.text.split() == ["25", "600", "100000"]


async def test_a_step_that_fails_after_created_ends_the_sandbox(client):
    """Its tombstone says why."""
    answer = await client.create(
        return_when=pb.RETURN_WHEN_CREATED, setup_steps=[step("exit 3", name="later")]
    )

    async def ended():
        status = await client.status(answer.sandbox.sandbox_id)
        return status.sandbox.end if status.sandbox.HasField("end") else None

    end = await until(ended)

    assert end.cause == pb.END_CAUSE_SETUP_FAILED
    assert end.fault == pb.FAULT_USER


async def test_a_setup_steps_folder_and_language_are_checked_before_anything_is_made(client):
    """All that can be known early is said early."""
    relative = await failure(client.create(setup_steps=[step("true", cwd="a")]))
    language = await failure(client.create(setup_steps=[step(source("fortran", "end"))]))

    assert relative.seen == ("INVALID_ARGUMENT", "INVALID_PATH")
    assert relative.fields == ["setup_steps[0].cwd"]
    assert language.seen == ("INVALID_ARGUMENT", "LANGUAGE_NOT_SUPPORTED")
    ended = await client.list(states=[pb.SANDBOX_STATE_ENDED])
    assert list(ended.sandboxes) == []
