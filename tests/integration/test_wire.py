"""What every call has in common, seen from the wire: bytes, headers, errors, health, metrics."""

from __future__ import annotations

import asyncio
import os
import secrets
import urllib.error
import urllib.request

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from miosa.sandbox import v1 as pb

from tests.support.calls import Client, Failure, failure, program, until
from tests.support.contract import METHODS, PACKAGE, SERVED

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVED_METHODS = [
    it for it in METHODS if it.containing_service.name == "SandboxService" and it.name in SERVED
]
GARBAGE = {
    "garbage": b"\xff" * 64,
    "cut-short": b"\x0a\x7fabc",
    "endless-varint": b"\x08" + b"\xff" * 11,
    "invalid-utf8": b"\x0a\x02\xff\xfe",
    "deep": b"\x0b" * 20_000,
}
SERVICE = f"/{PACKAGE}.SandboxService/"


def raw(client, method, message: bytes, metadata=None):
    """Call a method with bytes; returns what awaits its failure."""
    metadata = client.metadata if metadata is None else metadata
    path = SERVICE + method.name
    if method.client_streaming:
        return client.channel.stream_unary(path)(iter([message]), metadata=metadata)
    if method.server_streaming:
        return client.channel.unary_stream(path)(message, metadata=metadata).read()
    return client.channel.unary_unary(path)(message, metadata=metadata)


# Bytes


def _can_be(method, kind):
    """Tell whether such bytes are no message of the method."""
    first = method.input_type.fields_by_number.get(1)
    return kind != "invalid-utf8" or (first is not None and first.type == first.TYPE_STRING)


@pytest.mark.parametrize(
    ("method", "kind"),
    [(method, kind) for method in SERVED_METHODS for kind in GARBAGE if _can_be(method, kind)],
    ids=lambda it: it if isinstance(it, str) else it.name,
)
async def test_bytes_that_are_no_protobuf_are_malformed(client, method, kind):
    """Every failure has details, this one too; and the service lives."""
    error = await failure(raw(client, method, GARBAGE[kind]))

    assert error.seen == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
    assert error.metadata["method"].endswith(f"SandboxService/{method.name}")
    assert (await client.list()).sandboxes is not None


async def test_noise_of_any_kind_never_hurts_the_service(client, service):
    """A thousand messages that a fuzzer would send."""

    async def send():
        method = SERVED_METHODS[secrets.randbelow(len(SERVED_METHODS))]
        try:
            await raw(client, method, os.urandom(secrets.randbelow(40)))
        except grpc.aio.AioRpcError as error:
            return Failure.of(error).code
        return grpc.StatusCode.OK

    codes = set(await asyncio.gather(*(send() for _ in range(1000))))
    await client.destroy_all()
    listed = await client.list()
    client.created += [it.sandbox_id for it in listed.sandboxes]

    assert codes <= {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OK,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
    }
    assert "call.bug" not in service.log_since_mark()


async def test_a_message_that_is_too_large_is_refused_and_the_service_lives(client):
    """By the transport, which says so itself."""
    request = pb.CreateRequest(
        initial_files=[pb.InitialFile(path=f"f{n}", content=bytes(3 << 20)) for n in range(3)]
    )
    error = await failure(client.call("Create", request))

    assert error.seen == ("RESOURCE_EXHAUSTED", "")
    assert (await client.list()).sandboxes is not None


@pytest.mark.parametrize(
    "path", [f"{SERVICE}Explode", "/miosa.sandbox.v1.Nothing/Create", "/x/y", f"{SERVICE}create"]
)
async def test_an_unknown_method_is_unimplemented(client, path):
    """The transport's own answer."""
    error = await failure(client.channel.unary_unary(path)(b"", metadata=client.metadata))

    assert error.seen == ("UNIMPLEMENTED", "")


@pytest.mark.parametrize(
    "method",
    [it for it in METHODS if it not in SERVED_METHODS],
    ids=lambda it: f"{it.containing_service.name}.{it.name}",
)
async def test_a_method_that_is_not_served_yet_says_so_with_details(client, method):
    """Callers branch on the reason."""
    make = {
        (False, False): client.channel.unary_unary,
        (False, True): client.channel.unary_stream,
        (True, False): client.channel.stream_unary,
        (True, True): client.channel.stream_stream,
    }[method.client_streaming, method.server_streaming]
    request = iter([]) if method.client_streaming else b""
    call = make(f"/{method.containing_service.full_name}/{method.name}")(
        request, metadata=client.metadata
    )
    error = await failure(call.read() if method.server_streaming else call)

    assert error.seen == ("UNIMPLEMENTED", "NOT_IMPLEMENTED")
    assert error.metadata["method"].endswith(method.name)


# Identity of a call


async def test_the_request_id_comes_back_with_an_answer_and_with_an_error(client):
    """One id from the caller's log to ours."""
    named = client.other(client.tenant, x_request_id="req-1:a.b_c")
    answered = named.call("List", pb.ListRequest())
    await answered
    error = await failure(named.status("unknown"))
    trailing = dict(await answered.trailing_metadata())

    assert trailing["x-request-id"] == "req-1:a.b_c"
    assert error.trailing["x-request-id"] == "req-1:a.b_c"
    assert error.metadata["request_id"] == "req-1:a.b_c"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "{}"])
async def test_a_request_id_that_is_none_is_replaced(client, given):
    """Nothing unchecked gets into a log."""
    named = client.other(client.tenant, x_request_id=given)
    first, second = [await failure(named.status("unknown")) for _ in range(2)]
    ids = {it.trailing["x-request-id"] for it in (first, second)}

    assert given not in ids
    assert len(ids) == 2
    assert all(ids)


async def test_a_failure_is_logged_with_the_request_id_and_the_reason(client, service):
    """What the operator searches for."""
    request_id = f"req-{secrets.token_hex(6)}"
    await failure(client.other(client.tenant, x_request_id=request_id).status("unknown"))

    (event,) = await until(lambda: service.events_of(request_id))
    assert event["event"] == "call.failed"
    assert event["reason"] == "SANDBOX_NOT_FOUND"
    assert event["method"] == "Status"
    assert event["tenant"] == client.tenant
    assert event["sandbox_id"] == "unknown"


async def test_the_callers_trace_goes_on(client, service):
    """One trace from the orchestrator to the sandbox."""
    trace_id, request_id = secrets.token_hex(16), f"req-{secrets.token_hex(6)}"
    traced = client.other(
        client.tenant,
        x_request_id=request_id,
        traceparent=f"00-{trace_id}-{secrets.token_hex(8)}-01",
    )
    await failure(traced.status("unknown"))

    (event,) = await until(lambda: service.events_of(request_id))
    assert event["trace_id"] == trace_id


async def test_calls_do_not_mix_up_what_is_logged_about_them(client, service):
    """Neither ids nor tenants leak from one to the next."""
    ids = [f"req-{secrets.token_hex(6)}" for _ in range(50)]
    callers = [client.other(f"tenant-{it}", x_request_id=it) for it in ids]
    await asyncio.gather(*(failure(it.status(f"box-{it.tenant}")) for it in callers))

    def logged():
        events = [service.events_of(it) for it in ids]
        return events if all(events) else None

    for request_id, (event,) in zip(ids, await until(logged), strict=True):
        assert event["tenant"] == f"tenant-{request_id}"
        assert event["sandbox_id"] == f"box-tenant-{request_id}"


async def test_a_deadline_that_passes_is_told_with_its_reason(client):
    """The service answers before the client gives up, if only just."""
    box = await client.sandbox()
    request = pb.GetPreviewRequest(sandbox_id=box.sandbox_id, wait={"seconds": 30})
    error = await failure(client.call("GetPreview", request, timeout=0.5))

    assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.reason in ("DEADLINE_EXCEEDED", "")


async def test_every_error_fits_into_a_trailer(client):
    """4 KiB in all, whatever the program wrote."""
    step = pb.SetupStep(
        program=program("head -c 10000 /dev/urandom; exit 1"), name="n" * 64, exec_id="e" * 64
    )
    error = await failure(client.create(setup_steps=[step]))

    assert len(error.trailing["grpc-status-details-bin"]) <= 4096
    assert len(error.details["SetupFailure"].output_tail) == 2048
    assert isinstance(error.details["ErrorInfo"], error_details_pb2.ErrorInfo)


async def test_keepalive_pings_of_a_client_do_not_end_its_connection(service):
    """A Go client that pings every 10 s; here every second it would be sent away."""
    options = (
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    )
    async with grpc.aio.insecure_channel(service.grpc_address, options=options) as channel:
        client = Client.on(channel, "pinging")
        await client.list()
        assert channel.get_state() is grpc.ChannelConnectivity.READY


# Health and reflection


async def test_health_is_serving_for_the_server_and_each_service(client):
    """What load balancers ask."""
    stub = health_pb2_grpc.HealthStub(client.channel)
    names = ["", *(f"{PACKAGE}.{it}Service" for it in ("Sandbox", "Artifact", "Notebook"))]
    answers = [await stub.Check(health_pb2.HealthCheckRequest(service=name)) for name in names]
    unknown = await failure(stub.Check(health_pb2.HealthCheckRequest(service="x")))

    assert {it.status for it in answers} == {health_pb2.HealthCheckResponse.SERVING}
    assert unknown.code is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_and_describes_the_services(client):
    """For grpcurl, without a file."""
    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    symbol = f"{PACKAGE}.SandboxService"
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol),
    ]
    listed, described = [it async for it in stub.ServerReflectionInfo(iter(requests))]
    names = {it.name for it in listed.list_services_response.service}
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(it)
        for it in described.file_descriptor_response.file_descriptor_proto
    ]

    assert {f"{PACKAGE}.{it}Service" for it in ("Sandbox", "Artifact", "Notebook")} <= names
    assert "grpc.health.v1.Health" in names
    assert any(file.name.endswith("sandbox_service.proto") for file in files)


# Metrics and HTTP


def get(service, path):
    try:
        with urllib.request.urlopen(f"http://{service.http_address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_http_says_that_it_lives_and_is_ready(service):
    """What Kubernetes asks."""
    assert get(service, "/healthz")[0] == 200
    assert get(service, "/readyz")[0] == 200
    assert get(service, "/nothing")[0] == 404


async def test_calls_are_counted_by_method_and_code(client, service):
    """Under the names that the Go side's middleware has."""
    status = {"grpc_service": f"{PACKAGE}.SandboxService", "grpc_method": "Status"}
    before = service.metric("grpc_server_handled_total", **status, grpc_code="NOT_FOUND")
    started = service.metric("grpc_server_started_total", **status)
    await failure(client.status("unknown"))

    def counted():
        now = service.metric("grpc_server_handled_total", **status, grpc_code="NOT_FOUND")
        return now == before + 1

    await until(counted)
    assert service.metric("grpc_server_started_total", **status) == started + 1
    assert service.metric("grpc_server_handling_seconds_count", **status) >= started + 1


async def test_messages_of_a_stream_are_counted(box, service):
    """Both directions."""
    labels = {"grpc_method": "Exec", "grpc_type": "server_stream"}
    before = service.metric("grpc_server_msg_sent_total", **labels)
    ran = await box.run("echo x")

    await until(
        lambda: service.metric("grpc_server_msg_sent_total", **labels) == before + len(ran.events)
    )


async def test_sandboxes_are_counted_by_state_and_the_count_returns(client, service):
    """A gauge that drifts is worse than none."""

    def running():
        return service.metric("sandbox_sandboxes", state="running")

    before = running()
    boxes = await asyncio.gather(*(client.sandbox() for _ in range(3)))
    during = running()
    await failure(client.create(setup_steps=[pb.SetupStep(program=program("exit 1"))]))
    await asyncio.gather(*(client.destroy(it.sandbox_id) for it in boxes))

    assert during == before + 3
    assert running() == before
    assert service.metric("sandbox_sandboxes", state="setting_up") == 0


async def test_execs_and_bytes_are_counted(box, service):
    """What a dashboard shows."""
    ended = {"cause": "exit", "fault": "user"}
    before = service.metric("sandbox_execs_ended_total", **ended)
    written = service.metric("sandbox_exec_output_bytes_total", stream="stdout")
    await box.run("head -c 12345 /dev/zero; exit 1")

    assert service.metric("sandbox_execs_ended_total", **ended) == before + 1
    assert service.metric("sandbox_exec_output_bytes_total", stream="stdout") == written + 12345


async def test_a_client_that_leaves_is_no_bug_of_the_service(box, service):
    """Its call is CANCELLED in the metrics, and nothing in the log cries for help."""

    def internal():
        return service.metric("grpc_server_handled_total", grpc_code="INTERNAL")

    def cancelled():
        return service.metric(
            "grpc_server_handled_total", grpc_method="Exec", grpc_code="CANCELLED"
        )

    before, left = internal(), cancelled()
    full = service.metric("sandbox_exec_journal_bytes") + (8 << 20)
    for _ in range(6):
        call = box.exec("yes")
        await call.read()
        await call.read()
        # So that it is waiting for this reader when the reader leaves.
        await until(lambda: service.metric("sandbox_exec_journal_bytes") >= full)
        call.cancel()
        await until(lambda: service.metric("sandbox_exec_journal_bytes") < full)

    await until(lambda: cancelled() + internal() >= left + before + 6)
    assert "call.bug" not in service.log_since_mark()
    assert internal() == before
