"""Other instances of the service, called over the contract's own stubs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc
import structlog
from grpc_status import rpc_status
from miosa.sandbox.v1 import exec_pb2
from miosa.sandbox.v1.sandbox_service_pb2_grpc import SandboxServiceStub
from opentelemetry import propagate

from sandbox_service.contract.errors import from_status
from sandbox_service.domain.errors import SandboxError, TenantRequiredError, UnauthenticatedError
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.limits import MESSAGE_BYTES_MAX
from sandbox_service.rpc import identity

_IDLE_S: Final = 60.0
"""How long a connection that nobody uses is kept."""

_OPTIONS: Final = (
    # Instances reach each other directly, whatever the environment says of proxies.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX + 64 * 1024),
    # Also how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A call waits for as long as a program does not read; only so a dead peer is found out.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Link:
    """A connection to an instance.

    Attributes:
        calls: How many use it now.
        expiry: Closes it, when none does.
    """

    channel: grpc.aio.Channel
    calls: int = 0
    expiry: asyncio.TimerHandle | None = None


class Peers:
    """Calls other instances for a caller. Implements `domain.ports.Peers`.

    Args:
        idle_s: How long a connection that nobody uses is kept.
    """

    def __init__(self, idle_s: float = _IDLE_S) -> None:
        self._idle_s = idle_s
        self._links: dict[str, _Link] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def send_input(
        self,
        address: str,
        caller: Caller,
        sandbox_id: str,
        exec_id: str,
        offset: int,
        data: bytes,
        *,
        end: bool,
    ) -> int | None:
        """See `domain.ports.Peers`. A caller that leaves, or its deadline, ends the call there."""
        request = exec_pb2.SendInputRequest(
            sandbox_id=sandbox_id, exec_id=exec_id, offset=offset, data=data, end_of_input=end
        )
        trace: dict[str, str] = {}
        propagate.inject(trace)
        metadata = (*identity.forwarded(caller), *trace.items())
        with self._linked(address) as channel:
            stub = SandboxServiceStub(channel)  # type: ignore[no-untyped-call]
            try:
                answer: exec_pb2.SendInputResponse = await stub.SendInput(
                    request, metadata=metadata
                )
            except grpc.aio.AioRpcError as failed:
                told = _told(failed)
                if told is None:
                    _log.warning("peer.no_answer", address=address, code=failed.code().name)
                    return None
                raise told from None
        return int(answer.next_offset)

    async def aclose(self) -> None:
        """Close every connection."""
        for address in tuple(self._links):
            self._close(address)
        if self._closing:
            await asyncio.wait(self._closing)

    @contextmanager
    def _linked(self, address: str) -> Iterator[grpc.aio.Channel]:
        link = self._links.get(address)
        if link is None:
            channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
            link = self._links[address] = _Link(channel)
        link.calls += 1
        if link.expiry is not None:
            link.expiry.cancel()
            link.expiry = None
        try:
            yield link.channel
        finally:
            link.calls -= 1
            if not link.calls and self._links.get(address) is link:
                loop = asyncio.get_running_loop()
                link.expiry = loop.call_later(self._idle_s, self._close, address)

    def _close(self, address: str) -> None:
        link = self._links.pop(address)
        if link.expiry is not None:
            link.expiry.cancel()
        task = asyncio.create_task(link.channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _told(failed: grpc.aio.AioRpcError) -> SandboxError | None:
    """Return what an instance answered the caller. None: it did not answer, or does not know us."""
    try:
        status = rpc_status.from_call(failed)
    except ValueError:
        return None
    told = None if status is None else from_status(status)
    # Who the caller is was settled here: over there, this instance is not trusted.
    return None if isinstance(told, UnauthenticatedError | TenantRequiredError) else told
