"""Execs whose output another instance holds, acted on from here all the same."""

from __future__ import annotations

from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.exec_errors import (
    ExecLostError,
    ExecOnOtherInstanceError,
    NotATerminalError,
)
from sandbox_service.domain.execs import PtySize
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.ports import Peers, SandboxProvider
from sandbox_service.domain.processes import ProcessHandle


class ExecElsewhere:
    """A program that runs and that another instance reads, or nobody any more.

    Args:
        process: The program.
        sandbox_id: Where it runs.
        exec_id: Its exec's.
        unread: Why it cannot be read here.
    """

    def __init__(
        self, process: ProcessHandle, sandbox_id: str, exec_id: str, unread: SandboxError
    ) -> None:
        self._process = process
        self._sandbox_id = sandbox_id
        self._exec_id = exec_id
        self._unread = unread

    @classmethod
    async def reach(
        cls, provider: SandboxProvider, sandbox_id: str, exec_id: str, unread: SandboxError
    ) -> ExecElsewhere:
        """Find the program in its sandbox; raises `unread` when it does not run."""
        process = await provider.reach(sandbox_id, exec_id)
        if process is None:
            raise unread
        return cls(process, sandbox_id, exec_id, unread)

    async def signal(self, name: str) -> bool:
        """Send a signal to all of its processes. Returns False when it has ended."""
        return await self._process.signal(name)

    async def resize(self, size: PtySize) -> None:
        """Change the size of its terminal; who reads it goes on being told the size at its start.

        Raises:
            NotATerminalError: It has none.
        """
        if not self._process.has_terminal:
            raise NotATerminalError(
                f"The exec {self._exec_id!r} has no terminal. Start it with one.",
                metadata={"exec_id": self._exec_id},
            )
        await self._process.resize(size)

    async def send_input(
        self,
        peers: Peers | None,
        caller: Caller,
        here: str,
        offset: int,
        data: bytes,
        *,
        end: bool,
    ) -> int:
        """Let the instance that reads it write to its input. Returns the next offset.

        How much it has been given is only known there; without that, a repeated
        call could write the same bytes twice.

        Args:
            peers: The other instances. None: they cannot be called.
            caller: For whom.
            here: Where this instance is reached. Empty: nowhere.

        Raises:
            ExecOnOtherInstanceError: That instance does not answer from here.
            ExecLostError: It was one that had this one's place before.
            SandboxError: What it answered; see `ExecInput.send`.
        """
        owner = self._process.instance_address
        if owner and owner == here and isinstance(self._unread, ExecLostError):
            raise self._unread
        if peers is not None and owner not in ("", here) and not caller.forwarded:
            next_offset = await peers.send_input(
                owner, caller, self._sandbox_id, self._exec_id, offset, data, end=end
            )
            if next_offset is not None:
                return next_offset
        raise ExecOnOtherInstanceError(
            f"Another instance keeps count of what the exec {self._exec_id!r} has been given, "
            "and does not answer this one. Send it there.",
            metadata={"exec_id": self._exec_id, **({"instance": owner} if owner else {})},
        )
