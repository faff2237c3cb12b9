"""The RPCs of SandboxService that are about execs: parse, one operation, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from miosa.sandbox.v1 import exec_pb2, policy_pb2

from sandbox_service.contract import execs, policy, times
from sandbox_service.operations.execs.listing import exec_page
from sandbox_service.operations.service import Operations
from sandbox_service.rpc.call import Call


class ExecServicer:
    """Serves the RPCs about execs; the names are the RPCs'.

    Args:
        operations: What the service does.
    """

    def __init__(self, operations: Operations) -> None:
        self._do = operations

    async def Exec(
        self, request: exec_pb2.ExecRequest, call: Call
    ) -> AsyncIterator[exec_pb2.ExecResponse]:
        """Run a program. Leaving means what its retention says."""
        call.about(sandbox_id=request.sandbox_id, exec_id=request.exec_id)
        spec = execs.exec_spec(request)
        if request.auto_resume:
            # What is refused anyway wakes no sandbox.
            known = await self._do.sandboxes.find(call.caller, request.sandbox_id)
            spec = await self._do.execs.admitted(known, spec)
        using = self._do.sandboxes.using(
            call.caller, request.sandbox_id, auto_resume=request.auto_resume
        )
        async with (
            using as record,
            aclosing(self._do.execs.run(record, spec)) as events,
        ):
            async for event in events:
                yield exec_pb2.ExecResponse(event=execs.event(event))

    async def CheckProgram(
        self, request: policy_pb2.CheckProgramRequest, call: Call
    ) -> policy_pb2.CheckProgramResponse:
        """Tell what the code policy says of a program."""
        spec = execs.checked_spec(request)
        verdict = await self._do.execs.verdict(call.caller.tenant, spec)
        return policy_pb2.CheckProgramResponse(verdict=policy.verdict(verdict))

    async def Attach(
        self, request: exec_pb2.AttachRequest, call: Call
    ) -> AsyncIterator[exec_pb2.AttachResponse]:
        """Read an exec along that another call has started."""
        call.about(sandbox_id=request.sandbox_id, exec_id=request.exec_id)
        position = execs.position(request)
        interval = times.optional_duration(request, "heartbeat_interval")
        async with (
            self._do.sandboxes.using(call.caller, request.sandbox_id) as record,
            aclosing(self._do.execs.attach(record, request.exec_id, position, interval)) as events,
        ):
            async for event in events:
                yield exec_pb2.AttachResponse(event=execs.event(event))

    async def SendInput(
        self, request: exec_pb2.SendInputRequest, call: Call
    ) -> exec_pb2.SendInputResponse:
        """Write to a program's input."""
        call.about(sandbox_id=request.sandbox_id, exec_id=request.exec_id)
        async with self._do.sandboxes.using(call.caller, request.sandbox_id) as record:
            next_offset = await self._do.execs.send_input(
                call.caller,
                record,
                request.exec_id,
                request.offset,
                request.data,
                end=request.end_of_input,
            )
        return exec_pb2.SendInputResponse(next_offset=next_offset)

    async def Signal(self, request: exec_pb2.SignalRequest, call: Call) -> exec_pb2.SignalResponse:
        """Send a signal to all processes of an exec."""
        call.about(sandbox_id=request.sandbox_id, exec_id=request.exec_id)
        async with self._do.sandboxes.using(call.caller, request.sandbox_id) as record:
            delivered = await self._do.execs.signal(record, request.exec_id, request.signal)
        return exec_pb2.SignalResponse(delivered=delivered)

    async def ResizePty(
        self, request: exec_pb2.ResizePtyRequest, call: Call
    ) -> exec_pb2.ResizePtyResponse:
        """Change the size of an exec's terminal."""
        call.about(sandbox_id=request.sandbox_id, exec_id=request.exec_id)
        size = execs.pty_size(request.size)
        async with self._do.sandboxes.using(call.caller, request.sandbox_id) as record:
            await self._do.execs.resize(record, request.exec_id, size)
        return exec_pb2.ResizePtyResponse(size=request.size)

    async def ListExecs(
        self, request: exec_pb2.ListExecsRequest, call: Call
    ) -> exec_pb2.ListExecsResponse:
        """List what runs or ran in a sandbox."""
        call.about(sandbox_id=request.sandbox_id)
        async with self._do.sandboxes.using(call.caller, request.sandbox_id) as record:
            page, token = exec_page(
                record.sandbox_id,
                await self._do.execs.list(record),
                execs.state(request),
                request.page_size,
                request.page_token,
            )
        return exec_pb2.ListExecsResponse(
            execs=[execs.summary(it) for it in page], next_page_token=token
        )
