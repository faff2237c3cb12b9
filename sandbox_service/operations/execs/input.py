"""A program's input: bytes by offset, each written once, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final

from sandbox_service.domain.errors import DrainingError, SandboxError
from sandbox_service.domain.exec_errors import (
    ExecNotRunningError,
    InputClosedError,
    PositionOutOfRangeError,
)
from sandbox_service.domain.execs import ExecSpec
from sandbox_service.domain.processes import Process

_WRITE_BYTES: Final = 64 * 1024
"""How much is written before it counts as written: what a pipe holds."""

_LAST_ANSWER_S: Final = 1.0
"""How long the backend may take to say that it wrote, once the program has ended."""


class ExecInput:
    """What one program reads.

    What a durable program was given is counted in its sandbox, for all who
    write to it; of any other the count is kept here.

    Args:
        process: The program.
        exec_id: For errors to name.
        spec: Whether it has an input, and what comes first.
    """

    def __init__(self, process: Process, exec_id: str, spec: ExecSpec) -> None:
        self._process: Process | None = process
        # Can be asked how much it was given when it has ended, too.
        self._counted = process if process.counts_input else None
        self._exec_id = exec_id
        self._pty = spec.pty is not None
        self._open = spec.stdin_open or self._pty
        self._next = 0
        self._ended_at: int | None = None
        self._let_go = False
        # One writer at a time, in the order of their calls.
        self._turn = asyncio.Lock()
        self._writing: set[asyncio.Task[int]] = set()
        self.begin(spec)

    def begin(self, spec: ExecSpec) -> None:
        """Write what comes first, if that was not done: a request that is repeated brings it."""
        if self._process is not None and spec.stdin is not None and (spec.stdin or not self._open):
            self._task(self._write(self._process, 0, spec.stdin, end=not self._open))

    async def send(self, offset: int, data: bytes, *, end: bool) -> int:
        """Write what of `data` was not written before, then perhaps the end of input.

        What was begun is finished even when the caller leaves, and a repeated
        call waits for it: so no byte is written twice.

        Args:
            offset: How many bytes of input come before `data`.
            end: Whether nothing comes after it; a terminal is typed the end
                of input instead, once at each offset.

        Returns:
            The offset of the next input.

        Raises:
            PositionOutOfRangeError: Bytes before `offset` are missing.
            InputClosedError: There is no input to write to.
            ExecNotRunningError: The program has ended.
        """
        if self._process is None:
            return await self._asked_late(offset, data, end=end)
        if not self._open:
            raise self._closed()
        task = self._task(self._write(self._process, offset, data, end=end))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise self._not_running() from None
            raise

    def close(self) -> None:
        """Note that the program has ended. Whoever still writes is told."""
        self._process = None
        if self._writing:
            # It may have ended because of what it was just sent.
            loop = asyncio.get_running_loop()
            loop.call_later(_LAST_ANSWER_S, self._give_up, tuple(self._writing))

    def let_go(self) -> None:
        """Note that the program goes on, and that another instance will write to it."""
        self._let_go = True
        self._process = None
        self._give_up(tuple(self._writing))

    async def _asked_late(self, offset: int, data: bytes, *, end: bool) -> int:
        """Answer a call that came after the program's end, if an earlier one brought all of it."""
        if self._counted is None or not self._open:
            if self._was_written(offset + len(data), end=end):
                return self._next
            raise self._not_running()
        upto = offset + len(data)
        # Asks alone: a child of the program may still read what nobody should write any more.
        count = await self._counted.put_input(0, b"", end=False)
        if count < upto:
            raise self._not_running()
        if end:
            try:
                await self._counted.put_input(upto, b"", end=True)
            except InputClosedError:
                raise self._not_running() from None
        return count

    def _was_written(self, upto: int, *, end: bool) -> bool:
        """Whether all that a repeated call brings was written by an earlier one."""
        if end:
            return self._ended_at == upto
        return upto <= self._next

    @staticmethod
    def _give_up(writing: tuple[asyncio.Task[int], ...]) -> None:
        for task in writing:
            task.cancel()

    def _task(self, work: Coroutine[None, None, int]) -> asyncio.Task[int]:
        task = asyncio.create_task(work)
        self._writing.add(task)
        task.add_done_callback(self._written)
        return task

    def _written(self, task: asyncio.Task[int]) -> None:
        self._writing.discard(task)
        if not task.cancelled():
            # A program may end, or close its input, without having read it all:
            # of the first input nobody is told, of any other its sender is.
            task.exception()

    async def _write(self, process: Process, offset: int, data: bytes, *, end: bool) -> int:
        async with self._turn:
            if self._counted is not None:
                self._next = await self._put(self._counted, offset, data, end=end)
                return self._next
            if offset > self._next:
                raise self._hole(offset, self._next)
            new = data[self._next - offset :]
            if self._ended_at is not None and not self._pty and new:
                raise self._closed()
            for start in range(0, len(new), _WRITE_BYTES):
                piece = new[start : start + _WRITE_BYTES]
                await process.write_stdin(piece)
                self._next += len(piece)
            if end and offset + len(data) == self._next and self._ended_at != self._next:
                await process.close_stdin()
                self._ended_at = self._next
            return self._next

    async def _put(self, process: Process, offset: int, data: bytes, *, end: bool) -> int:
        try:
            count = await process.put_input(offset, data, end=end)
        except InputClosedError:
            raise (self._closed() if self._process is not None else self._not_running()) from None
        if count < offset:
            raise self._hole(offset, count)
        return count

    def _hole(self, offset: int, count: int) -> SandboxError:
        return PositionOutOfRangeError(
            f"The next input has the offset {count}. Go on there.",
            metadata={
                "exec_id": self._exec_id,
                "field": "offset",
                "requested": str(offset),
                "actual": str(count),
            },
        )

    def _closed(self) -> SandboxError:
        return InputClosedError(
            f"The exec {self._exec_id!r} takes no more input. Start it with the stdin mode STREAM.",
            metadata={"exec_id": self._exec_id},
        )

    def _not_running(self) -> SandboxError:
        if self._let_go:
            return DrainingError("This instance is shutting down, and the exec goes on. Repeat it.")
        return ExecNotRunningError(
            f"The exec {self._exec_id!r} has ended. Read its result with Attach.",
            metadata={"exec_id": self._exec_id},
        )
