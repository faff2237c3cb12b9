"""The tree that a sandbox has, described by a script in it and read as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from sandbox_service.domain.errors import BackendError, BackendUnavailableError, SandboxError
from sandbox_service.domain.execs import Stream
from sandbox_service.domain.files import EntryKind, PlanHeader
from sandbox_service.domain.limits import KIB
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.processes import Process, ProcessEnd, ProcessOutput
from sandbox_service.operations.commands import CommandResult, command_spec
from sandbox_service.operations.file_sync import script
from sandbox_service.operations.file_sync.excludes import Excludes

_BACKSTOP: Final = timedelta(hours=1)
_KILL_GRACE: Final = timedelta(milliseconds=200)
_HEAD_FIELDS: Final = 3
_STDERR_BYTES_MAX: Final = 64 * KIB
_RETRY: Final = timedelta(seconds=1)


class Listed(NamedTuple):
    """An entry of the sandbox's tree.

    Attributes:
        path: As bytes, relative to the root, for it need not be UTF-8.
        size: Of a file's content, in bytes.
        mode: Permission bits, with setuid, setgid and sticky; of a file or folder.
        sha256: Of a file's content; zeros when it cannot be read.
        target: Of a link.
    """

    path: bytes
    kind: EntryKind
    size: int = 0
    mode: int = 0
    sha256: bytes = b""
    target: bytes = b""


@dataclass(frozen=True, slots=True)
class ListingHead:
    """What comes first.

    Attributes:
        root: Absolute, without links.
        root_digest: 32 bytes.
    """

    root: str
    root_digest: bytes


class Listing:
    """A tree's description, coming out of a sandbox no faster than it is read.

    First `begin`, then `entries`; `aclose` whatever happens.

    Args:
        provider: Where the sandbox is.
        sandbox_id: The sandbox.
        header: Which root, and how it is looked at.
        excludes: What is left out.
        name: Unique to this listing, and a file name.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        sandbox_id: str,
        header: PlanHeader,
        excludes: Excludes,
        name: str,
    ) -> None:
        self._provider = provider
        self._sandbox_id = sandbox_id
        self._header = header
        self._argv = script.plan_argv(header, name, excludes)
        self._process: Process | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._rest = b""
        self._ended = False

    async def begin(self) -> ListingHead:
        """Have the tree listed, and return what that begins with.

        Raises:
            NotAFileError: The root is no folder.
            FileNotAccessibleError: The user may not read it.
            InvalidPathError: It cannot be a root.
            SandboxError: Whatever else kept it from being listed.
        """
        spec = command_spec(self._argv, self._header.user, backstop=_BACKSTOP)
        self._process = await self._provider.start(self._sandbox_id, spec)
        self._chunks = self._read(self._process)
        async for chunk in self._chunks:
            self._rest += chunk
            head = self._rest.split(b"\0", _HEAD_FIELDS)
            if len(head) > _HEAD_FIELDS and head[0] == b"=tree":
                self._rest = head[_HEAD_FIELDS]
                return ListingHead(script.text(head[1]), bytes.fromhex(head[2].decode()))
        raise _unreadable()

    async def entries(self) -> AsyncIterator[Iterator[Listed]]:
        """Yield the entries, some at a time and in no order.

        Raises:
            BackendUnavailableError: Contact was lost. It can be listed again.
        """
        if self._chunks is None:
            raise RuntimeError("entries of a listing that has not begun")
        last = b""
        rest, self._rest = self._rest, b""
        while True:
            *records, rest = rest.split(b"\0")
            if records:
                last = records[-1]
                yield (_listed(it) for it in records if it != b"=end")
            try:
                rest += await anext(self._chunks)
            except StopAsyncIteration:
                break
        if rest or last != b"=end":
            raise _unreadable()

    async def aclose(self) -> None:
        """End the script, should it still run."""
        if self._process is None:
            return
        if not self._ended:
            await self._process.kill(_KILL_GRACE)
        await self._process.aclose()

    async def _read(self, process: Process) -> AsyncIterator[bytes]:
        """Yield what the script writes, and raise if it failed."""
        stderr, failure = bytearray(), b""
        async for event in process.events():
            match event:
                case ProcessOutput(Stream.STDOUT, data):
                    failure = failure + data if failure or data.startswith(b"=failed") else b""
                    if not failure:
                        yield data
                case ProcessOutput(_, data):
                    stderr += data[: _STDERR_BYTES_MAX - len(stderr)]
                case ProcessEnd():
                    self._ended = True
                    result = CommandResult(event.exit_code, event.signal, failure, bytes(stderr))
                    if event.exit_code != 0:
                        raise self._failure(result)
                    return
                case _:
                    raise _unreadable()
        raise _unreadable()

    def _failure(self, result: CommandResult) -> SandboxError:
        if result.exit_code is None:
            return BackendUnavailableError(
                "The tree's listing was killed in the sandbox. Repeat the call.",
                retry_after=_RETRY,
            )
        return script.failure(result, self._sandbox_id, self._header.root)


def _listed(record: bytes) -> Listed:
    """Read one record; which kind it is, its first byte tells."""
    first = record[:1]
    try:
        if first.isdigit():
            key, sha256, mode, path = record.split(b" ", 3)
            size = int(key.split(b".", 3)[2])
            sha = bytes.fromhex(sha256.decode())
            return Listed(path[2:], EntryKind.FILE, size, int(mode[1:], 8), sha)
        if first == b"d":
            return Listed(record[8:], EntryKind.DIRECTORY, mode=int(record[1:5], 8))
    except ValueError:
        raise _unreadable() from None
    if first == b"l":
        path, _, target = record[4:].partition(b"//")
        return Listed(path, EntryKind.LINK, target=target)
    return Listed(record[2:], EntryKind.OTHER)


def _unreadable() -> BackendError:
    return BackendError("What the sandbox says of its tree cannot be read. Repeat the call.")
