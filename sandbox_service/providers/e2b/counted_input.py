"""Input that its sandbox counts: whoever sends it, and whatever is sent again, is written once."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from sandbox_service.domain.errors import BackendUnavailableError, DiskFullError
from sandbox_service.domain.exec_errors import InputClosedError
from sandbox_service.domain.scripts import script
from sandbox_service.providers.e2b import envd

if TYPE_CHECKING:
    from sandbox_service.providers.e2b.connection import Connection

_PUT: Final = script(__package__, "put_input.sh")

_PUT_TIMEOUT_S: Final = 40.0
"""The script itself waits for 20 s at most: half for its turn, half for room."""

_AGAIN_S: Final = 0.1
_STUCK_MAX: Final = 3

_PIECE_BYTES: Final = 72 * 1024
"""In base64 less than the 128 KiB that an argument may have, and without padding."""

_CALL_BYTES: Final = 6 * _PIECE_BYTES
"""All arguments together may have 2 MiB."""


async def put_input(
    connection: Connection, exec_id: str, user: str, offset: int, data: bytes, *, end: bool
) -> int:
    """Append to an exec's input what of `data` has not been appended before.

    Args:
        connection: To its sandbox.
        exec_id: Of a spooled exec.
        user: Who runs it.
        offset: How many bytes of input come before `data`.
        data: Any number of bytes; none, to ask or to end.
        end: Whether nothing comes after them.

    Returns:
        How many bytes of input there are in all: less than `offset` when some
        before it are missing, and then nothing was done.

    Raises:
        InputClosedError: Nobody reads it any more, or its end was sent.
        DiskFullError: The sandbox has no room for it; part of it may be written.
        SandboxEndedError: The sandbox is gone.
        BackendUnavailableError: Contact was lost; it may have been written.
    """
    done, upto, stuck = offset, offset + len(data), 0
    while True:
        piece = data[done - offset :][:_CALL_BYTES]
        last = done + len(piece) == upto
        word, count = await _put(connection, exec_id, user, done, piece, end=end and last)
        match word:
            case "closed":
                raise InputClosedError("The program takes no more input.")
            case "part":
                # The disk is full; or somebody has ended what the script was helped by.
                stuck = 0 if count > done else stuck + 1
                if stuck == _STUCK_MAX:
                    raise DiskFullError("The sandbox has no room for the program's input.")
                done = max(done, count)
            case "hole":
                return count
            case "ok" if last:
                return count
            case "ok":
                done = min(count, upto)
            case _:
                # The program does not read, and the script has waited for it.
                await asyncio.sleep(_AGAIN_S)


async def _put(
    connection: Connection, exec_id: str, user: str, offset: int, data: bytes, *, end: bool
) -> tuple[str, int]:
    """Run the script once. Returns its word, and how many bytes of input there are in all."""
    told = ["-c", _PUT, "/bin/bash", exec_id, str(offset), str(len(data)), "end" if end else ""]
    printed = await envd.run_bash(
        connection, [*told, *_written(data)], user=user, timeout_s=_PUT_TIMEOUT_S
    )
    word, _, count = printed.decode(errors="replace").strip().partition(" ")
    if not count.isdecimal():
        raise BackendUnavailableError("The sandbox could not take the input.")
    return word, int(count)


def _written(data: bytes) -> list[str]:
    """Return bytes as arguments: what somebody types spares the script two programs."""
    if len(data) <= _PIECE_BYTES and b"\0" not in data:
        with suppress(UnicodeDecodeError):
            return ["text", data.decode()]
    pieces = [data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)]
    return ["base64", *(base64.b64encode(piece).decode() for piece in pieces)]
