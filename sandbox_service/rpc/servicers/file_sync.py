"""The RPCs of SandboxService that sync files: parse, one operation, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta

from miosa.sandbox.v1 import file_plan_pb2, file_sync_pb2

from sandbox_service.contract import file_plan, file_sync, reloads, times
from sandbox_service.operations.service import Operations
from sandbox_service.rpc.call import Call


class FileSyncServicer:
    """Serves the RPCs that sync files; the names are the RPCs'.

    Args:
        operations: What the service does.
    """

    def __init__(self, operations: Operations) -> None:
        self._do = operations

    async def PlanSync(
        self, requests: AsyncIterator[file_plan_pb2.PlanSyncRequest], call: Call
    ) -> AsyncIterator[file_plan_pb2.PlanSyncResponse]:
        """Compare the caller's tree with a folder of a sandbox."""
        message = (await file_sync.header_first(requests)).header
        call.about(sandbox_id=message.sandbox_id)
        header = file_plan.plan_header(message)
        async with (
            self._do.sandboxes.using(
                call.caller, message.sandbox_id, auto_resume=message.auto_resume
            ) as record,
            aclosing(self._do.plans.plan(record, header, file_plan.manifest(requests))) as parts,
        ):
            async for part in parts:
                yield file_plan.response(part)

    async def SyncFiles(
        self, requests: AsyncIterator[file_sync_pb2.SyncFilesRequest], call: Call
    ) -> file_sync_pb2.SyncFilesResponse:
        """Make a folder of a sandbox what the caller sends."""
        message = (await file_sync.header_first(requests)).header
        call.about(sandbox_id=message.sandbox_id)
        header, reload = file_sync.sync_header(message), reloads.reload_action(message)
        wait = times.optional_duration(message, "preview_wait") or timedelta(0)
        async with self._do.sandboxes.using(
            call.caller, message.sandbox_id, auto_resume=message.auto_resume
        ) as record:
            reload = await self._do.reloads.checked(record, reload)
            refusal = await self._do.reloads.refusal(record, reload, header)
            parts = file_sync.parts(requests)
            receipt = await self._do.file_sync.sync(record, header, parts, refusal)
            stored = file_sync.stored_reload(receipt)
            reload = reload if stored is None else None
            after = await self._do.reloads.after(record, receipt, reload, wait)
            self._do.file_sync.keep_reload(record, header, file_sync.reload_to_keep(after))
        return file_sync.response(receipt, after, stored)
