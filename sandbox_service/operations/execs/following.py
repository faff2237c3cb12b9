"""An exec's events as one reader gets them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from sandbox_service.domain.errors import DrainingError
from sandbox_service.domain.execs import (
    ExecEvent,
    Gap,
    Heartbeat,
    Output,
    Position,
    Positioned,
    Stream,
)
from sandbox_service.domain.ports import Clock
from sandbox_service.operations.execs.running import RunningExec
from sandbox_service.operations.execs.spool import Spool

_SEQ_BITS: Final = 16
"""A place in the output has room for so many bits of events that move nothing."""


async def follow(
    running: RunningExec,
    clock: Clock,
    *,
    position: Position | None = None,
    heartbeat_interval: timedelta | None = None,
    reused: bool,
) -> AsyncGenerator[Positioned, None]:
    """Read an exec along: `Started`, what is written, and last `Exited`.

    Closing the generator means that this reader leaves.

    Args:
        running: The exec; it may have ended.
        clock: Tells when things were seen.
        position: Where to begin. None: with the oldest output that is kept.
        heartbeat_interval: The longest silence. None: the exec's own.
        reused: Whether another call has started it.

    Raises:
        PositionOutOfRangeError: The output has not come that far.
        DrainingError: This instance shuts down and the exec goes on.
        BackendUnavailableError: Output that only the sandbox still has cannot be read now.
    """
    reader = running.readers.enter(position)
    try:
        interval = heartbeat_interval or running.started.heartbeat_interval
        idle_s = interval.total_seconds()
        started = running.started
        if reused or interval != started.heartbeat_interval:
            started = replace(started, reused=reused, heartbeat_interval=interval)
        place = _Place(position or Position())
        yield place.after(started, started.start_time)
        while (frames := await reader.frames(idle_s)) is not None:
            if reader.dismissed:
                raise DrainingError(
                    "This instance is shutting down. Attach again with the last position."
                )
            now = clock.now()
            for frame in frames:
                if running.spool is None or not Spool.may_fill(frame):
                    yield place.after(frame, now)
                    continue
                async with aclosing(running.spool.fill(frame)) as found:
                    async for it in found:
                        reader.given(it)
                        yield place.after(it, clock.now())
            if not frames:
                yield place.after(Heartbeat(running.disconnect_time), now)
        exited = await running.wait()
        counts = {stream: reader.count(stream, it) for stream, it in exited.counts.items()}
        yield place.after(replace(exited, counts=counts), exited.end_time)
    finally:
        running.readers.leave(reader)


class _Place:
    """Where a reader is, event by event."""

    def __init__(self, position: Position) -> None:
        self._position = position
        self._seq = -1

    def after(self, event: ExecEvent, time: datetime) -> Positioned:
        """Return an event with the place after it."""
        match event:
            case Output(stream=stream, data=data, offset=offset):
                self._move(stream, offset + len(data))
            case Gap(stream=stream, offset=offset, size=size):
                self._move(stream, offset + (size or 0))
            case _:
                pass
        at = self._position
        self._seq = max(self._seq + 1, (at.stdout_offset + at.stderr_offset) << _SEQ_BITS)
        return Positioned(event, at, time, self._seq)

    def _move(self, stream: Stream, to: int) -> None:
        if stream is Stream.STDERR:
            self._position = replace(self._position, stderr_offset=to)
        else:
            self._position = replace(self._position, stdout_offset=to)
