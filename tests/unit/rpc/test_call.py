"""What surrounds every call, without a server."""

from __future__ import annotations

from ipaddress import ip_network

from miosa.sandbox import v1 as pb
from opentelemetry import trace
from prometheus_client import CollectorRegistry

from sandbox_service.domain.limits import Limits
from sandbox_service.rpc.call import Call, Calls, Method
from sandbox_service.rpc.identity import TrustedPeers
from sandbox_service.telemetry.metrics import Metrics

METHOD = Method("a.Service", "Status", "unary", pb.StatusRequest, True, False, True)


class _Context:
    """As much of gRPC's context as a call that goes well asks for."""

    def __init__(self) -> None:
        self.trailing: dict[str, str] = {}

    def invocation_metadata(self):
        return (("x-miosa-tenant-id", "acme"),)

    def set_trailing_metadata(self, metadata):
        self.trailing = dict(metadata)

    def peer(self):
        return "unix:"

    def time_remaining(self):
        return None


async def test_a_call_has_one_id_wherever_it_is_told():
    """Another instance that is asked for the caller logs the id that the caller is told."""
    trusted = TrustedPeers([ip_network("127.0.0.0/8")])
    tracer = trace.NoOpTracer()
    calls = Calls(trusted, Metrics(CollectorRegistry()), tracer, Limits())
    context = _Context()

    async def work(call: Call) -> str:
        return call.caller.request_id

    known = await calls.run(METHOD, calls.metrics_of(METHOD), context, work)

    assert known
    assert known == context.trailing["x-request-id"]
