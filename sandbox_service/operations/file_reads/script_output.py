"""A script of the service in a sandbox, whose output is read as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

from sandbox_service.domain.errors import (
    BackendError,
    BackendUnavailableError,
    FileNotAccessibleError,
    FileNotFoundInSandboxError,
    InvalidPathError,
    NotAFileError,
    OutcomeUnknownError,
    SandboxError,
)
from sandbox_service.domain.execs import Stream
from sandbox_service.domain.limits import KIB
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.domain.processes import Process, ProcessEnd, ProcessGap
from sandbox_service.domain.scripts import script
from sandbox_service.operations.commands import command_spec
from sandbox_service.operations.file_reads.byte_reader import ByteReader
from sandbox_service.operations.file_sync.script import TREE_SCRIPT

FIELD_BYTES_MAX: Final = 8 * KIB
"""The longest field that a script writes: a path, with something before it."""

_BACKSTOP: Final = timedelta(hours=24)
_SOON: Final = timedelta(seconds=1)
_KILL_GRACE: Final = timedelta(milliseconds=200)
_STDERR_BYTES_MAX: Final = 4 * KIB


class ScriptOutput:
    """What a script writes: NUL-terminated fields, then whatever it likes.

    Not reading it makes the script wait.

    Attributes:
        stdout: To be read.
        stderr: The first bytes that it wrote there so far.
        ended: Whether it has.
    """

    def __init__(self, process: Process, path: str) -> None:
        self._process = process
        self._path = path
        self._pieces = self._read()
        self.stdout = ByteReader(self._pieces)
        self.stderr = b""
        self.ended = False

    async def field(self) -> bytes:
        """Return the next field.

        Raises:
            BackendError: There is none.
        """
        return await self.stdout.field(FIELD_BYTES_MAX)

    async def word(self) -> bytes:
        """Return the next field, which says what follows.

        Raises:
            SandboxError: It says that the script has failed; which tells why.
        """
        word = await self.field()
        if word == b"=failed":
            failed, detail, kind = [text(await self.field()) for _ in range(3)]
            with suppress(SandboxError):
                await self.finish()
            raise _failure(failed, detail, kind, self._path)
        return word

    async def finish(self) -> None:
        """Wait for the script's end, which nothing may come before.

        Raises:
            BackendError: Something came, or it did not end well.
        """
        if await self.stdout.some(1):
            raise BackendError("A script of the service wrote more than it should.")

    async def aclose(self) -> None:
        """Stop reading."""
        await self._pieces.aclose()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        async for event in self._process.events():
            if isinstance(event, ProcessEnd):
                self.ended = True
                if b"=unreadable\0" in self.stderr:
                    raise _failure("unreadable", self._path, "", self._path)
                # A script that has failed says so in its output, which is read first.
                if event.exit_code not in (0, 3):
                    raise BackendError("A script of the service failed in the sandbox.")
                return
            if isinstance(event, ProcessGap):
                raise BackendUnavailableError("A part of a script's output is missing.")
            if event.stream is Stream.STDERR:
                self.stderr = (self.stderr + event.data)[:_STDERR_BYTES_MAX]
            elif event.data:
                yield event.data
        raise BackendUnavailableError("A script's output ended without its end.")


@asynccontextmanager
async def running(
    provider: SandboxProvider, sandbox_id: str, name: str, arguments: Sequence[str], user: str
) -> AsyncIterator[ScriptOutput]:
    """Run one of this package's scripts for as long as its output is wanted.

    Leaving before its end lets go of the connection at once, and ends it.

    Args:
        provider: Where the sandbox is.
        sandbox_id: The sandbox.
        name: The script's file.
        arguments: Its arguments. The first one is the path that it is about.
        user: Who runs it. Empty: the template's default.

    Raises:
        BackendUnavailableError: Contact was lost. Nothing was changed.
        SandboxError: Whatever the provider says of starting or of reading.
    """
    code = script(__package__, "locate.sh", name)
    argv = ("/bin/bash", "-c", TREE_SCRIPT + code, name.partition(".")[0], *arguments)
    spec = command_spec(argv, user, backstop=_BACKSTOP)
    try:
        async with _started(await provider.start(sandbox_id, spec), arguments[0]) as output:
            yield output
    except (BackendUnavailableError, OutcomeUnknownError) as error:
        raise BackendUnavailableError(
            "Contact with the sandbox was lost. Nothing was changed; repeat the call.",
            retry_after=_SOON,
        ) from error


@asynccontextmanager
async def _started(process: Process, path: str) -> AsyncIterator[ScriptOutput]:
    output = ScriptOutput(process, path)
    try:
        async with aclosing(output):
            yield output
    finally:
        await process.aclose()
        if not output.ended:
            # When the sandbox is gone or out of reach, so is the script, or its backstop ends it.
            with suppress(SandboxError):
                await process.kill(_KILL_GRACE)


def text(raw: bytes) -> str:
    """Return what a sandbox wrote as text; bytes that are not UTF-8 are shown escaped."""
    return raw.decode(errors="backslashreplace")


def _failure(word: str, detail: str, kind: str, asked: str) -> SandboxError:
    """Return what a script has refused."""
    path = {"path": detail or asked}
    match word:
        case "missing":
            return FileNotFoundInSandboxError(f"The sandbox has no {asked!r}.", metadata=path)
        case "denied":
            return FileNotAccessibleError(
                f"The sandbox's user may not read {detail!r}. Name another path or user.",
                metadata=path,
            )
        case "unreadable":
            return FileNotAccessibleError(
                f"{detail!r} cannot be read: the sandbox's kernel says so.", metadata=path
            )
        case "not_a_file":
            return NotAFileError(
                f"{detail!r} is no file that can be read.", metadata={**path, "actual": kind}
            )
        case "not_a_folder":
            return NotAFileError(f"{detail!r} is no folder.", metadata={**path, "actual": kind})
        case "no_root":
            return InvalidPathError(
                f"{detail!r} cannot be the root of a tree.",
                metadata={"field": "root", **path, "rule": "root"},
            )
    return BackendError("A folder of the sandbox cannot be read whole.")
