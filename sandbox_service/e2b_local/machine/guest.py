"""One running sandbox: programs, files, connections, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine import archives, loopback
from sandbox_service.e2b_local.machine.channel import Answer, Channel, Message, ProtocolError
from sandbox_service.e2b_local.machine.disk import DiskGauge
from sandbox_service.e2b_local.machine.freezer import SignalFreezer
from sandbox_service.e2b_local.machine.model import (
    FileEntry,
    GuestFrozenError,
    GuestLostError,
    SpawnSpec,
    Usage,
)
from sandbox_service.e2b_local.machine.process_tree import measure_tree, read_memory_total
from sandbox_service.e2b_local.machine.programs import GuestProcess, Programs
from sandbox_service.e2b_local.machine.stillness import Stillness

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from sandbox_service.e2b_local.machine.launch import Launched

_SETTLE_SECONDS: Final = 2.0


class Guest:
    """A sandbox that runs.

    Every method raises GuestLostError once it is dead, and all but those that say
    otherwise GuestFrozenError while it is frozen.

    Attributes:
        sandbox_id: As given at boot.
        boot_id: A uuid of this boot, and what `/proc/sys/kernel/random/boot_id` says inside.
        ended: Resolves with a cause for people when the sandbox has died, however; all its
            processes are gone then, its files may not be.
    """

    def __init__(
        self,
        sandbox_id: str,
        boot_id: str,
        launched: Launched,
        clean_up: Callable[[], Awaitable[None]],
    ) -> None:
        self.sandbox_id = sandbox_id
        self.boot_id = boot_id
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._launched = launched
        self._channel: Channel = launched.channel
        self._programs = Programs(launched.channel, launched.host_uid)
        self._stillness = Stillness(SignalFreezer(launched.init_pid), self._settle)
        self._cause: str | None = None
        self._disk = DiskGauge(self._measure_disk)
        launched.on_event = self._take_event
        launched.on_lost = self._die
        self._end = self._loop.create_task(self._wait_for_end(clean_up))

    # --- Programs -----------------------------------------------------------------------

    async def spawn(self, spec: SpawnSpec) -> GuestProcess:
        """Start a program; while others are held still, not before they go on.

        When this is cancelled, what may have been started is killed.

        Raises:
            SpawnRefusedError: It did not start; `kind` says why.
            GuestLostError: The sandbox is dead.
        """
        await self._wait_until_released()
        return await self._programs.start(spec)

    async def signal(self, pid: int, signal_number: int, *, group: bool = False) -> bool:
        """Signal a process, or the process group of that id.

        While programs are held still, not before they go on.

        Returns:
            False: there is none, or it has been waited for.
        """
        await self._wait_until_released()
        answer = await self._ask("signal", pid=pid, signal=signal_number, group=group)
        return bool(answer.value)

    # --- Standing still -----------------------------------------------------------------

    @property
    def frozen(self) -> bool:
        """Whether nothing in it can answer."""
        return self._stillness.frozen

    async def freeze(self) -> None:
        """Stop everything in the sandbox, its agent too, where it stands. Idempotent.

        Nothing inside can tell, but by the clock. What was asked before and not answered
        yet is answered after the thaw. When this is cancelled, everything goes on.

        Raises:
            GuestOSError: EBUSY: not everything could be stopped, as when programs are
                made faster than that; everything goes on.
        """
        self._check_alive()
        await self._stillness.freeze()
        self._check_alive()

    async def thaw(self) -> None:
        """Let everything go on that `freeze` stopped. Idempotent.

        What had been stopped before stays so.
        """
        self._check_alive()
        await self._stillness.thaw()

    @contextlib.asynccontextmanager
    async def programs_stopped(self) -> AsyncIterator[None]:
        """Hold everything but the agent still for the length of a block.

        Files can be read and written meanwhile. Blocks may be nested or overlap. In a
        frozen sandbox the agent alone goes on for the length of the block.

        Raises:
            GuestOSError: As in `freeze`.
        """
        self._check_alive()
        async with self._stillness.programs_stopped():
            self._check_alive()
            yield

    async def _wait_until_released(self) -> None:
        self._check_answers()
        while self._stillness.holding:
            await self._stillness.wait_until_released()
            self._check_answers()

    async def _settle(self) -> None:
        # An agent that hangs can be frozen all the same.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._channel.ask("ping"), _SETTLE_SECONDS)

    def _check_alive(self) -> None:
        if self._cause is not None:
            raise GuestLostError(self._cause)

    def _check_answers(self) -> None:
        self._check_alive()
        if self.frozen:
            raise GuestFrozenError(f"sandbox {self.sandbox_id} is frozen")

    async def _ask(self, operation: str, **fields: object) -> Answer:
        self._check_answers()
        return await self._channel.ask(operation, **fields)

    # --- Archives -----------------------------------------------------------------------

    async def pack(
        self,
        writer_fd: int,
        *,
        roots: Sequence[str] = archives.ROOTS,
        timeout_seconds: float = 600.0,
    ) -> None:
        """Write a tar of all that programs can have written, while they are held still.

        Of a frozen sandbox too, whose agent alone goes on meanwhile. It is made inside,
        by the sandbox's own `tar` as its own user: links, modes, times, `user.*`
        attributes and holes are kept, sockets left out. Memory in `/dev/shm` is not part
        of it.

        Args:
            writer_fd: Open for writing on a regular file of the host, not for appending.
            roots: The folders to pack.
            timeout_seconds: How long it may take.

        Raises:
            GuestOSError: With what `tar` said: EACCES for a file that its owner may not
                read, ETIMEDOUT; or ENOSPC, for the host's disk. What was written is
                worthless then.
        """
        self._check_alive()
        async with self.programs_stopped():
            await archives.pack(self._channel, writer_fd, roots, timeout_seconds)

    async def unpack(
        self,
        reader_fd: int,
        *,
        roots: Sequence[str] = archives.ROOTS,
        timeout_seconds: float = 600.0,
    ) -> None:
        """Make some folders hold what an archive of them says, and nothing else.

        For a sandbox that has just booted, before any program runs.

        Args:
            reader_fd: Open for reading on a file that `pack` wrote. It is read from its
                beginning, and the descriptor stays where it stands.
            roots: The folders; they are emptied first.
            timeout_seconds: How long it may take.

        Raises:
            GuestOSError: ENOSPC, EACCES, ETIMEDOUT, ... with what `tar` said. The folders
                may hold anything then.
        """
        self._check_alive()
        async with self.programs_stopped():
            await archives.unpack(self._channel, reader_fd, roots, timeout_seconds)

    # --- Files --------------------------------------------------------------------------

    async def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        """Open a file or folder as a program inside would.

        The kernel resolves the path within the sandbox, links and all.

        Returns:
            A descriptor of a regular file or a folder, never of anything that could make
            the reader wait. The caller closes it.

        Raises:
            GuestOSError: With the errno inside; ENODEV or ENXIO for a pipe, a socket or a
                device.
        """
        answer = await self._ask("open", path=path, flags=flags, mode=mode)
        descriptor = self._only_descriptor(answer)
        status = os.fstat(descriptor)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            os.close(descriptor)
            raise self._distrust("the agent passed something that is no file")
        return descriptor

    async def stat(self, path: str) -> FileEntry:
        """Describe what stands at a path.

        Raises:
            GuestOSError: ENOENT, EACCES, ...
        """
        answer = await self._ask("stat", path=path)
        return self._to_entry(answer.value)

    async def list_dir(self, path: str, depth: int = 1) -> list[FileEntry]:
        """List a folder, sorted by name, each folder before what it holds.

        A link to a folder is followed when it is `path` itself, not when it is found on
        the way.

        Args:
            path: Of the folder.
            depth: How many levels, 1 or more.

        Raises:
            GuestOSError: ENOENT; ENOTDIR; EOVERFLOW for more than 100,000 entries.
        """
        answer = await self._ask("list", path=path, depth=depth)
        if not isinstance(answer.value, list):
            raise self._distrust("the agent listed a folder in no known form")
        return [self._to_entry(entry) for entry in answer.value]

    async def make_dir(self, path: str) -> bool:
        """Create a folder and its parents, with mode 0755.

        Returns:
            False: it was there already.

        Raises:
            GuestOSError: ENOTDIR where something else is in the way, EACCES, ...
        """
        return bool((await self._ask("make_dir", path=path)).value)

    async def move(self, source: str, target: str) -> None:
        """Rename, making the parents of `target`; by copying where it must be.

        Raises:
            GuestOSError: ENOENT for a missing source, ...
        """
        await self._ask("move", source=source, target=target)

    async def remove(self, path: str) -> None:
        """Remove a file, or a folder with all it holds. Nothing there is fine.

        Raises:
            GuestOSError: EACCES, EROFS, ...
        """
        await self._ask("remove", path=path)

    async def chmod(self, path: str, mode: int) -> None:
        """Set permission bits.

        Raises:
            GuestOSError: ENOENT, EPERM, ...
        """
        await self._ask("chmod", path=path, mode=mode)

    # --- The rest -----------------------------------------------------------------------

    async def connect(self, port: int) -> socket.socket:
        """Connect to a port on the sandbox's loopback, IPv4 first.

        Returns:
            A connected, non-blocking stream socket. The caller closes it.

        Raises:
            ConnectionRefusedError: Nothing listens there.
            TimeoutError: The listener accepts nobody.
        """

        async def begin(v6: bool) -> int:  # noqa: FBT001 - Called by position.
            return self._only_descriptor(await self._ask("connect", port=port, v6=v6))

        return await loopback.connect(begin, port)

    async def usage(self, *, disk_max_age_seconds: float = 5.0) -> Usage:
        """Measure what the sandbox uses now, frozen or not.

        Args:
            disk_max_age_seconds: A measurement of the disk this old is good enough.
        """
        tree = await asyncio.to_thread(measure_tree, self._launched.init_pid)
        used, total = self._disk.last
        with contextlib.suppress(GuestFrozenError):
            self._check_answers()
            used, total = await self._disk.read(disk_max_age_seconds)
        return Usage(
            cpu_seconds=tree.cpu_seconds,
            memory_rss_bytes=tree.memory_rss_bytes,
            memory_total_bytes=read_memory_total(),
            process_count=tree.process_count,
            disk_used_bytes=used,
            disk_total_bytes=total,
        )

    async def _measure_disk(self) -> tuple[int, int]:
        match (await self._ask("disk")).value:
            case {"used": int(used), "total": int(total)}:
                return used, total
            case _:
                raise self._distrust("the agent measured its disk in no known unit")

    async def kill(self, cause: str = "it was killed") -> None:
        """End the sandbox at once, frozen or not. Idempotent.

        Returns when nothing of it is left.

        Args:
            cause: What `ended` resolves with, unless it had another cause before.
        """
        self._die(cause)
        await asyncio.shield(self._end)

    # --- The end ------------------------------------------------------------------------

    def _only_descriptor(self, answer: Answer) -> int:
        if len(answer.descriptors) != 1:
            answer.close()
            raise self._distrust("the agent passed no descriptor")
        return answer.descriptors[0]

    def _to_entry(self, value: object) -> FileEntry:
        try:
            return FileEntry(**value)  # type: ignore[arg-type]
        except TypeError:
            raise self._distrust("the agent described a file in no known form") from None

    def _distrust(self, cause: str) -> GuestLostError:
        """End a sandbox whose agent cannot be ours any more."""
        self._die(cause)
        return GuestLostError(cause)

    def _take_event(self, message: Message) -> None:
        match message.fields:
            case {"event": "exit", "pid": int(pid), "status": int(status)}:
                self._programs.take_exit(pid, status)
            case _:
                raise ProtocolError("an event of no known kind")

    def _die(self, cause: str) -> None:
        """Note the first cause and make sure that it ends."""
        if self._cause is None:
            self._cause = cause
        self._launched.kill_init()

    async def _wait_for_end(self, clean_up: Callable[[], Awaitable[None]]) -> None:
        status = await self._launched.gone
        cause = self._cause or f"the agent ended with wait status {status}"
        self._cause = cause
        self._channel.close(cause)
        self._programs.lose(cause)
        self._stillness.close()
        self._launched.close()
        self.ended.set_result(cause)
        await clean_up()
