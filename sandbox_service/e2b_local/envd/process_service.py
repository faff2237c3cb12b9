"""The `process.Process` service."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Final

from protobuf import Oneof

from sandbox_service.e2b_local.envd.connect import (
    ConnectError,
    end_of_stream,
    envelope,
    read_envelopes,
    stream_head,
    timeout_seconds,
)
from sandbox_service.e2b_local.envd.event_stream import EventStream, answer_ended
from sandbox_service.e2b_local.envd.messages import process_pb
from sandbox_service.e2b_local.envd.paths import resolve, user_of_authorization
from sandbox_service.e2b_local.envd.processes import Process, ProcessTable
from sandbox_service.e2b_local.machine import (
    PtySize,
    SpawnRefusedError,
    SpawnSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandbox_service.e2b_local.envd.connect import Code, Codec
    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.machine import Guest

_SIGKILL: Final = 9
# Of envd's messages.
_DASH: Final = "\u2014"
_TERMINAL_LIMIT: Final = 0xFFFF
_COMMAND_SHOWN: Final = 256
_REFUSALS: Final[dict[str, Code]] = {
    "cwd": "invalid_argument",
    "exec": "invalid_argument",
    "user": "unauthenticated",
    "resources": "resource_exhausted",
}


class ProcessService:
    """Programs of one sandbox.

    Args:
        guest: The sandbox.
        env: Variables of every program in it.
        on_program: Told of each program that was started, if anybody is.
    """

    def __init__(
        self,
        guest: Guest,
        env: Mapping[str, str],
        on_program: Callable[[Process], None] | None = None,
    ) -> None:
        self._guest = guest
        self._env = env
        self._on_program = on_program
        self.table = ProcessTable()

    # Server streams

    async def start(
        self, exchange: Exchange, codec: Codec, request: process_pb.StartRequest
    ) -> None:
        """Start a program and follow it to its end.

        Its time, if the call has a timeout, is counted whether or not the client
        stays; without its client it goes on.
        """
        timeout = timeout_seconds(exchange)
        process = await self._spawn(request, user_of_authorization(_authorization(exchange)))
        stream = EventStream(exchange, codec, process)
        stream.open()
        if timeout is not None:
            process.limit_time(timeout, lambda: self._time_over(process, stream))
        process.begin()
        await stream.done

    async def _spawn(self, request: process_pb.StartRequest, user: str) -> Process:
        config = request.process or process_pb.ProcessConfig()
        if not config.cmd:
            raise ConnectError("invalid_argument", "no command given")
        terminal: PtySize | None = None
        if request.pty is not None:
            terminal = _terminal_size(request.pty)
        spec = SpawnSpec(
            argv=(config.cmd, *config.args),
            env={**self._env, **config.envs},
            cwd=resolve(config.cwd, user),
            user=user,
            stdin=request.stdin if request.has_field("stdin") else True,
            pty=terminal,
        )
        try:
            started = await self._guest.spawn(spec)
        except SpawnRefusedError as refusal:
            command = " ".join(spec.argv)[:_COMMAND_SHOWN]
            message = f"error starting process '{command}': {refusal.message}"
            if refusal.kind == "cwd" and refusal.errno == errno.ENOENT:
                message = f"cwd '{spec.cwd}' does not exist"
            raise ConnectError(_REFUSALS[refusal.kind], message) from None
        tag = request.tag if request.has_field("tag") else None
        process = Process(self._guest, started, config, tag)
        self.table.add(process)
        if self._on_program is not None:
            self._on_program(process)
        return process

    def _time_over(self, process: Process, stream: EventStream) -> None:
        stream.fail(ConnectError("deadline_exceeded", "context deadline exceeded"))
        process.kill_soon(_SIGKILL)

    async def connect(
        self, exchange: Exchange, codec: Codec, request: process_pb.ConnectRequest
    ) -> None:
        """Follow a program from now on; of one that has just ended, tell the end."""
        timeout = timeout_seconds(exchange)
        pid, tag = _selected(request.process)
        process = self._running(pid, tag)
        if process is None:
            ended = self.table.ended(pid, tag)
            if ended is None:
                raise _not_found(pid, tag)
            answer_ended(exchange, codec, ended)
            return
        stream = EventStream(exchange, codec, process)
        stream.open()
        if timeout is not None:
            error = ConnectError("deadline_exceeded", "context deadline exceeded")
            timer = asyncio.get_running_loop().call_later(timeout, stream.fail, error)
            stream.done.add_done_callback(lambda _: timer.cancel())
        await stream.done

    # Unary calls

    async def list(
        self, exchange: Exchange, request: process_pb.ListRequest
    ) -> process_pb.ListResponse:
        """List what runs and was started here."""
        del exchange, request
        return process_pb.ListResponse(
            processes=[
                process_pb.ProcessInfo(config=process.config, pid=process.pid, tag=process.tag)
                for process in self.table
            ]
        )

    async def update(
        self, exchange: Exchange, request: process_pb.UpdateRequest
    ) -> process_pb.UpdateResponse:
        """Set a terminal's size."""
        del exchange
        process = self._selected_process(request.process)
        if request.pty is not None:
            if not process.has_terminal or process.input is None:
                message = "error resizing tty: tty not assigned to process"
                raise ConnectError("internal", message)
            size = _terminal_size(request.pty)
            try:
                process.input.resize(size.cols, size.rows)
            except OSError as error:
                raise ConnectError("internal", f"error resizing tty: {error.strerror}") from None
        return process_pb.UpdateResponse()

    async def send_input(
        self, exchange: Exchange, request: process_pb.SendInputRequest
    ) -> process_pb.SendInputResponse:
        """Write to a program's standard input or terminal."""
        exchange.cancel_when_gone = True
        await _write(self._selected_process(request.process), request.input)
        return process_pb.SendInputResponse()

    async def close_stdin(
        self, exchange: Exchange, request: process_pb.CloseStdinRequest
    ) -> process_pb.CloseStdinResponse:
        """Close a program's standard input."""
        del exchange
        process = self._selected_process(request.process)
        if process.has_terminal:
            reason = f"cannot close stdin for PTY process {_DASH} send Ctrl+D (0x04) instead"
            raise ConnectError("unknown", f"error closing stdin: {reason}")
        if process.input is not None:
            process.input.close()
        return process_pb.CloseStdinResponse()

    async def send_signal(
        self, exchange: Exchange, request: process_pb.SendSignalRequest
    ) -> process_pb.SendSignalResponse:
        """Send SIGKILL or SIGTERM to a program, not to its children."""
        del exchange
        process = self._selected_process(request.process)
        if request.signal not in (process_pb.Signal.SIGKILL, process_pb.Signal.SIGTERM):
            number = int(request.signal)
            name = "SIGNAL_UNSPECIFIED" if number == 0 else str(number)
            raise ConnectError("unimplemented", f"invalid signal: {name}")
        await process.send_signal(int(request.signal))
        return process_pb.SendSignalResponse()

    # The client stream

    async def stream_input(self, exchange: Exchange, codec: Codec) -> None:
        """Write a stream of inputs to one program; answered when the stream has ended."""
        exchange.cancel_when_gone = True
        process: Process | None = None
        async for payload in read_envelopes(exchange):
            message = codec.decode(process_pb.StreamInputRequest, payload)
            match message.event:
                case Oneof(value=process_pb.StreamInputRequest.StartEvent() as start):
                    process = self._selected_process(start.process)
                case Oneof(value=process_pb.StreamInputRequest.DataEvent() as data):
                    if process is None:
                        raise ConnectError("invalid_argument", "the first event is not a start")
                    await _write(process, data.input)
                case Oneof(field="keepalive"):
                    continue
                case _:
                    raise ConnectError("unimplemented", "invalid event type <nil>")
        answer = envelope(codec.encode(process_pb.StreamInputResponse())) + end_of_stream()
        exchange.respond(200, answer, stream_head(codec))

    # Selection

    def _running(self, pid: int | None, tag: str | None) -> Process | None:
        return self.table.by_pid(pid) if pid is not None else self.table.by_tag(tag or "")

    def _selected_process(self, selector: process_pb.ProcessSelector | None) -> Process:
        pid, tag = _selected(selector)
        process = self._running(pid, tag)
        if process is None:
            raise _not_found(pid, tag)
        return process


def _selected(selector: process_pb.ProcessSelector | None) -> tuple[int | None, str | None]:
    match selector.selector if selector is not None else None:
        case Oneof(field="pid", value=int(pid)):
            return pid, None
        case Oneof(field="tag", value=str(tag)):
            return None, tag
    raise ConnectError("unimplemented", "invalid input type *process.ProcessSelector")


def _not_found(pid: int | None, tag: str | None) -> ConnectError:
    name = f"pid {pid}" if pid is not None else f"tag {tag}"
    return ConnectError("not_found", f"process with {name} not found")


def _authorization(exchange: Exchange) -> str | None:
    return exchange.headers.get(b"authorization")


def _terminal_size(pty: process_pb.PTY) -> PtySize:
    size = pty.size or process_pb.PTY.Size()
    if size.cols > _TERMINAL_LIMIT or size.rows > _TERMINAL_LIMIT:
        raise ConnectError("invalid_argument", "terminal size is out of range")
    return PtySize(cols=size.cols, rows=size.rows)


async def _write(process: Process, given: process_pb.ProcessInput | None) -> None:
    match given.input if given is not None else None:
        case Oneof(field="stdin", value=bytes(data)):
            target, misplaced = "stdin", process.has_terminal
            reason = f"tty assigned to process {_DASH} input should be written to the pty"
            reason += ", not the stdin"
        case Oneof(field="pty", value=bytes(data)):
            target, misplaced = "tty", not process.has_terminal
            reason = f"tty not assigned to process {_DASH} input should be written to the stdin"
            reason += ", not the tty"
        case _:
            raise ConnectError("unimplemented", "invalid input type <nil>")
    if misplaced:
        raise ConnectError("internal", f"error writing to {target}: {reason}")
    if process.input is None or process.input.closed:
        message = f"error writing to {target}: {target} not enabled or closed"
        raise ConnectError("internal", message)
    try:
        await process.input.write(data)
    except OSError as error:
        reason = f"error writing to {target} of process '{process.pid}': {error.strerror}"
        raise ConnectError("internal", f"error writing to {target}: {reason}") from None
