"""What the sandbox keeps of an exec's output: read where the journal has it no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, TypeGuard

from sandbox_service.domain.errors import (
    BackendUnavailableError,
    SandboxEndedError,
    SandboxError,
)
from sandbox_service.domain.execs import Gap, GapCause, Output
from sandbox_service.domain.ports import SandboxProvider

_PAUSES_S: Final = (0.0, 0.1, 0.3, 1.0, 3.0)
"""Before each attempt to read since the last byte: connections break, and what is kept stays."""


class Spool:
    """The spooled output of one exec.

    Args:
        provider: Who can read it.
        sandbox_id: Where it is.
        exec_id: Whose.
    """

    def __init__(self, provider: SandboxProvider, sandbox_id: str, exec_id: str) -> None:
        self._provider = provider
        self._sandbox_id = sandbox_id
        self._exec_id = exec_id

    @staticmethod
    def may_fill(frame: Output | Gap) -> TypeGuard[Gap]:
        """Whether a frame is a gap of known size, of output that was read and not kept."""
        return isinstance(frame, Gap) and frame.cause is GapCause.EVICTED and bool(frame.size)

    async def fill(self, gap: Gap) -> AsyncGenerator[Output | Gap, None]:
        """Yield what is missing, and at last the gap that is left, if any.

        Args:
            gap: One that `may_fill`.

        Raises:
            BackendUnavailableError: It cannot be read now. No gap is told, for a reader
                goes on behind one, and what is kept may be there the next time.
        """
        stream, offset, end = gap.stream, gap.offset, gap.offset + (gap.size or 0)
        failures = 0
        while True:
            await asyncio.sleep(_PAUSES_S[failures])
            pieces = self._provider.spooled(
                self._sandbox_id, self._exec_id, stream, offset, end - offset
            )
            try:
                async with aclosing(pieces):
                    async for data in pieces:
                        yield Output(stream, data, offset)
                        offset += len(data)
                        failures = 0
                break
            except SandboxEndedError:
                break
            except SandboxError as error:
                failures += 1
                if failures == len(_PAUSES_S):
                    raise BackendUnavailableError(
                        "The sandbox keeps output that cannot be read now. "
                        "Attach again with the last position."
                    ) from error
        if offset < end:
            yield Gap(stream, offset, end - offset)
