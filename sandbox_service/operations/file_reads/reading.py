"""Reading a range of a file."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from typing import Final

from sandbox_service.domain.errors import BackendError
from sandbox_service.domain.exec_errors import PositionOutOfRangeError
from sandbox_service.domain.file_errors import FileChangedError
from sandbox_service.domain.file_reads import FileInfo, FileRange, ReadPart, ReadSummary
from sandbox_service.domain.files import EntryKind
from sandbox_service.domain.limits import OUTPUT_FRAME_BYTES
from sandbox_service.domain.ports import SandboxProvider
from sandbox_service.operations.file_reads.script_output import ScriptOutput, running, text
from sandbox_service.operations.file_reads.tar_entries import point_in_time

_OFFSET_MAX: Final = 2**63 - 1
_CHANGED: Final = b"=changed\0"


async def read_file(
    provider: SandboxProvider, sandbox_id: str, what: FileRange
) -> AsyncGenerator[ReadPart, None]:
    """Yield what a file is, its bytes, and what was sent; see `FileReads.read`."""
    # No file is longer than this, and the shell's numbers have a sign.
    offset = min(what.offset, _OFFSET_MAX)
    length = "" if what.length is None else str(min(what.length, _OFFSET_MAX))
    arguments = (what.path, str(offset), length)
    async with running(provider, sandbox_id, "read.sh", arguments, what.user) as output:
        word = await output.word()
        if word == b"=behind_the_end":
            raise _behind_the_end(what, text(await output.field()))
        if word != b"=file":
            raise BackendError("What the sandbox answered cannot be read. Repeat the call.")
        info = await _info(output)
        yield info
        sent, digest = 0, hashlib.sha256()
        while piece := await output.stdout.gathered(OUTPUT_FRAME_BYTES):
            digest.update(piece)
            sent += len(piece)
            yield piece
        summary = ReadSummary(sent, digest.digest())
        if _is_changed(output.stderr, info, what, summary):
            raise FileChangedError(
                f"{info.path!r} changed while it was read. Read it again.",
                metadata={"path": info.path},
            )
        yield summary


async def _info(output: ScriptOutput) -> FileInfo:
    path, size, mode, mtime, user, group = [await output.field() for _ in range(6)]
    try:
        return FileInfo(
            path=text(path),
            kind=EntryKind.FILE,
            size=int(size),
            mode=int(mode, 8),
            modify_time=point_in_time(mtime),
            link_target="",
            user=text(user),
            group=text(group),
        )
    except ValueError:
        raise BackendError("What the sandbox says of a file cannot be read.") from None


def _is_changed(said: bytes, info: FileInfo, what: FileRange, sent: ReadSummary) -> bool:
    """Return whether what was sent is not the content that the file has had at any time.

    A file that was touched, renamed, or appended to behind the range has other
    times than when it was opened, but its range still has the same hash.

    Args:
        said: What the script wrote to stderr.
        info: The file when it was opened.
        what: Which range was asked for.
        sent: What of it was sent.
    """
    _, changed, now = said.partition(_CHANGED)
    if not changed:
        return False
    left = info.size - what.offset
    expected = left if what.length is None else min(what.length, left)
    # A file of /proc says that it is empty.
    is_short = info.size > 0 and sent.sent_bytes != expected
    return is_short or now.partition(b"\0")[0] != sent.sha256.hex().encode()


def _behind_the_end(what: FileRange, size: str) -> PositionOutOfRangeError:
    return PositionOutOfRangeError(
        f"{what.path!r} has {size} bytes, fewer than the offset. Read from a smaller one.",
        metadata={
            "path": what.path,
            "field": "offset",
            "requested": str(what.offset),
            "actual": size,
        },
    )
