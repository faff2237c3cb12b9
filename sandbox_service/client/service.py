"""A connection to the service, in the words of a Python program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

import grpc
from miosa.sandbox import v1 as pb
from miosa.sandbox.v1.sandbox_service_pb2_grpc import SandboxServiceStub

from sandbox_service.client.sync import FolderSync, Progress


class Service:
    """Calls the service for one tenant. Use it with `async with`.

    Args:
        address: Where it serves gRPC: host:port.
        tenant: For whom the calls are made.
        user: Who within the tenant.
    """

    def __init__(self, address: str, *, tenant: str, user: str = "") -> None:
        self._channel = grpc.aio.insecure_channel(
            address,
            options=(
                ("grpc.keepalive_time_ms", 30_000),
                # Who watches a folder should not wait two minutes for a service that is back.
                ("grpc.max_reconnect_backoff_ms", 5_000),
            ),
        )
        self._stub = SandboxServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._metadata = [("x-miosa-tenant-id", tenant)]
        if user:
            self._metadata.append(("x-miosa-user-id", user))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def create(self, request: pb.CreateRequest) -> pb.CreateResponse:
        """Make a sandbox."""
        answer: pb.CreateResponse = await self._stub.Create(request, metadata=self._metadata)
        return answer

    async def status(self, sandbox_id: str) -> pb.StatusResponse:
        """Tell what a sandbox does, or how it ended."""
        request = pb.StatusRequest(sandbox_id=sandbox_id)
        answer: pb.StatusResponse = await self._stub.Status(request, metadata=self._metadata)
        return answer

    async def preview(self, request: pb.GetPreviewRequest) -> pb.GetPreviewResponse:
        """Tell where a port of a sandbox is found, and whether it answers."""
        answer: pb.GetPreviewResponse = await self._stub.GetPreview(
            request, metadata=self._metadata
        )
        return answer

    async def destroy(self, sandbox_id: str) -> pb.DestroyResponse:
        """End a sandbox and everything in it."""
        request = pb.DestroyRequest(sandbox_id=sandbox_id)
        answer: pb.DestroyResponse = await self._stub.Destroy(request, metadata=self._metadata)
        return answer

    async def exec(self, request: pb.ExecRequest) -> AsyncIterator[pb.ExecEvent]:
        """Run a program and yield its events; the last one is `exited`.

        Closing the iterator early kills the program.

        Raises:
            EOFError: The stream ended without `exited`: what became of the
                program is not known.
        """
        call = self._stub.Exec(request, metadata=self._metadata)
        ended = False
        try:
            async for response in call:
                ended = response.event.HasField("exited")
                yield response.event
        finally:
            if not ended:
                call.cancel()
        if not ended:
            raise EOFError("the stream ended without `exited`")

    def folder_sync(
        self,
        *,
        gitignore: bool = True,
        cached: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> FolderSync:
        """Return what brings folders into sandboxes, sending only what differs.

        Args:
            gitignore: Whether to leave out what `.gitignore` files name.
            cached: Whether to keep hashes in the user's cache folder.
            on_progress: Told how far it is, from any thread.
        """
        return FolderSync(
            self._stub,
            self._metadata,
            gitignore=gitignore,
            cached=cached,
            on_progress=on_progress,
        )
