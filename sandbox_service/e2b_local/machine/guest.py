"""One running sandbox: programs, files, connections, and its end."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import signal
import socket
import stat
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.channel import Answer, Channel, Message, ProtocolError
from sandbox_service.e2b_local.machine.model import (
    FileEntry,
    GuestLostError,
    GuestOSError,
    SpawnRefusedError,
    SpawnSpec,
    Usage,
)
from sandbox_service.e2b_local.machine.process_tree import measure_tree, read_memory_total
from sandbox_service.e2b_local.machine.programs import GuestProcess, Pipes, default_environment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandbox_service.e2b_local.machine.launch import Launched

_CONNECT_TIMEOUT_SECONDS: Final = 10.0
_DISK_MAX_AGE_SECONDS: Final = 5.0
_DISK_PATIENCE_SECONDS: Final = 1.0


class Guest:
    """A sandbox that runs.

    Every method raises GuestLostError once it is dead.

    Attributes:
        sandbox_id: As given at boot.
        ended: Resolves with a cause for people when the sandbox has died, however; all its
            processes are gone then, its files may not be.
    """

    def __init__(
        self, sandbox_id: str, launched: Launched, clean_up: Callable[[], Awaitable[None]]
    ) -> None:
        self.sandbox_id = sandbox_id
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._launched = launched
        self._channel: Channel = launched.channel
        self._owner = launched.host_uid
        self._processes: dict[int, asyncio.Future[int]] = {}
        self._cause: str | None = None
        self._disk = (0, 0)
        self._disk_time = -math.inf
        self._measuring: asyncio.Task[None] | None = None
        launched.on_event = self._take_event
        launched.on_lost = self._die
        self._end = self._loop.create_task(self._wait_for_end(clean_up))

    # --- Programs -----------------------------------------------------------------------

    async def spawn(self, spec: SpawnSpec) -> GuestProcess:
        """Start a program.

        When this is cancelled, what may have been started is killed.

        Raises:
            SpawnRefusedError: It did not start; `kind` says why.
            GuestLostError: The sandbox is dead.
        """
        env = {**default_environment(spec.user), **spec.env}
        fields = {
            "argv": spec.argv,
            "env": env,
            "cwd": spec.cwd or env["HOME"],
            "pty": (spec.pty.rows, spec.pty.cols) if spec.pty else None,
            "stdin": spec.stdin and not spec.pty,
        }
        if not spec.argv or not spec.argv[0]:
            raise SpawnRefusedError("exec", "no program was named")
        pipes = Pipes()
        try:
            if spec.pty is None:
                if spec.stdin:
                    pipes.add(towards_child=True, owner=self._owner)
                pipes.add(towards_child=False, owner=self._owner)
                pipes.add(towards_child=False, owner=self._owner)
        except OSError as error:
            pipes.close()
            raise SpawnRefusedError(
                "resources", f"no pipe could be made: {error.strerror}", error.errno or 0
            ) from error
        child, pipes.child = tuple(pipes.child), []  # The channel closes them.
        started: asyncio.Future[GuestProcess] | None = None
        try:
            started = self._channel.put(
                "spawn",
                fields,
                child,
                accept=lambda answer: self._adopt(answer, spec, pipes),
                abandon=self._disown,
            )
            return await started
        except asyncio.CancelledError:
            # The answer may have come in the very turn of the cancellation.
            if started is not None and started.done() and not started.cancelled():
                self._kill_unwanted(started)
            pipes.close()
            raise
        except BaseException:
            pipes.close()
            raise

    def _adopt(self, answer: Answer, spec: SpawnSpec, pipes: Pipes) -> GuestProcess:
        pid = answer.value
        if not isinstance(pid, int) or pid <= 1 or len(answer.descriptors) != bool(spec.pty):
            raise ProtocolError("a program without a pid or a terminal")
        exit_status: asyncio.Future[int] = self._loop.create_future()
        self._processes[pid] = exit_status
        if spec.pty:
            master = answer.descriptors[0]
            if not stat.S_ISCHR(os.fstat(master).st_mode):
                raise ProtocolError("a terminal that is none")
            os.set_blocking(master, False)
            return GuestProcess(pid, None, None, None, master, exit_status)
        stdin, (stdout, stderr) = None, pipes.server[-2:]
        if spec.stdin:
            stdin = pipes.server[0]
        pipes.server = []
        return GuestProcess(pid, stdin, stdout, stderr, None, exit_status)

    def _kill_unwanted(self, started: asyncio.Future[GuestProcess]) -> None:
        if started.exception() is None:
            process = started.result()
            process.close()
            self._disown(Answer(process.pid, ()))

    def _disown(self, answer: Answer) -> None:
        """Kill a program that nobody will ever wait for."""
        answer.close()
        if isinstance(answer.value, int) and self._cause is None:
            fields = {"pid": answer.value, "signal": signal.SIGKILL, "group": False}
            self._channel.put("signal", fields).add_done_callback(lambda done: done.exception())

    async def signal(self, pid: int, signal_number: int, *, group: bool = False) -> bool:
        """Signal a process, or the process group of that id.

        Returns:
            False: there is none, or it has been waited for.
        """
        answer = await self._channel.ask("signal", pid=pid, signal=signal_number, group=group)
        return bool(answer.value)

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
        answer = await self._channel.ask("open", path=path, flags=flags, mode=mode)
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
        answer = await self._channel.ask("stat", path=path)
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
        answer = await self._channel.ask("list", path=path, depth=depth)
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
        return bool((await self._channel.ask("make_dir", path=path)).value)

    async def move(self, source: str, target: str) -> None:
        """Rename, making the parents of `target`; by copying where it must be.

        Raises:
            GuestOSError: ENOENT for a missing source, ...
        """
        await self._channel.ask("move", source=source, target=target)

    async def remove(self, path: str) -> None:
        """Remove a file, or a folder with all it holds. Nothing there is fine.

        Raises:
            GuestOSError: EACCES, EROFS, ...
        """
        await self._channel.ask("remove", path=path)

    async def chmod(self, path: str, mode: int) -> None:
        """Set permission bits.

        Raises:
            GuestOSError: ENOENT, EPERM, ...
        """
        await self._channel.ask("chmod", path=path, mode=mode)

    # --- The rest -----------------------------------------------------------------------

    async def connect(self, port: int) -> socket.socket:
        """Connect to a port on the sandbox's loopback, IPv4 first.

        Returns:
            A connected, non-blocking stream socket. The caller closes it.

        Raises:
            ConnectionRefusedError: Nothing listens there.
            TimeoutError: The listener accepts nobody.
        """
        for v6 in (False, True):
            try:
                return await self._connect(port, v6=v6)
            except (ConnectionRefusedError, GuestOSError):
                continue
        raise ConnectionRefusedError(errno.ECONNREFUSED, f"nothing listens on port {port}")

    async def _connect(self, port: int, *, v6: bool) -> socket.socket:
        answer = await self._channel.ask("connect", port=port, v6=v6)
        connection = socket.socket(fileno=self._only_descriptor(answer))
        try:
            family = connection.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
            connection.setblocking(False)
            if family not in (socket.AF_INET, socket.AF_INET6) or connection.type != 1:
                number = errno.EPROTOTYPE
            else:
                await asyncio.wait_for(self._writable(connection), _CONNECT_TIMEOUT_SECONDS)
                number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except BaseException:
            connection.close()
            raise
        if number:
            connection.close()
            raise OSError(number, os.strerror(number))
        return connection

    async def _writable(self, connection: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(connection.fileno(), _settle, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(connection.fileno())

    async def usage(self) -> Usage:
        """Measure what the sandbox uses now."""
        tree = await asyncio.to_thread(measure_tree, self._launched.init_pid)
        used, total = await self._recent_disk()
        return Usage(
            cpu_seconds=tree.cpu_seconds,
            memory_rss_bytes=tree.memory_rss_bytes,
            memory_total_bytes=read_memory_total(),
            process_count=tree.process_count,
            disk_used_bytes=used,
            disk_total_bytes=total,
        )

    async def _recent_disk(self) -> tuple[int, int]:
        """Bytes used and in all, without waiting for a tree that takes long to walk."""
        if self._measuring is None and self._loop.time() - self._disk_time > _DISK_MAX_AGE_SECONDS:
            self._measuring = self._loop.create_task(self._measure_disk())
            # Nobody may be left to hear that the sandbox died meanwhile.
            self._measuring.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._measuring is not None:
            done, _ = await asyncio.wait((self._measuring,), timeout=_DISK_PATIENCE_SECONDS)
            if done:
                self._measuring = None
                for task in done:
                    task.result()
        return self._disk

    async def _measure_disk(self) -> None:
        match (await self._channel.ask("disk")).value:
            case {"used": int(used), "total": int(total)}:
                self._disk = (used, total)
                self._disk_time = self._loop.time()
            case _:
                raise self._distrust("the agent measured its disk in no known unit")

    async def kill(self) -> None:
        """End the sandbox at once; returns when nothing of it is left. Idempotent."""
        self._die("it was killed")
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
                future = self._processes.pop(pid, None)
                if future is not None and not future.done():
                    future.set_result(status)
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
        for future in self._processes.values():
            if not future.done():
                future.set_exception(GuestLostError(cause))
                future.exception()  # Whoever waits still gets it; nobody else hears of it.
        self._processes.clear()
        self._launched.close()
        self.ended.set_result(cause)
        await clean_up()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
