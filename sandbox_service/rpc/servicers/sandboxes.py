"""`miosa.sandbox.v1.SandboxService`: parse, one operation, convert."""

from __future__ import annotations

from datetime import timedelta

from miosa.sandbox.v1 import (
    capabilities_pb2,
    create_pb2,
    lifecycle_pb2,
    preview_pb2,
)

from sandbox_service.contract import capabilities, enums, sandboxes, times
from sandbox_service.contract.refusals import unserved
from sandbox_service.domain.sandboxes import Preview, SandboxRecord, SandboxState
from sandbox_service.operations.service import Operations
from sandbox_service.rpc.call import Call
from sandbox_service.rpc.servicers.execs import ExecServicer
from sandbox_service.rpc.servicers.file_sync import FileSyncServicer
from sandbox_service.rpc.servicers.files import FileServicer


class SandboxServicer(ExecServicer, FileSyncServicer, FileServicer):
    """Serves the RPCs of SandboxService that this version has; the names are the RPCs'.

    Args:
        operations: What the service does.
        served: Which RPCs of the whole contract are served, for GetCapabilities.
    """

    def __init__(self, operations: Operations, served: dict[str, bool]) -> None:
        super().__init__(operations)
        self._served = served

    async def Create(
        self, request: create_pb2.CreateRequest, call: Call
    ) -> create_pb2.CreateResponse:
        """Make a sandbox."""
        created = await self._do.create.create(call.caller, sandboxes.create_spec(request))
        call.about(sandbox_id=created.record.sandbox_id)
        return sandboxes.created_response(created, self._preview(created.record))

    async def Status(
        self, request: lifecycle_pb2.StatusRequest, call: Call
    ) -> lifecycle_pb2.StatusResponse:
        """Tell what a sandbox does."""
        call.about(sandbox_id=request.sandbox_id)
        status = await self._do.statuses.get(call.caller, request.sandbox_id)
        return sandboxes.status_response(status, self._preview(status.seen.record))

    async def List(
        self, request: lifecycle_pb2.ListRequest, call: Call
    ) -> lifecycle_pb2.ListResponse:
        """List the caller's sandboxes."""
        records, token = await self._do.sandboxes.list(call.caller, sandboxes.list_query(request))
        return lifecycle_pb2.ListResponse(
            sandboxes=[
                sandboxes.sandbox(record, self._preview(record), secrets=False)
                for record in records
            ],
            next_page_token=token,
        )

    async def ExtendLifetime(
        self, request: lifecycle_pb2.ExtendLifetimeRequest, call: Call
    ) -> lifecycle_pb2.ExtendLifetimeResponse:
        """Let a sandbox live longer."""
        call.about(sandbox_id=request.sandbox_id)
        record, extended = await self._do.lifecycle.extend(
            call.caller,
            request.sandbox_id,
            times.from_timestamp(request.expire_time),
            request.if_generation if request.HasField("if_generation") else None,
        )
        return lifecycle_pb2.ExtendLifetimeResponse(
            expire_time=times.timestamp(record.expire_time), extended=extended
        )

    async def GetPreview(
        self, request: preview_pb2.GetPreviewRequest, call: Call
    ) -> preview_pb2.GetPreviewResponse:
        """Tell where a port of a sandbox is found."""
        call.about(sandbox_id=request.sandbox_id)
        record, preview = await self._do.previews.get(
            call.caller,
            request.sandbox_id,
            request.port if request.HasField("port") else None,
            times.optional_duration(request, "wait") or timedelta(0),
        )
        return preview_pb2.GetPreviewResponse(
            preview=sandboxes.preview_message(preview, record.preview.access),
            preview_state=enums.preview_state(preview.seen.state),
            http_status=preview.seen.http_status,
        )

    async def Destroy(
        self, request: lifecycle_pb2.DestroyRequest, call: Call
    ) -> lifecycle_pb2.DestroyResponse:
        """End a sandbox."""
        call.about(sandbox_id=request.sandbox_id)
        if request.archive == lifecycle_pb2.ARCHIVE_MODE_REQUIRED:
            raise unserved("archive")
        done = await self._do.lifecycle.destroy(
            call.caller,
            request.sandbox_id,
            request.if_generation if request.HasField("if_generation") else None,
        )
        return sandboxes.destroy_response(done)

    async def GetCapabilities(
        self, _: capabilities_pb2.GetCapabilitiesRequest, __: Call
    ) -> capabilities_pb2.GetCapabilitiesResponse:
        """Tell what this deployment can do."""
        return capabilities.response(await self._do.capabilities.get(), self._served)

    def _preview(self, record: SandboxRecord) -> Preview | None:
        if record.state is SandboxState.ENDED or not record.sandbox_id:
            return None
        return self._do.previews.locate(record)
