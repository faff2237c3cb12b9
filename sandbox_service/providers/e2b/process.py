"""A program in a sandbox: read, written to, signalled, and found again when contact was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

import structlog

from sandbox_service.domain.errors import (
    BackendError,
    BackendUnavailableError,
    DiskFullError,
    SandboxError,
)
from sandbox_service.domain.exec_errors import (
    ExecIdReusedError,
    ExecLostError,
)
from sandbox_service.domain.execs import Position, ProcessUsage, Stream
from sandbox_service.domain.processes import (
    FoundExec,
    ProcessEnd,
    ProcessEvent,
    ProcessGap,
    ProcessOutput,
    ProcessSpec,
)
from sandbox_service.providers.e2b import envd, kept, supervisor
from sandbox_service.providers.e2b.connection import Connection
from sandbox_service.providers.e2b.errors import start_error
from sandbox_service.providers.e2b.handle import E2BProcessHandle
from sandbox_service.providers.e2b.sdk import process_pb
from sandbox_service.providers.e2b.signals import signal_name
from sandbox_service.providers.e2b.spooled import SpooledOutput
from sandbox_service.providers.e2b.trailers import TrailerScanner

_log = structlog.get_logger(__name__)

_END_WAIT_S: Final = 0.05
"""How long the backend's own end event is waited for after both trailers.

It came 0.2 ms after them in the middle and 5 ms at the most, and it alone
carries the true wait status. When it does not come, somebody holds the pipes.
"""

_TELL_DEAD: Final = 'read -r it <"/proc/$1/stat" && [[ ${it##*) } != Z* ]] || echo dead'
_TELL_DEAD_TIMEOUT_S: Final = 10.0

_Item = envd.Envd | ProcessOutput | ProcessGap | envd.EndEvent
_OWN: Final = (ProcessOutput, ProcessGap, envd.EndEvent)
_Items = AsyncGenerator[_Item, None]


class E2BProcess(E2BProcessHandle):
    """A program that runs in a sandbox. Implements `domain.processes.Process`.

    Args:
        connection: To its sandbox.
        pid: Of its leader.
        marker: Which all of its processes carry.
        user: Who runs it.
        scanners: One for each of its streams.
        exec_id: Under which its output is spooled. Empty: it is not.
    """

    def __init__(
        self,
        connection: Connection,
        pid: int,
        marker: str,
        user: str,
        scanners: dict[Stream, TrailerScanner],
        exec_id: str = "",
    ) -> None:
        terminal = Stream.PTY in scanners
        super().__init__(connection, pid, marker, user, has_terminal=terminal, spooled_as=exec_id)
        self._scanners = scanners
        self._exec_id = exec_id
        self._found: FoundExec | None = None
        self._items: _Items | envd.EnvdEvents | None = None
        # Whether the backend will tell of the end.
        self._live = True
        self._first: list[ProcessEvent] = []

    @classmethod
    async def start(cls, connection: Connection, spec: ProcessSpec) -> E2BProcess:
        """Start a program under the supervisor; see `SandboxProvider.start`."""
        nonce = supervisor.new_nonce()
        cmd, args, env = supervisor.command_line(spec, nonce)
        config = process_pb.ProcessConfig(cmd=cmd, args=args, envs=env, cwd=spec.cwd or None)
        durable = spec.durable
        spooled = durable is not None and durable.spool_limit_bytes > 0
        first, *others = (Stream.PTY,) if spec.pty is not None else (Stream.STDOUT, Stream.STDERR)
        scanners = {first: TrailerScanner(nonce, opening=durable is not None, spooled=spooled)}
        for stream in others:
            scanners[stream] = TrailerScanner(nonce, opening=spooled, spooled=spooled)
        events = envd.open_process(
            connection,
            config,
            user=spec.user,
            stdin=spec.stdin,
            pty=spec.pty,
            backstop=spec.backstop,
            tag=envd.Tag(spec.marker, spec.exec_id, spec.user, spec.instance_address),
        )
        try:
            pid = await envd.started_pid(events)
            exec_id = durable.exec_id if durable is not None and spooled else ""
            process = cls(connection, pid, spec.marker, spec.user, scanners, exec_id)
            process._items = events
            if durable is not None:
                await process._await_opening(scanners[first], durable.exec_id)
        except SandboxError:
            await events.aclose()
            raise
        except Exception as error:
            await events.aclose()
            raise start_error(error, spec) or await envd.domain_error(error, connection) from error
        return process

    @classmethod
    async def adopt(
        cls, connection: Connection, found: FoundExec, position: Position
    ) -> E2BProcess:
        """Go on with a spooled exec; see `SandboxProvider.adopt`."""
        known = kept.Kept.of(found)
        scanners = {it: TrailerScanner(known.nonce) for it in (Stream.STDOUT, Stream.STDERR)}
        process = cls(connection, found.pid, known.marker, known.user, scanners, found.exec_id)
        await process._resume_spooled(found, position)
        return process

    async def events(self) -> AsyncIterator[ProcessEvent]:
        """See `domain.processes.Process`."""
        while self._first:
            yield self._first.pop(0)
        trailers_at: float | None = None
        while True:
            if trailers_at is None and self._live and self._whole():
                trailers_at = time.monotonic()
            try:
                item = await self._next(trailers_at)
            except StopAsyncIteration:
                end = await self._end_by_record()
                for rest in self._rests():
                    yield rest
                yield end
                return
            match item:
                case None:
                    yield self._end_by_trailer()
                    return
                case envd.DataEvent() as data if data.output is not None:
                    stream, written = envd.STREAMS[data.output.field], data.output.value
                case ProcessOutput(stream, written):
                    pass
                case ProcessGap(stream):
                    self._scanners[stream].lose()
                    yield item
                    continue
                case envd.EndEvent():
                    for rest in self._rests():
                        yield rest
                    waited = 0.0 if trailers_at is None else time.monotonic() - trailers_at
                    yield self._end(item, waited)
                    return
                case _:
                    continue
            if visible := self._scanners[stream].feed(written):
                yield ProcessOutput(stream, visible)

    async def reconnect(self, position: Position) -> None:
        """See `domain.processes.Process`."""
        await self.aclose()
        if self._exec_id:
            found = await self._record()
            if found is None:
                raise ExecLostError("The sandbox no longer knows the exec.")
            await self._resume_spooled(found, position)
            return
        self._items = await envd.connect(self._connection, self._pid, self._marker)
        if self._items is None:
            raise ExecLostError("The program ended while the backend could not be reached.")
        self._first = [ProcessGap(stream) for stream in self._scanners]
        for scanner in self._scanners.values():
            scanner.lose()
        await self._release_if_dead()

    def usage(self) -> ProcessUsage | None:
        """See `domain.processes.Process`."""
        for scanner in self._scanners.values():
            if scanner.trailer is not None:
                return ProcessUsage(cpu_time=scanner.trailer.cpu_time)
        return None if self._found is None else self._found.usage

    async def aclose(self) -> None:
        """See `domain.processes.Process`."""
        if self._items is not None:
            await self._items.aclose()

    def _whole(self) -> bool:
        """Whether everything that was written before the program's end has been read."""
        # A list, though a generator reads better: this is asked for each piece of output.
        return None not in [it.trailer for it in self._scanners.values()]

    def _rests(self) -> Sequence[ProcessOutput]:
        rests = [(stream, scanner.rest()) for stream, scanner in self._scanners.items()]
        return [ProcessOutput(stream, rest) for stream, rest in rests if rest]

    def _end(self, end: envd.EndEvent, waited_s: float) -> ProcessEnd:
        name = "" if end.exited else signal_name(end.status)
        if name:
            return ProcessEnd(None, name, drain_s=waited_s)
        trailers = [it.trailer for it in self._scanners.values() if it.trailer is not None]
        oom = any(it.oom and it.code == end.exit_code for it in trailers)
        return ProcessEnd(end.exit_code, "", drain_s=waited_s, oom=oom)

    def _end_by_trailer(self) -> ProcessEnd:
        """Say how it ended while another process keeps the backend from saying it."""
        trailer = next(it.trailer for it in self._scanners.values())
        if trailer is None:
            raise RuntimeError("an end without a trailer")
        return ProcessEnd(
            trailer.code, "", output_still_open=True, drain_s=_END_WAIT_S, oom=trailer.oom
        )

    async def _end_by_record(self) -> ProcessEnd:
        """Say how it ended when the backend does not: by what the sandbox keeps."""
        if self._found is None or self._live:
            raise BackendUnavailableError("The backend ended the stream early.")
        if self._found.end is None:
            self._found = await self._record() or self._found
        if self._found.end is None:
            raise ExecLostError("The program has ended, and nobody knows how.")
        return self._found.end

    async def _next(self, trailers_at: float | None) -> object:
        """Return what comes next; None when no end came in time after all trailers."""
        if self._items is None:
            raise RuntimeError("a process without events")
        try:
            if trailers_at is None:
                item = await self._items.__anext__()
            else:
                left = trailers_at + _END_WAIT_S - time.monotonic()
                async with asyncio.timeout(max(left, 0)) as limit:
                    item = await self._items.__anext__()
        except (StopAsyncIteration, SandboxError):
            raise
        except Exception as error:
            # The client library turns a cancellation into an error of its own.
            if trailers_at is not None and limit.expired():
                return None
            raise await envd.reading_error(error, self._connection) from error
        return item if isinstance(item, _OWN) else envd.payload(item)

    async def _await_opening(self, scanner: TrailerScanner, exec_id: str) -> None:
        """Wait until the supervisor has said whether the program may run."""
        while scanner.opening is None:
            async with asyncio.timeout(envd.CALL_TIMEOUT_S):
                item = await self._next(None)
            match item:
                case envd.DataEvent() as data if data.output is not None:
                    stream = envd.STREAMS[data.output.field]
                    if visible := self._scanners[stream].feed(data.output.value):
                        self._first.append(ProcessOutput(stream, visible))
                case envd.EndEvent():
                    raise BackendError("The sandbox's shell ended before the program began.")
                case _:
                    continue
        if scanner.opening == b"taken":
            raise ExecIdReusedError(
                f"The sandbox has an exec {exec_id!r} already, and none is run twice.",
                metadata={"exec_id": exec_id},
            )
        if scanner.opening != b"ok":
            raise DiskFullError("The sandbox has no room to keep an exec in.")

    async def _record(self) -> FoundExec | None:
        found = await kept.find(self._connection, self._exec_id, self._user)
        return next((it for it in found if it.handle["marker"] == self._marker), None)

    async def _resume_spooled(self, found: FoundExec, position: Position) -> None:
        """Go on behind a position, by the spool and what the backend still knows."""
        self._found = found
        live = None
        if found.end is None and not found.restarted:
            live = await envd.connect(self._connection, self._pid, self._marker)
        self._live = live is not None
        position = Position(
            position.stdout_offset + self._scanners[Stream.STDOUT].resume(),
            position.stderr_offset + self._scanners[Stream.STDERR].resume(),
        )
        output = SpooledOutput(self._connection, found, position, live, self._whole)
        self._items = output.items()

    async def _release_if_dead(self) -> None:
        """Get the end of a program whose trailers may have been missed.

        A child that holds its output open would keep the backend from telling
        it. After a signal, which no longer reaches anybody, it waits for none.
        """
        arguments = ["-c", _TELL_DEAD, "/bin/bash", str(self._pid)]
        try:
            told = await envd.run_bash(
                self._connection, arguments, user=self._user, timeout_s=_TELL_DEAD_TIMEOUT_S
            )
            if told.strip() == b"dead":
                await self._signal_leader("TERM")
        except SandboxError:
            # Then its end is told when its children have ended.
            return
