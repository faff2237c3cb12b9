"""The RPCs of SandboxService that bring files out: parse, one operation, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from miosa.sandbox.v1 import file_read_pb2

from sandbox_service.contract import file_reads
from sandbox_service.operations.service import Operations
from sandbox_service.rpc.call import Call


class FileServicer:
    """Serves the RPCs that bring files out; the names are the RPCs'.

    Args:
        operations: What the service does.
    """

    def __init__(self, operations: Operations) -> None:
        self._do = operations

    async def ReadFile(
        self, request: file_read_pb2.ReadFileRequest, call: Call
    ) -> AsyncIterator[file_read_pb2.ReadFileResponse]:
        """Read a file, or a range of it."""
        call.about(sandbox_id=request.sandbox_id)
        what = file_reads.file_range(request)
        async with (
            self._do.sandboxes.using(
                call.caller, request.sandbox_id, auto_resume=request.auto_resume
            ) as record,
            aclosing(self._do.file_reads.read(record, what)) as parts,
        ):
            async for part in parts:
                yield file_reads.read_response(part)

    async def ListFiles(
        self, request: file_read_pb2.ListFilesRequest, call: Call
    ) -> file_read_pb2.ListFilesResponse:
        """List what is in a folder."""
        call.about(sandbox_id=request.sandbox_id)
        query = file_reads.folder_query(request)
        async with self._do.sandboxes.using(
            call.caller, request.sandbox_id, auto_resume=request.auto_resume
        ) as record:
            return file_reads.list_response(await self._do.file_reads.list(record, query))

    async def DownloadTree(
        self, request: file_read_pb2.DownloadTreeRequest, call: Call
    ) -> AsyncIterator[file_read_pb2.DownloadTreeResponse]:
        """Bring a tree out."""
        call.about(sandbox_id=request.sandbox_id)
        query = file_reads.tree_query(request)
        async with (
            self._do.sandboxes.using(
                call.caller, request.sandbox_id, auto_resume=request.auto_resume
            ) as record,
            aclosing(self._do.file_reads.download(record, query)) as parts,
        ):
            async for part in parts:
                yield file_reads.tree_response(part)
