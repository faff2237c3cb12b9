"""Execs whose output another instance holds, acted on from here all the same."""

from __future__ import annotations

from sandbox_service.domain.errors import SandboxError
from sandbox_service.domain.exec_errors import ExecOnOtherInstanceError, NotATerminalError
from sandbox_service.domain.execs import PtySize
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.processes import ProcessHandle


class ExecElsewhere:
    """A program that runs and that another instance reads, or nobody any more.

    Args:
        process: The program.
        exec_id: Its exec's.
        unread: Why it cannot be read here.
    """

    def __init__(self, process: ProcessHandle, exec_id: str, unread: SandboxError) -> None:
        self._process = process
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
        return cls(process, exec_id, unread)

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

    def no_input(self) -> SandboxError:
        """Return why it is given no input from here.

        How much it has been given is only known where it is read; without that,
        a repeated call could write the same bytes twice.
        """
        if isinstance(self._unread, ExecOnOtherInstanceError):
            return self._unread
        return ExecOnOtherInstanceError(
            f"Another instance keeps count of what the exec {self._exec_id!r} has been given, "
            "and takes its input.",
            metadata={"exec_id": self._exec_id},
        )
