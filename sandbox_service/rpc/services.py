"""The contract's services as gRPC handlers.

Handlers take and return bytes: parsing happens inside the wrapper, so that
bytes which are no message get a status with details too. Methods are matched
by name with a servicer's; those that it lacks answer UNIMPLEMENTED.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message_factory import GetMessageClass
from miosa.sandbox.v1 import artifact_service_pb2, notebook_service_pb2, sandbox_service_pb2

from sandbox_service.domain.errors import NotImplementedYetError, SandboxError
from sandbox_service.rpc.call import Call, CallMetrics, Calls, Method, messages

SERVICES: Final[Sequence[ServiceDescriptor]] = (
    sandbox_service_pb2.DESCRIPTOR.services_by_name["SandboxService"],
    artifact_service_pb2.DESCRIPTOR.services_by_name["ArtifactService"],
    notebook_service_pb2.DESCRIPTOR.services_by_name["NotebookService"],
)

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_LISTENED_ON_S: Final = 0.1

_WAITING: Final = frozenset({"Create", "GetPreview", "SendInput"})

_KINDS: Final = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}


def implemented(servicers: Mapping[str, object]) -> dict[str, bool]:
    """Return `package.Service/Method` of the whole contract, and whether it is served.

    Args:
        servicers: By the service's full name.
    """
    return {
        f"{service.full_name}/{method.name}": hasattr(servicers.get(service.full_name), method.name)
        for service in SERVICES
        for method in service.methods
    }


def register(server: grpc.aio.Server, calls: Calls, servicers: Mapping[str, object]) -> None:
    """Let `server` answer every method of the contract.

    Args:
        server: Not yet started.
        calls: What surrounds each call.
        servicers: By the service's full name. Their methods carry the RPCs'
            names and take a request, or an iterator of them, and a `Call`.
    """
    handlers = []
    for service in SERVICES:
        servicer = servicers.get(service.full_name)
        by_name = {
            method.name: _handler(method, calls, getattr(servicer, method.name, None))
            for method in service.methods
        }
        handlers.append(grpc.method_handlers_generic_handler(service.full_name, by_name))
    server.add_generic_rpc_handlers(tuple(handlers))


def _handler(
    descriptor: MethodDescriptor,
    calls: Calls,
    operation: Any,  # noqa: ANN401 - a bound method; its shape follows from the descriptor.
) -> grpc.RpcMethodHandler[Any, Any]:
    streams = (descriptor.client_streaming, descriptor.server_streaming)
    method = Method(
        service=descriptor.containing_service.full_name,
        name=descriptor.name,
        kind=_KINDS[streams],
        request=GetMessageClass(descriptor.input_type),
        # A stream lives as long as its caller wants; only its own deadline counts.
        deadline=streams == (False, False),
        waits=descriptor.name in _WAITING,
        repeatable=descriptor.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN,
    )
    if operation is None:
        return _unimplemented(method, calls, streams)
    if streams == (False, False):
        return grpc.unary_unary_rpc_method_handler(_unary(method, calls, operation))
    if streams == (False, True):
        return grpc.unary_stream_rpc_method_handler(_server_stream(method, calls, operation))
    if streams == (True, False):
        return grpc.stream_unary_rpc_method_handler(_client_stream(method, calls, operation))
    return grpc.stream_stream_rpc_method_handler(_bidi_stream(method, calls, operation))


def _unary(method: Method, calls: Calls, operation: Any) -> Any:  # noqa: ANN401 - see `_handler`.
    counted = calls.metrics_of(method)

    async def handle(raw: bytes, context: _Context) -> bytes | None:
        async def work(call: Call) -> bytes:
            request = calls.parsed(method, raw)
            counted.received.inc()
            response = await operation(request, call)
            counted.sent.inc()
            return bytes(response.SerializeToString())

        answer: bytes | None = await calls.run(method, counted, context, work)
        return answer

    return handle


def _server_stream(method: Method, calls: Calls, operation: Any) -> Any:  # noqa: ANN401 - see `_handler`.
    counted = calls.metrics_of(method)

    async def handle(raw: bytes, context: _Context) -> None:
        async def work(call: Call) -> None:
            request = calls.parsed(method, raw)
            counted.received.inc()
            async with aclosing(operation(request, call)) as responses:
                async for response in responses:
                    # Returns when flow control has taken it: a slow client
                    # slows this loop, and nothing else.
                    await context.write(response.SerializeToString())
                    counted.sent.inc()

        await calls.run(method, counted, context, work)

    return handle


def _client_stream(method: Method, calls: Calls, operation: Any) -> Any:  # noqa: ANN401 - see `_handler`.
    counted = calls.metrics_of(method)

    async def handle(raw: AsyncIterator[bytes], context: _Context) -> bytes | None:
        received = _Received(raw, counted)

        async def work(call: Call) -> bytes:
            try:
                response = await operation(messages(method, calls, received), call)
            except SandboxError:
                await received.let_it_finish()
                raise
            counted.sent.inc()
            return bytes(response.SerializeToString())

        answer: bytes | None = await calls.run(method, counted, context, work)
        return answer

    return handle


def _bidi_stream(method: Method, calls: Calls, operation: Any) -> Any:  # noqa: ANN401 - see `_handler`.
    counted = calls.metrics_of(method)

    async def handle(raw: AsyncIterator[bytes], context: _Context) -> None:
        received = _Received(raw, counted)

        async def work(call: Call) -> None:
            try:
                # Two loops, each slowed by flow control alone: the operation reads what it
                # has room for, and goes on when the client has taken what was written.
                async with aclosing(operation(messages(method, calls, received), call)) as answers:
                    async for response in answers:
                        await context.write(response.SerializeToString())
                        counted.sent.inc()
            except SandboxError:
                await received.let_it_finish()
                raise

        await calls.run(method, counted, context, work)

    return handle


class _Received(AsyncIterator[bytes]):
    """What a client's stream brings, counted.

    Args:
        raw: The stream.
        counted: The method's metrics.
    """

    def __init__(self, raw: AsyncIterator[bytes], counted: CallMetrics) -> None:
        self._raw = raw
        self._counted = counted
        self._reading = False

    async def __anext__(self) -> bytes:
        """Return the next message."""
        self._reading = True
        message = await anext(self._raw)
        self._reading = False
        self._counted.received.inc()
        return message

    async def let_it_finish(self) -> None:
        """Read on for a moment after a refusal, for a caller that is still writing.

        Some clients that cannot write any more report that, instead of the status
        with which they were refused. A read that was given up is still under way
        inside gRPC, which allows no second one.
        """
        if self._reading:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_LISTENED_ON_S):
                async for _ in self._raw:
                    pass


def _unimplemented(
    method: Method, calls: Calls, streams: tuple[bool, bool]
) -> grpc.RpcMethodHandler[Any, Any]:
    counted = calls.metrics_of(method)

    async def work(_: Call) -> None:
        raise NotImplementedYetError(
            f"This version does not serve {method.name}. GetCapabilities tells what works.",
            metadata={"method": method.path},
        )

    async def handle(_: object, context: _Context) -> None:
        await calls.run(method, counted, context, work)

    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[streams]
    return make(handle)
