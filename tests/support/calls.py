"""A caller of the service: stubs, and the few things that most tests do with them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from miosa.sandbox import v1 as pb
from miosa.sandbox.v1 import sandbox_service_pb2_grpc

DETAILS = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.RetryInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    pb.SetupFailure,
    pb.PolicyVerdict,
)
DOMAIN = "sandbox.miosa.dev"
PATIENCE_S = 15.0
OPTIONS = (("grpc.max_receive_message_length", 8 << 20), ("grpc.max_send_message_length", 16 << 20))


async def until(
    condition: Callable[[], Any], limit_s: float = PATIENCE_S, pause_s: float = 0.02
) -> Any:
    """Wait for something that takes its own time; returns the first value that is true."""
    async with asyncio.timeout(limit_s):
        while True:
            value = condition()
            if isinstance(value, Awaitable):
                value = await value
            if value:
                return value
            await asyncio.sleep(pause_s)


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call failed.

    Attributes:
        reason: Of its ErrorInfo; empty when it has none.
        details: All details, by their type's name.
    """

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    details: dict[str, Any]
    trailing: dict[str, str | bytes]

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Failure:
        details: dict[str, Any] = {}
        status = rpc_status.from_call(error)
        for packed in () if status is None else status.details:
            for kind in DETAILS:
                if packed.Is(kind.DESCRIPTOR):
                    detail = kind()
                    packed.Unpack(detail)
                    details[kind.DESCRIPTOR.name] = detail
        info = details.get("ErrorInfo")
        assert info is None or info.domain == DOMAIN
        return cls(
            code=error.code(),
            message=error.details() or "",
            reason="" if info is None else info.reason,
            metadata={} if info is None else dict(info.metadata),
            details=details,
            trailing=dict(error.trailing_metadata() or ()),
        )

    @property
    def seen(self) -> tuple[str, str]:
        """The code's name and the reason."""
        return self.code.name, self.reason

    @property
    def fields(self) -> list[str]:
        """The paths of the fields that were refused."""
        bad = self.details.get("BadRequest")
        return [] if bad is None else [it.field for it in bad.field_violations]


async def failure(call: Awaitable[Any]) -> Failure:
    """Await a call that has to fail, and return how it did."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return Failure.of(error)
    raise AssertionError(f"the call succeeded: {answer}")


async def events(call: Any, count: int | None = None) -> list[pb.ExecEvent]:
    """Read an exec's events: the next `count`, or all that are left."""
    found: list[pb.ExecEvent] = []
    while count is None or len(found) < count:
        response = await call.read()
        if response is grpc.aio.EOF:
            break
        found.append(response.event)
    if count is None:
        # A stream that failed ends like one that did not, until its status is asked for.
        assert await call.code() is grpc.StatusCode.OK, await call.details()
    return found


async def first_output(call: Any) -> pb.ExecEvent:
    """Read an exec's events until the first that is output."""
    while True:
        for event in await events(call, 1):
            if event.HasField("output"):
                return event


@dataclass(frozen=True, slots=True)
class Ran:
    """An exec from its first event to its last."""

    events: list[pb.ExecEvent]

    @property
    def started(self) -> pb.ExecStarted:
        return self.events[0].started

    @property
    def exited(self) -> pb.ExecExited:
        return self.events[-1].exited

    @property
    def stdout(self) -> bytes:
        return self._output(pb.OUTPUT_STREAM_STDOUT)

    @property
    def stderr(self) -> bytes:
        return self._output(pb.OUTPUT_STREAM_STDERR)

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def outcome(self) -> tuple[str, int | None]:
        """The cause's name, and the exit code if there is one."""
        code = self.exited.exit_code if self.exited.HasField("exit_code") else None
        return pb.Cause.Name(self.exited.cause).removeprefix("CAUSE_"), code

    def kinds(self) -> list[str]:
        return [event.WhichOneof("kind") for event in self.events]

    def check(self) -> Ran:
        """Assert what holds for every stream of events, whatever was run."""
        kinds = self.kinds()
        assert kinds[0] == "started"
        assert kinds[-1] == "exited"
        assert kinds.count("started") == kinds.count("exited") == 1
        seqs = [event.seq for event in self.events]
        assert seqs == sorted(set(seqs))
        offsets = {pb.OUTPUT_STREAM_STDOUT: 0, pb.OUTPUT_STREAM_STDERR: 0}
        for event in self.events:
            assert event.HasField("time")
            assert event.HasField("position")
            if event.HasField("output"):
                output = event.output
                assert output.offset == offsets[output.stream]
                assert 1 <= len(output.data) <= 256 * 1024
                offsets[output.stream] += len(output.data)
            elif event.HasField("gap"):
                assert event.gap.offset == offsets[event.gap.stream]
                offsets[event.gap.stream] += event.gap.missing_bytes
        last = self.events[-1].position
        assert last.stdout_offset == offsets[pb.OUTPUT_STREAM_STDOUT]
        assert last.stderr_offset == offsets[pb.OUTPUT_STREAM_STDERR]
        assert self.exited.cause != pb.CAUSE_UNSPECIFIED
        return self

    def _output(self, stream: int) -> bytes:
        return b"".join(
            event.output.data
            for event in self.events
            if event.HasField("output") and event.output.stream == stream
        )


def program(what: str | list[str] | pb.Program) -> pb.Program:
    """Return a Program: of a shell's command line, or of a program and its arguments."""
    if isinstance(what, str):
        return pb.Program(shell_command=what)
    if isinstance(what, list):
        return pb.Program(argv=pb.Argv(args=what))
    return what


def source(language: str, code: str, *args: str) -> pb.Program:
    """Return a Program of source code."""
    return pb.Program(source=pb.SourceCode(language=language, code=code, args=args))


def new_tenant() -> str:
    """Return a tenant that nobody else uses."""
    return f"tenant-{secrets.token_hex(4)}"


@dataclass
class Client:
    """Calls for one tenant.

    Attributes:
        stub: Of SandboxService.
        created: Ids of the sandboxes that it made.
    """

    channel: grpc.aio.Channel
    tenant: str
    stub: sandbox_service_pb2_grpc.SandboxServiceStub
    metadata: tuple[tuple[str, str], ...]
    created: list[str] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def connected(cls, address: str, tenant: str = "") -> AsyncIterator[Client]:
        """Yield a client with a connection of its own."""
        # A pool of its own, so that what one test does to a connection is its own affair.
        options = (*OPTIONS, ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            yield cls.on(channel, tenant or new_tenant())

    @classmethod
    def on(cls, channel: grpc.aio.Channel, tenant: str, **metadata: str) -> Client:
        """Return a client on a channel; `metadata` has `_` where a header has `-`."""
        headers = {"x-miosa-tenant-id": tenant} if tenant else {}
        headers.update({name.replace("_", "-"): value for name, value in metadata.items()})
        stub = sandbox_service_pb2_grpc.SandboxServiceStub(channel)
        return cls(channel, tenant, stub, tuple(headers.items()))

    def other(self, tenant: str = "", **metadata: str) -> Client:
        """Return another tenant's client on the same channel."""
        return Client.on(self.channel, tenant or new_tenant(), **metadata)

    def call(self, method: str, request: Message, **how: Any) -> Any:
        """Call a unary or a server-streaming method."""
        return getattr(self.stub, method)(request, metadata=self.metadata, **how)

    async def create(self, **fields: Any) -> pb.CreateResponse:
        """Create a sandbox that ends with the test."""
        answer = await self.call("Create", pb.CreateRequest(**fields))
        if answer.sandbox.sandbox_id:
            self.created.append(answer.sandbox.sandbox_id)
        return answer

    async def sandbox(self, **fields: Any) -> Box:
        """Create a sandbox to work in."""
        return Box(self, (await self.create(**fields)).sandbox.sandbox_id)

    async def status(self, sandbox_id: str) -> pb.StatusResponse:
        return await self.call("Status", pb.StatusRequest(sandbox_id=sandbox_id))

    async def destroy(self, sandbox_id: str, **fields: Any) -> pb.DestroyResponse:
        return await self.call("Destroy", pb.DestroyRequest(sandbox_id=sandbox_id, **fields))

    async def list(self, **fields: Any) -> pb.ListResponse:
        return await self.call("List", pb.ListRequest(**fields))

    async def destroy_all(self) -> None:
        """End every sandbox that this client made."""
        await asyncio.gather(*(self.destroy(it) for it in set(self.created)))

    async def sync(
        self, parts: Iterable[pb.SyncFilesRequest] | AsyncIterator[pb.SyncFilesRequest]
    ) -> pb.SyncFilesResponse:
        """Send the messages of a SyncFiles stream."""
        return await self.stub.SyncFiles(parts, metadata=self.metadata)


@dataclass(frozen=True, slots=True)
class Box:
    """A sandbox, and a caller who may use it."""

    client: Client
    sandbox_id: str

    def exec(self, what: str | list[str] | pb.Program, **fields: Any) -> Any:
        """Start an exec; returns the call, whose events nobody has read yet."""
        how = {name: fields.pop(name) for name in ("timeout_s",) if name in fields}
        request = pb.ExecRequest(sandbox_id=self.sandbox_id, program=program(what), **fields)
        return self.client.call("Exec", request, timeout=how.get("timeout_s"))

    async def run(self, what: str | list[str] | pb.Program, **fields: Any) -> Ran:
        """Run a program to its end, and check what holds for every stream."""
        call = self.exec(what, **fields)
        return Ran([response.event async for response in call]).check()

    async def having(self, argument: int) -> list[int]:
        """Return the processes in the sandbox that have this number as an argument."""
        # A class of one digit, so that the search does not find itself.
        head, tail = str(argument)[:-1], str(argument)[-1]
        ran = await self.run(f"grep -lzxa '{head}[{tail}]' /proc/[0-9]*/cmdline 2>/dev/null; true")
        return [int(path.split("/")[2]) for path in ran.text.split()]

    async def gone(self, argument: int) -> None:
        """Wait until no process in the sandbox has this number as an argument."""

        async def looked() -> bool:
            return not await self.having(argument)

        await until(looked)


def unlikely() -> int:
    """Return a number of seconds to sleep that nobody else uses: a mark for `Box.having`."""
    return 100_000_000 + secrets.randbelow(800_000_000)
