"""The backend under the service: rejecting, out of reach, outliving it, dying under it."""

from __future__ import annotations

import os
import shutil
import signal
import socket

import grpc
import pytest
from miosa.sandbox import v1 as pb

from tests.support.calls import Box, Client, events, failure, unlikely, until
from tests.support.local import backend
from tests.support.service import (
    served,
    state_folder,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def busy(client):
    """Create a sandbox in which programs run in the background."""
    mark = unlikely()
    box = await client.sandbox()
    await box.run(f"sleep {mark} & setsid sleep {mark} & nohup sleep {mark} & echo")
    return box, str(mark)


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


async def unless_away(call):
    """Await a call; returns None while the backend is being started again."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return None


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
                status = await unless_away(client.status(box.sandbox_id))
                return status and status.sandbox.HasField("end") and status.sandbox.end

            end = await until(tombstone)

            new = await until(lambda: unless_away(client.sandbox()))
            ran = await new.run("echo again")
            left = [it for it in service.family().left() if mark in it]

    assert len(inside) >= 3
    assert seen[-1].HasField("exited")
    assert pb.Cause.Name(seen[-1].exited.cause) in ("CAUSE_SANDBOX_LOST", "CAUSE_BACKEND")
    assert end.cause == pb.END_CAUSE_BACKEND_STOPPED
    assert ran.stdout == b"again\n"
    assert left == []
