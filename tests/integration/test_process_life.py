"""The service as a process: how it drains, dies, and leaves others alone."""

from __future__ import annotations

import asyncio
import functools
import shutil
import signal
import time
import urllib.error
import urllib.request

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from miosa.sandbox import v1 as pb

from tests.support.calls import Client, events, failure, program, unlikely, until
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


async def test_a_call_that_is_cut_is_told_whether_it_can_be_repeated():
    """One that changes nothing can, without a look at what it changed."""
    with served("--drain-seconds=0.1") as service:
        async with Client.connected(service.grpc_address) as client:
            box = await client.sandbox()
            planning = client.stub.PlanSync(metadata=client.metadata)
            plan = pb.PlanSyncHeader(sandbox_id=box.sandbox_id, root="root")
            await planning.write(pb.PlanSyncRequest(header=plan))
            sending = client.stub.SyncFiles(metadata=client.metadata)
            header = pb.SyncFilesHeader(
                sandbox_id=box.sandbox_id, root="root", mode=pb.SYNC_MODE_PATCH
            )
            await sending.write(pb.SyncFilesRequest(header=header))
            for method in ("PlanSync", "SyncFiles"):
                begun = functools.partial(
                    service.metric, "grpc_server_started_total", grpc_method=method
                )
                await until(begun)
            service.signal(signal.SIGTERM)
            await asyncio.to_thread(service.wait)
            planned = await failure(_read(planning))
            sent = await failure(_awaited(sending))

    assert planned.seen == ("UNAVAILABLE", "DRAINING")
    assert sent.seen == ("ABORTED", "OUTCOME_UNKNOWN")


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


async def _awaited(call):
    return await call


async def _read(call):
    return [response async for response in call]
