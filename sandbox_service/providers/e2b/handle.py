"""A program in a sandbox as whoever acts on it sees it: written to, signalled, sized, ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

import structlog

from sandbox_service.domain.errors import BackendUnavailableError
from sandbox_service.domain.exec_errors import InputClosedError, TooManyExecsError
from sandbox_service.domain.execs import PtySize
from sandbox_service.providers.e2b import envd
from sandbox_service.providers.e2b.counted_input import put_input
from sandbox_service.providers.e2b.killing import killer_of
from sandbox_service.providers.e2b.sdk import Code, ConnectError

if TYPE_CHECKING:
    from sandbox_service.providers.e2b.connection import Connection

_log = structlog.get_logger(__name__)

_STDIN_CHUNK_BYTES: Final = 256 * 1024
_END_OF_INPUT: Final = b"\x04"


class E2BProcessHandle:
    """A program that runs in a sandbox. Implements `domain.processes.ProcessHandle`.

    Args:
        connection: To its sandbox.
        pid: Of its leader.
        marker: Which all of its processes carry.
        user: Who runs it.
        has_terminal: Whether it has one; else it has pipes.
        spooled_as: The id of its exec, if that is spooled: then its input is counted.
        instance_address: Where the instance that reads it is. Empty: not known.
    """

    def __init__(
        self,
        connection: Connection,
        pid: int,
        marker: str,
        user: str,
        *,
        has_terminal: bool,
        spooled_as: str = "",
        instance_address: str = "",
    ) -> None:
        self._connection = connection
        self._pid = pid
        self._marker = marker
        self._user = user
        self._has_terminal = has_terminal
        self._spooled_as = spooled_as
        self._instance_address = instance_address

    @classmethod
    async def reach(cls, connection: Connection, exec_id: str) -> E2BProcessHandle | None:
        """Find the program of an exec that somebody else reads; see `SandboxProvider.reach`."""
        found = await envd.find(connection, exec_id)
        if found is None:
            return None
        tag = found.tag
        return cls(
            connection,
            found.pid,
            tag.marker,
            tag.user,
            has_terminal=found.has_terminal,
            instance_address=tag.instance_address,
        )

    @property
    def pid(self) -> int:
        """See `domain.processes.ProcessHandle`."""
        return self._pid

    @property
    def has_terminal(self) -> bool:
        """See `domain.processes.ProcessHandle`."""
        return self._has_terminal

    @property
    def instance_address(self) -> str:
        """See `domain.processes.ProcessHandle`."""
        return self._instance_address

    @property
    def counts_input(self) -> bool:
        """See `domain.processes.Process`."""
        return self._spooled_as != ""

    async def put_input(self, offset: int, data: bytes, *, end: bool) -> int:
        """See `domain.processes.Process`."""
        return await put_input(
            self._connection, self._spooled_as, self._user, offset, data, end=end
        )

    async def write_stdin(self, data: bytes) -> None:
        """See `domain.processes.ProcessHandle`."""
        for start in range(0, len(data), _STDIN_CHUNK_BYTES):
            chunk = data[start : start + _STDIN_CHUNK_BYTES]
            try:
                await envd.send_input(self._connection, self._pid, chunk, pty=self._has_terminal)
            except ConnectError as error:
                if error.code in (Code.NOT_FOUND, Code.INTERNAL):
                    raise InputClosedError("The program takes no more input.") from error
                raise await envd.domain_error(error, self._connection) from error
            except Exception as error:
                raise await envd.domain_error(error, self._connection) from error

    async def close_stdin(self) -> None:
        """See `domain.processes.ProcessHandle`."""
        if self._has_terminal:
            await self.write_stdin(_END_OF_INPUT)
            return
        try:
            await envd.close_input(self._connection, self._pid)
        except Exception as error:
            if isinstance(error, ConnectError) and error.code is Code.NOT_FOUND:
                return
            raise await envd.domain_error(error, self._connection) from error

    async def signal(self, name: str) -> bool:
        """See `domain.processes.ProcessHandle`."""
        killer = killer_of(self._connection, self._user)
        try:
            return await killer.signal(self._pid, self._marker, name) > 0
        except (BackendUnavailableError, TooManyExecsError):
            if name not in ("TERM", "KILL"):
                raise
            # A sandbox that cannot fork any more still takes a signal to the leader.
            return await self._signal_leader("TERM" if name == "TERM" else "KILL")

    async def resize(self, size: PtySize) -> None:
        """See `domain.processes.ProcessHandle`."""
        try:
            await envd.resize(self._connection, self._pid, size)
        except Exception as error:
            if isinstance(error, ConnectError) and error.code is Code.NOT_FOUND:
                return
            raise await envd.domain_error(error, self._connection) from error

    async def kill(self, grace: timedelta) -> Sequence[int]:
        """See `domain.processes.ProcessHandle`."""
        killer = killer_of(self._connection, self._user)
        try:
            return await killer.kill(self._pid, self._marker, grace.total_seconds())
        except (BackendUnavailableError, TooManyExecsError):
            _log.warning("exec.only_leader_killed", pid=self._pid)
            await self._signal_leader("KILL")
            return [self._pid]

    async def _signal_leader(self, name: Literal["TERM", "KILL"]) -> bool:
        try:
            await envd.signal_leader(self._connection, self._pid, name)
        except Exception as error:
            if isinstance(error, ConnectError) and error.code is Code.NOT_FOUND:
                return False
            raise await envd.domain_error(error, self._connection) from error
        return True
