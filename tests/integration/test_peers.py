"""Calls to another instance: over few connections, none of them kept for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
import pytest_asyncio
from grpc_status import rpc_status
from miosa.sandbox import v1 as pb
from miosa.sandbox.v1 import sandbox_service_pb2_grpc

from sandbox_service.contract.errors import to_status
from sandbox_service.domain.errors import SandboxError, TenantRequiredError, UnauthenticatedError
from sandbox_service.domain.exec_errors import InputClosedError
from sandbox_service.domain.identity import Caller
from sandbox_service.rpc.peers import Peers
from tests.support.calls import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

_CALLER = Caller("acme", user="ada", fleet=True, request_id="r-1")


class _Other(sandbox_service_pb2_grpc.SandboxServiceServicer):
    """Another instance.

    Attributes:
        address: Where it is.
        answer: What it does about a call, beside answering.
        requests: What it was sent.
        metadata: With what.
        connections: From where, each once.
    """

    def __init__(self) -> None:
        self.address = ""
        self.answer: Callable[[grpc.aio.ServicerContext], Awaitable[None]] | None = None
        self.requests: list[pb.SendInputRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.connections: set[str] = set()
        self.left = False

    async def SendInput(self, request, context):  # noqa: N802 - the contract's name.
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.connections.add(context.peer())
        if self.answer is not None:
            try:
                await self.answer(context)
            except asyncio.CancelledError:
                self.left = True
                raise
        return pb.SendInputResponse(next_offset=request.offset + len(request.data))


@pytest_asyncio.fixture(loop_scope="session")
async def other() -> AsyncIterator[_Other]:
    """Another instance."""
    servicer, server = _Other(), grpc.aio.server()
    sandbox_service_pb2_grpc.add_SandboxServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield servicer
    await server.stop(0)


@asynccontextmanager
async def _peers(idle_s: float = 60.0) -> AsyncIterator[Peers]:
    peers = Peers(idle_s)
    try:
        yield peers
    finally:
        await peers.aclose()


async def _send(peers: Peers, other: _Other, offset: int = 0) -> int | None:
    return await peers.send_input(other.address, _CALLER, "box", "one", offset, b"abc", end=True)


async def test_a_call_is_made_for_its_caller(other):
    """And marked, so that it goes no further."""
    async with _peers() as peers:
        assert await _send(peers, other, 4) == 7

    (request,), (metadata,) = other.requests, other.metadata
    assert request == pb.SendInputRequest(
        sandbox_id="box", exec_id="one", offset=4, data=b"abc", end_of_input=True
    )
    assert {name: value for name, value in metadata.items() if name.startswith("x-")} == {
        "x-miosa-tenant-id": "acme",
        "x-miosa-user-id": "ada",
        "x-miosa-role": "fleet",
        "x-request-id": "r-1",
        "x-miosa-forwarded": "1",
    }


async def test_calls_share_a_connection_which_ends_when_nobody_uses_it(other):
    """A later call makes a new one."""
    async with _peers(0.05) as peers:
        for offset in range(3):
            await _send(peers, other, offset)
        shared = len(other.connections)

        async def renewed() -> bool:
            await _send(peers, other)
            await asyncio.sleep(0.06)
            return len(other.connections) > 1

        await until(renewed)

    assert shared == 1


async def test_a_connection_that_is_used_is_kept(other):
    """A program that does not read may make a call wait for long."""
    waits = asyncio.Event()

    async def wait(_: object) -> None:
        await waits.wait()

    other.answer = wait
    async with _peers(0.01) as peers:
        sending = asyncio.create_task(_send(peers, other))
        await until(lambda: bool(other.requests))
        await asyncio.wait({sending}, timeout=0.05)
        waits.set()

        assert await sending == 3


async def test_a_caller_that_leaves_leaves_there_too(other):
    """Nothing waits for an answer that nobody wants."""

    async def wait(_: object) -> None:
        await asyncio.Event().wait()

    other.answer = wait
    async with _peers() as peers:
        sending = asyncio.create_task(_send(peers, other))
        await until(lambda: bool(other.requests))
        sending.cancel()
        await until(lambda: other.left)


@pytest.mark.parametrize(
    "error", [TenantRequiredError("Who?"), UnauthenticatedError("Not you.")], ids=["who", "not you"]
)
async def test_one_that_does_not_trust_this_one_is_as_good_as_none(other, error):
    """The caller itself was known here."""
    other.answer = _refusing(error)
    async with _peers() as peers:
        assert await _send(peers, other) is None


async def test_what_it_refuses_is_told(other):
    """As it would have been there."""
    other.answer = _refusing(InputClosedError("No more.", metadata={"exec_id": "one"}))
    async with _peers() as peers:
        with pytest.raises(InputClosedError, match="No more") as caught:
            await _send(peers, other)

    assert caught.value.metadata == {"exec_id": "one"}


async def test_what_is_no_instance_is_no_answer(other):
    """It may be anything that speaks gRPC, or nothing at all."""

    async def fail(context: grpc.aio.ServicerContext) -> None:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "not ours")

    other.answer = fail
    async with _peers() as peers:
        assert await _send(peers, other) is None
        other.address = "127.0.0.1:1"
        assert await _send(peers, other) is None


def _refusing(error: SandboxError) -> Callable[[grpc.aio.ServicerContext], Awaitable[None]]:
    async def refuse(context: grpc.aio.ServicerContext) -> None:
        await context.abort_with_status(rpc_status.to_status(to_status(error)))

    return refuse
