"""One running sandbox: programs, files, connections, and its end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine import archives, loopback
from sandbox_service.e2b_local.machine.channel import Answer, Channel, Message, ProtocolError
from sandbox_service.e2b_local.machine.disk import DiskGauge
from sandbox_service.e2b_local.machine.freezer import SignalFreezer
from sandbox_service.e2b_local.machine.guest_files import GuestFiles
from sandbox_service.e2b_local.machine.limits.folder_size import measure_folder
from sandbox_service.e2b_local.machine.model import (
    GuestFrozenError,
    GuestLostError,
    GuestOSError,
    SpawnSpec,
    Usage,
)
from sandbox_service.e2b_local.machine.programs import GuestProcess, Programs
from sandbox_service.e2b_local.machine.stillness import Stillness

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from sandbox_service.e2b_local.machine.launch import Launched
    from sandbox_service.e2b_local.machine.limits import Confinement
    from sandbox_service.e2b_local.machine.model import DiskAlarm, OomKill

_SETTLE_SECONDS: Final = 2.0


class Guest(GuestFiles):
    """A sandbox that runs.

    Every method raises GuestLostError once it is dead, and all but those that say
    otherwise GuestFrozenError while it is frozen.

    Args:
        sandbox_id: Its id.
        boot_id: See below.
        launched: Its processes, just started.
        clean_up: Awaited when they have ended.
        confinement: Its limits, which its processes are under.
        layer: Folder of all that it writes to the disk, and of nothing else: it is measured
            from outside then. None: it is measured inside, by its homes.

    Attributes:
        sandbox_id: As given at boot.
        boot_id: A uuid of this boot, and what `/proc/sys/kernel/random/boot_id` says inside.
        ended: Resolves with a cause for people when the sandbox has died, however; all its
            processes are gone then, its files may not be.
        on_oom: Called for each process that was killed because memory was used up.
        on_disk_alarm: Called when its programs are killed because the disk was.
    """

    def __init__(
        self,
        sandbox_id: str,
        boot_id: str,
        launched: Launched,
        clean_up: Callable[[], Awaitable[None]],
        confinement: Confinement,
        layer: Path | None = None,
    ) -> None:
        self.sandbox_id = sandbox_id
        self.boot_id = boot_id
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._launched = launched
        self._channel: Channel = launched.channel
        self._programs = Programs(launched.channel, launched.host_uid)
        self._confinement = confinement
        freezer = SignalFreezer(launched.init_pid, confinement.freezer)
        self._stillness = Stillness(freezer, self._settle)
        self._cause: str | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._layer = layer
        self._disk = DiskGauge(self._measure_disk)
        launched.on_event = self._take_event
        launched.on_lost = self._die
        self.on_oom: Callable[[OomKill], None] = lambda _: None
        self.on_disk_alarm: Callable[[DiskAlarm], None] = lambda _: None
        confinement.begin(launched.init_pid, self._tell_oom, self._stop_writing)
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

    async def listen(self, port: int) -> socket.socket:
        """Listen on a port of the sandbox's loopback, for programs inside to connect to.

        Returns:
            A listening, non-blocking stream socket in the sandbox's network. The caller
            closes it. It outlives a freeze, not the sandbox's boot.

        Raises:
            GuestOSError: EADDRINUSE, ...
        """
        descriptor = self._only_descriptor(await self._ask("listen", port=port))
        try:
            return loopback.adopt_listener(descriptor, port)
        except OSError as error:
            raise self._distrust(f"the agent passed something that is no listener: {error}") from (
                error
            )

    async def usage(self, *, disk_max_age_seconds: float = 5.0) -> Usage:
        """Measure what the sandbox uses now, frozen or not.

        Args:
            disk_max_age_seconds: A measurement of the disk this old is good enough.
        """
        now = await asyncio.to_thread(self._confinement.measure, self._launched.init_pid)
        used, total = self._disk.last
        with contextlib.suppress(GuestFrozenError):
            self._check_answers()
            used, total = await self._disk.read(disk_max_age_seconds)
        return Usage(
            cpu_seconds=now.cpu_seconds,
            memory_rss_bytes=now.memory_bytes,
            memory_cache_bytes=now.memory_cache_bytes,
            memory_total_bytes=now.memory_total_bytes,
            process_count=now.process_count,
            disk_used_bytes=used,
            disk_total_bytes=total,
        )

    async def _measure_disk(self) -> tuple[int, int]:
        layer = self._layer
        match (await self._ask("disk")).value:
            case {"used": int(used), "total": int(total)}:
                outside = 0 if layer is None else await asyncio.to_thread(measure_folder, layer)
                return used + outside, total
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

    # --- Limits -------------------------------------------------------------------------

    @property
    def oom_kills(self) -> int:
        """How many of its processes were killed because memory was used up."""
        return self._confinement.ooms.kills

    @property
    def disk_full(self) -> bool:
        """Whether it has all that it may have on the disk, or the disk is nearly full."""
        return self._confinement.disk_full

    def _tell_oom(self, kill: OomKill) -> None:
        self.on_oom(kill)

    def _stop_writing(self, alarm: DiskAlarm) -> None:
        """End its programs, for nothing else keeps them from writing."""
        self.on_disk_alarm(alarm)
        work = self._loop.create_task(self._end_programs())
        self._ending.add(work)
        work.add_done_callback(self._ending.discard)

    async def _end_programs(self) -> None:
        try:
            await self._stillness.kill_programs()
        except GuestOSError:
            self._die("it filled the disk, and its programs could not be stopped")

    # --- The end ------------------------------------------------------------------------

    def _distrust(self, cause: str) -> GuestLostError:
        """End a sandbox whose agent cannot be ours any more."""
        self._die(cause)
        return GuestLostError(cause)

    def _take_event(self, message: Message) -> None:
        match message.fields:
            case {"event": "exit", "pid": int(pid), "status": int(status)}:
                self._confinement.ooms.note_exit(pid, status)
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
        try:
            await self._confinement.end()
        finally:
            await clean_up()
