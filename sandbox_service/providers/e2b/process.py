"""A program in a sandbox, read below the SDK's own handle.

The SDK's handle decodes output as text, with replacement; here it stays bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from datetime import timedelta
from typing import Any, Final, Literal

import structlog

from sandbox_service.domain.errors import (
    BackendUnavailableError,
    DirectoryNotFoundError,
    InvalidRequestError,
    TooManyExecsError,
    UserNotFoundError,
)
from sandbox_service.domain.execs import Stream
from sandbox_service.domain.ports import ProcessEnd, ProcessOutput, ProcessSpec
from sandbox_service.providers.e2b import supervisor
from sandbox_service.providers.e2b.connections import Connection
from sandbox_service.providers.e2b.errors import translated
from sandbox_service.providers.e2b.sdk import (
    Code,
    ConnectError,
    Oneof,
    ahandle_rpc_exception_with_health,
    as_stream,
    authentication_header,
    extract_start_pid,
    first_event,
    process_pb,
    timeout_to_ms,
)
from sandbox_service.providers.e2b.signals import signal_name

_log = structlog.get_logger(__name__)

_START_TIMEOUT_S: Final = 30.0
_KILLER_TIMEOUT_S: Final = 20.0
_INPUT_TIMEOUT_S: Final = 3600.0
_STDIN_CHUNK_BYTES: Final = 256 * 1024
_KEEPALIVE_S: Final = 50

_END_WAIT_S: Final = 0.05
"""How long the backend's own end event is waited for after both trailers.

It came 0.2 ms after them in the middle and 5 ms at the most, and it alone
carries the true wait status. When it does not come, somebody holds the pipes.
"""

DataEvent = process_pb.ProcessEvent.DataEvent
EndEvent = process_pb.ProcessEvent.EndEvent
_STREAMS: Final = {"stdout": Stream.STDOUT, "stderr": Stream.STDERR, "pty": Stream.PTY}


async def _domain_error(error: Exception, connection: Connection) -> BaseException:
    """Translate an error of the process service, asking for the sandbox's health if unclear.

    A cancellation, which the client library wraps, comes back as one.
    """
    mapped = await ahandle_rpc_exception_with_health(error, connection.check_health)
    return translated(mapped) if isinstance(mapped, Exception) else mapped


def _start_error(error: Exception, spec: ProcessSpec) -> Exception | None:
    """Return what is wrong with the request itself, if that is why it did not start."""
    if not isinstance(error, ConnectError):
        return None
    if error.code is Code.RESOURCE_EXHAUSTED:
        return TooManyExecsError(
            "The sandbox has as many processes as it may. End some of them, or the sandbox.",
            metadata={"scope": "processes"},
        )
    if error.code is Code.INVALID_ARGUMENT and "cwd" in error.message:
        return DirectoryNotFoundError(
            f"The sandbox has no folder {spec.cwd!r} to run in.", metadata={"cwd": spec.cwd}
        )
    if error.code is Code.INVALID_ARGUMENT:
        return InvalidRequestError.of("program", "the sandbox cannot start it")
    if error.code is Code.UNAUTHENTICATED and "username" in error.message:
        return UserNotFoundError(
            f"The sandbox has no user {spec.user!r}.", metadata={"user": spec.user}
        )
    return None


class E2BProcess:
    """A program that runs in a sandbox. Implements `domain.ports.Process`."""

    def __init__(
        self,
        connection: Connection,
        events: AsyncGenerator[process_pb.StartResponse, Any],
        pid: int,
        spec: ProcessSpec,
        nonce: bytes,
    ) -> None:
        self._connection = connection
        self._events = events
        self._pid = pid
        self._spec = spec
        self._scanners = {
            Stream.STDOUT: supervisor.TrailerScanner(nonce),
            Stream.STDERR: supervisor.TrailerScanner(nonce),
        }

    @classmethod
    async def start(cls, connection: Connection, spec: ProcessSpec) -> E2BProcess:
        """Start a program under the supervisor; see `SandboxProvider.start`."""
        nonce = supervisor.new_nonce()
        cmd, args, env = supervisor.command_line(spec, nonce)
        config = process_pb.ProcessConfig(
            cmd=cmd,
            args=args,
            envs={**env, supervisor.MARKER: spec.marker},
            cwd=spec.cwd or None,
        )
        events = _open(connection, config, user=spec.user, stdin=spec.stdin, backstop=spec.backstop)
        try:
            pid = extract_start_pid(await first_event(events, _START_TIMEOUT_S), "start process")
        except Exception as error:
            await events.aclose()
            raise _start_error(error, spec) or await _domain_error(error, connection) from error
        return cls(connection, events, pid, spec, nonce)

    @property
    def pid(self) -> int:
        """See `domain.ports.Process`."""
        return self._pid

    async def events(self) -> AsyncIterator[ProcessOutput | ProcessEnd]:
        """See `domain.ports.Process`."""
        trailers_at: float | None = None
        while True:
            try:
                event = await self._next(trailers_at)
            except StopAsyncIteration:
                raise BackendUnavailableError("The backend ended the stream early.") from None
            if event is None:
                yield ProcessEnd(
                    exit_code=self._scanners[Stream.STDOUT].code,
                    signal="",
                    output_still_open=True,
                    drain_s=_END_WAIT_S,
                )
                return
            match _payload(event):
                case DataEvent() as data if data.output is not None:
                    stream = _STREAMS[data.output.field]
                    visible = self._visible(stream, data.output.value)
                    if visible:
                        yield ProcessOutput(stream, visible)
                    if trailers_at is None and self._trailers_seen():
                        trailers_at = time.monotonic()
                case EndEvent() as end:
                    for stream, scanner in self._scanners.items():
                        rest = scanner.rest()
                        if rest:
                            yield ProcessOutput(stream, rest)
                    waited = 0.0 if trailers_at is None else time.monotonic() - trailers_at
                    name = "" if end.exited else signal_name(end.status)
                    yield ProcessEnd(None if name else end.exit_code, name, drain_s=waited)
                    return
                case _:
                    continue

    async def write_stdin(self, data: bytes) -> None:
        """See `domain.ports.Process`."""
        for start in range(0, len(data), _STDIN_CHUNK_BYTES):
            chunk = data[start : start + _STDIN_CHUNK_BYTES]
            stdin: Oneof[Literal["stdin"], bytes] = Oneof("stdin", chunk)
            request = process_pb.SendInputRequest(
                process=self._selector(),
                input=process_pb.ProcessInput(input=stdin),
            )
            await self._call(
                self._connection.processes.send_input(
                    request, timeout_ms=timeout_to_ms(_INPUT_TIMEOUT_S)
                )
            )

    async def close_stdin(self) -> None:
        """See `domain.ports.Process`."""
        request = process_pb.CloseStdinRequest(process=self._selector())
        await self._call(
            self._connection.processes.close_stdin(
                request, timeout_ms=timeout_to_ms(_START_TIMEOUT_S)
            )
        )

    async def kill(self, grace: timedelta) -> Sequence[int]:
        """See `domain.ports.Process`."""
        grace_ms = round(grace.total_seconds() * 1000)
        killer = ProcessKiller(self._connection, self._spec.user)
        try:
            async with self._connection.killers:
                return await killer.kill_tree(self._pid, self._spec.marker, grace_ms)
        except (BackendUnavailableError, TooManyExecsError):
            # A sandbox that cannot fork any more still takes a signal to the leader.
            _log.warning("exec.only_leader_killed", pid=self._pid)
            request = process_pb.SendSignalRequest(
                process=self._selector(), signal=process_pb.Signal.SIGKILL
            )
            await self._call(
                self._connection.processes.send_signal(
                    request, timeout_ms=timeout_to_ms(_START_TIMEOUT_S)
                )
            )
            return [self._pid]

    async def aclose(self) -> None:
        """See `domain.ports.Process`."""
        await self._events.aclose()

    def _visible(self, stream: Stream, data: bytes) -> bytes:
        scanner = self._scanners.get(stream)
        return data if scanner is None else scanner.feed(data)

    def _trailers_seen(self) -> bool:
        return all(scanner.code is not None for scanner in self._scanners.values())

    async def _next(self, trailers_at: float | None) -> process_pb.StartResponse | None:
        """Return the backend's next event; None when none came in time after both trailers."""
        try:
            if trailers_at is None:
                return await self._events.__anext__()
            left = trailers_at + _END_WAIT_S - time.monotonic()
            async with asyncio.timeout(max(left, 0)) as limit:
                return await self._events.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as error:
            # The client library turns a cancellation into an error of its own.
            if trailers_at is not None and limit.expired():
                return None
            raise await _domain_error(error, self._connection) from error

    def _selector(self) -> process_pb.ProcessSelector:
        pid: Oneof[Literal["pid"], int] = Oneof("pid", self._pid)
        return process_pb.ProcessSelector(selector=pid)

    async def _call(self, call: Awaitable[object]) -> None:
        try:
            await call
        except Exception as error:
            raise await _domain_error(error, self._connection) from error


class ProcessKiller:
    """Ends all processes of an exec, from a shell of its own in the sandbox."""

    def __init__(self, connection: Connection, user: str) -> None:
        self._connection = connection
        self._user = user

    async def kill_tree(self, pid: int, marker: str, grace_ms: int) -> list[int]:
        """Send TERM, and KILL after the grace. Returns the processes that are left."""
        args = supervisor.kill_tree_arguments(pid, marker, grace_ms)
        config = process_pb.ProcessConfig(cmd="/bin/bash", args=args)
        events = _open(self._connection, config, user=self._user, stdin=False, backstop=None)
        printed = b""
        try:
            async with asyncio.timeout(_KILLER_TIMEOUT_S + grace_ms / 1000) as limit:
                async for event in events:
                    match _payload(event):
                        case DataEvent(output=Oneof(field="stdout", value=bytes() as text)):
                            printed += text
                        case EndEvent():
                            break
                        case _:
                            continue
        except Exception as error:
            # The client library turns a cancellation into an error of its own.
            if limit.expired():
                raise BackendUnavailableError("The killer took too long.") from error
            raise await _domain_error(error, self._connection) from error
        finally:
            await events.aclose()
        told, done, _ = printed.partition(b"\n")
        if not done:
            raise BackendUnavailableError("The sandbox could not run the killer.")
        return [int(pid) for pid in told.split()]


def _payload(event: process_pb.StartResponse) -> object:
    """Return what the event tells: a DataEvent, an EndEvent or something else."""
    if event.event is None or event.event.event is None:
        return None
    return event.event.event.value


def _open(
    connection: Connection,
    config: process_pb.ProcessConfig,
    *,
    user: str,
    stdin: bool,
    backstop: timedelta | None,
) -> AsyncGenerator[process_pb.StartResponse, Any]:
    """Ask the backend to start a process; the stream's first event tells that it has."""
    version = connection.sandbox._envd_version  # Decides the header's form.
    headers = {
        **authentication_header(version, user or None),
        "Keepalive-Ping-Interval": str(_KEEPALIVE_S),
    }
    limit = None if backstop is None else backstop.total_seconds()
    request = process_pb.StartRequest(process=config, stdin=stdin)
    return as_stream(
        connection.processes.start(request, headers=headers, timeout_ms=timeout_to_ms(limit))
    )
