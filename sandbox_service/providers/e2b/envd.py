"""Calls to envd's process service, below the SDK's own handle.

The SDK's handle decodes output as text, with replacement; here it stays bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from sandbox_service.domain.errors import BackendError, BackendUnavailableError, SandboxEndedError
from sandbox_service.domain.exec_errors import TooManyExecsError
from sandbox_service.domain.execs import PtySize, Stream
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

if TYPE_CHECKING:
    from sandbox_service.providers.e2b.connection import Connection

CALL_TIMEOUT_S: Final = 30.0
_KEEPALIVE_S: Final = 50
_INPUT_TIMEOUT_S: Final = 3600.0
_PRINTED_MAX: Final = 16 * 1024 * 1024

Envd = process_pb.StartResponse | process_pb.ConnectResponse
EnvdEvents = AsyncGenerator[Envd, Any]
DataEvent = process_pb.ProcessEvent.DataEvent
EndEvent = process_pb.ProcessEvent.EndEvent
STREAMS: Final = {"stdout": Stream.STDOUT, "stderr": Stream.STDERR, "pty": Stream.PTY}


@dataclass(frozen=True, slots=True)
class Tag:
    """What envd is given to remember of a program, so that any instance finds it.

    Attributes:
        marker: Which all of its processes carry.
        exec_id: Of its exec.
        user: Who runs it.
        instance_address: Where the instance that reads it is reached: host:port.
            Unlike what is kept in the sandbox, no program can change it.
    """

    marker: str
    exec_id: str
    user: str
    instance_address: str = ""

    @classmethod
    def of(cls, text: str | None) -> Tag:
        """Read it again. Parts that are missing are empty."""
        parts = (text or "").split(":", 3)
        return cls(*parts, *[""] * (4 - len(parts)))

    def __str__(self) -> str:
        return f"{self.marker}:{self.exec_id}:{self.user}:{self.instance_address}"


@dataclass(frozen=True, slots=True)
class Listed:
    """A program as envd lists it."""

    pid: int
    tag: Tag
    has_terminal: bool


async def domain_error(error: Exception, connection: Connection) -> BaseException:
    """Translate an error of the process service, asking for the sandbox's health if unclear.

    A cancellation, which the client library wraps, comes back as one.
    """
    mapped = await ahandle_rpc_exception_with_health(error, connection.check_health)
    return translated(mapped) if isinstance(mapped, Exception) else mapped


async def reading_error(error: Exception, connection: Connection) -> BaseException:
    """Translate an error that broke a stream: the sandbox is gone, or contact is lost."""
    known = await domain_error(error, connection)
    if isinstance(known, SandboxEndedError) or not isinstance(known, Exception):
        return known
    return BackendUnavailableError("Contact with the sandbox was lost.")


def payload(event: Envd) -> object:
    """Return what an event tells: a DataEvent, an EndEvent or something else."""
    if event.event is None or event.event.event is None:
        return None
    return event.event.event.value


def open_process(
    connection: Connection,
    config: process_pb.ProcessConfig,
    *,
    user: str,
    stdin: bool = False,
    pty: PtySize | None = None,
    backstop: timedelta | None = None,
    tag: Tag | None = None,
) -> EnvdEvents:
    """Ask envd to start a process; the stream's first event tells that it has."""
    told = None if tag is None else str(tag)
    request = process_pb.StartRequest(process=config, stdin=stdin, tag=told)
    if pty is not None:
        request.pty = _terminal(pty)
    limit = None if backstop is None else backstop.total_seconds()
    return as_stream(
        connection.processes.start(
            request, headers=_headers(connection, user), timeout_ms=timeout_to_ms(limit)
        )
    )


async def started_pid(events: EnvdEvents) -> int:
    """Wait until a process has started. Returns its id in the sandbox."""
    return int(extract_start_pid(await first_event(events, CALL_TIMEOUT_S), "start process"))


async def find(connection: Connection, exec_id: str) -> Listed | None:
    """Find the program of an exec among those that run. None: it is not there.

    Raises:
        SandboxEndedError: The sandbox is gone.
        BackendUnavailableError: No contact.
    """
    try:
        listed = await connection.processes.list(
            process_pb.ListRequest(), timeout_ms=timeout_to_ms(CALL_TIMEOUT_S)
        )
    except Exception as error:
        raise await reading_error(error, connection) from error
    for it in listed.processes:
        tag = Tag.of(it.tag)
        if tag.exec_id == exec_id:
            # Only with a terminal the shell is envd's own child; see `supervisor`.
            piped = it.config is not None and it.config.cmd.endswith("/setsid")
            return Listed(it.pid, tag, has_terminal=not piped)
    return None


async def connect(connection: Connection, pid: int, marker: str) -> EnvdEvents | None:
    """Follow a process that runs, from now on; of one that has just ended, read the end.

    Args:
        connection: To its sandbox.
        pid: Its id.
        marker: Its marker, for the id may be another's by now. Envd itself cannot
            be asked by tag: it has been seen to look at the first process only.

    Returns:
        None when envd no longer knows it.

    Raises:
        SandboxEndedError: The sandbox is gone.
        BackendUnavailableError: No contact.
    """
    events = None
    try:
        listed = await connection.processes.list(
            process_pb.ListRequest(), timeout_ms=timeout_to_ms(CALL_TIMEOUT_S)
        )
        if any(it.pid == pid and Tag.of(it.tag).marker != marker for it in listed.processes):
            return None
        request = process_pb.ConnectRequest(process=_selector(pid))
        events = as_stream(
            connection.processes.connect(request, headers=_headers(connection, ""), timeout_ms=None)
        )
        extract_start_pid(await first_event(events, CALL_TIMEOUT_S), "connect to process")
    except BaseException as error:
        if events is not None:
            await events.aclose()
        if isinstance(error, ConnectError) and error.code is Code.NOT_FOUND:
            return None
        if isinstance(error, Exception):
            raise await reading_error(error, connection) from error
        raise
    return events


async def send_input(connection: Connection, pid: int, data: bytes, *, pty: bool) -> None:
    """Write to a process, waiting for as long as it has no room."""
    stdin: Oneof[Literal["stdin"], bytes] = Oneof("stdin", data)
    terminal: Oneof[Literal["pty"], bytes] = Oneof("pty", data)
    given = process_pb.ProcessInput(input=terminal if pty else stdin)
    request = process_pb.SendInputRequest(process=_selector(pid), input=given)
    await connection.processes.send_input(request, timeout_ms=timeout_to_ms(_INPUT_TIMEOUT_S))


async def close_input(connection: Connection, pid: int) -> None:
    """Close a process's standard input."""
    request = process_pb.CloseStdinRequest(process=_selector(pid))
    await connection.processes.close_stdin(request, timeout_ms=timeout_to_ms(CALL_TIMEOUT_S))


async def resize(connection: Connection, pid: int, size: PtySize) -> None:
    """Change the size of a process's terminal."""
    request = process_pb.UpdateRequest(process=_selector(pid), pty=_terminal(size))
    await connection.processes.update(request, timeout_ms=timeout_to_ms(CALL_TIMEOUT_S))


async def signal_leader(connection: Connection, pid: int, name: Literal["TERM", "KILL"]) -> None:
    """Send a signal to one process. From then on envd waits for nobody who holds its output."""
    number = process_pb.Signal.SIGTERM if name == "TERM" else process_pb.Signal.SIGKILL
    request = process_pb.SendSignalRequest(process=_selector(pid), signal=number)
    await connection.processes.send_signal(request, timeout_ms=timeout_to_ms(CALL_TIMEOUT_S))


async def called(call: Awaitable[None], connection: Connection) -> None:
    """Wait for a call, its errors translated."""
    try:
        await call
    except Exception as error:
        raise await domain_error(error, connection) from error


async def run_bash(
    connection: Connection, arguments: Sequence[str], *, user: str, timeout_s: float
) -> bytes:
    """Run bash in the sandbox, for the service's own sake.

    Returns:
        What it wrote on standard output.

    Raises:
        BackendUnavailableError: It took longer than `timeout_s`.
        TooManyExecsError: The sandbox has no room for another process.
        SandboxError: It could not be run.
    """
    config = process_pb.ProcessConfig(cmd="/bin/bash", args=list(arguments))
    events = open_process(connection, config, user=user)
    printed = bytearray()
    try:
        async with asyncio.timeout(timeout_s) as limit:
            async for event in events:
                match payload(event):
                    case DataEvent(output=Oneof(field="stdout", value=bytes() as text)):
                        printed += text
                        if len(printed) > _PRINTED_MAX:
                            raise BackendError("A command of the service wrote too much.")
                    case EndEvent():
                        return bytes(printed)
                    case _:
                        continue
    except BackendError:
        raise
    except Exception as error:
        # The client library turns a cancellation into an error of its own.
        if limit.expired():
            raise BackendUnavailableError("A command in the sandbox took too long.") from error
        if isinstance(error, ConnectError) and error.code is Code.RESOURCE_EXHAUSTED:
            raise TooManyExecsError("The sandbox has as many processes as it may.") from error
        raise await domain_error(error, connection) from error
    finally:
        await events.aclose()
    raise BackendUnavailableError("The backend ended the stream early.")


def _headers(connection: Connection, user: str) -> dict[str, str]:
    version = connection.sandbox._envd_version  # Decides the header's form.
    return {
        **authentication_header(version, user or None),
        "Keepalive-Ping-Interval": str(_KEEPALIVE_S),
    }


def _selector(pid: int) -> process_pb.ProcessSelector:
    chosen: Oneof[Literal["pid"], int] = Oneof("pid", pid)
    return process_pb.ProcessSelector(selector=chosen)


def _terminal(size: PtySize) -> process_pb.PTY:
    return process_pb.PTY(size=process_pb.PTY.Size(cols=size.cols, rows=size.rows))
