"""The files of a running sandbox, as a program inside would meet them."""

from __future__ import annotations

import abc
import errno
import os
import stat

from sandbox_service.e2b_local.machine.channel import Answer
from sandbox_service.e2b_local.machine.model import FileEntry, GuestLostError, GuestOSError


class GuestFiles(abc.ABC):
    """What a `Guest` can do with files. Its agent does the work, by its own rights."""

    async def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        """Open a file or folder as a program inside would.

        The kernel resolves the path within the sandbox, links and all.

        Returns:
            A descriptor of a regular file or a folder, never of anything that could make
            the reader wait. The caller closes it.

        Raises:
            GuestOSError: With the errno inside; ENODEV or ENXIO for a pipe, a socket or a
                device. ENOSPC: to write, when it has all of the disk that it may have.
        """
        if flags & os.O_ACCMODE != os.O_RDONLY and self.disk_full:
            raise GuestOSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
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

    @property
    @abc.abstractmethod
    def disk_full(self) -> bool:
        """Whether nothing more may be written."""

    @abc.abstractmethod
    async def _ask(self, operation: str, **fields: object) -> Answer:
        """Ask the agent."""

    @abc.abstractmethod
    def _distrust(self, cause: str) -> GuestLostError:
        """End a sandbox whose agent cannot be ours any more."""
