"""What the supervisor keeps of execs in their sandbox: found again, and read."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sandbox_service.domain.errors import (
    BackendRejectedCredentialsError,
    BackendUnavailableError,
    SandboxError,
)
from sandbox_service.domain.execs import ProcessUsage
from sandbox_service.domain.processes import FoundExec, ProcessEnd
from sandbox_service.domain.scripts import script
from sandbox_service.providers.e2b import envd
from sandbox_service.providers.e2b.sdk import Oneof, process_pb
from sandbox_service.providers.e2b.supervisor import spool_kib
from sandbox_service.providers.e2b.trailers import Trailer

if TYPE_CHECKING:
    from sandbox_service.providers.e2b.connection import Connection

_FIND: Final = script(__package__, "find_execs.sh")
_SWEEP: Final = script(__package__, "sweep_spools.sh")
_READ: Final = script(__package__, "read_spool.sh")

_READ_PART: Final = 'tail -c "+$2" -- "$1" | head -c "$3"'

_FIND_TIMEOUT_S: Final = 30.0
_LINES: Final = 5
ALL_SEEING: Final = "root"
"""The user who finds and may end what any user left."""

_SPOOLS_MAX: Final = 256
_SPOOLED_BYTES_MAX: Final = 256 * 1024 * 1024
"""How much of what has ended is left in a sandbox, for each of its users."""

SWEEP_EVERY: Final = 32
"""After how many starts a sandbox is looked through for spools that are too many."""


class SpoolGoneError(Exception):
    """A spool was deleted, or holds less than has been read of the stream."""


async def find(connection: Connection, exec_id: str, user: str) -> list[FoundExec]:
    """Look in the sandbox for what is kept.

    Args:
        connection: To the sandbox.
        exec_id: Of one exec. Empty: all that are spooled.
        user: Who looks, and finds only what is its own. Empty: root, who finds
            everything, or the template's default user where there is no root.
    """
    arguments = ["-c", _FIND, "/bin/bash", exec_id]
    try:
        printed = await envd.run_bash(
            connection, arguments, user=user or ALL_SEEING, timeout_s=_FIND_TIMEOUT_S
        )
    except BackendRejectedCredentialsError:
        if user:
            raise
        printed = await envd.run_bash(connection, arguments, user="", timeout_s=_FIND_TIMEOUT_S)
    found = _found(printed.decode(errors="replace").split("\n"))
    return sorted(found, key=lambda it: it.start_time)


async def sweep(connection: Connection, user: str) -> None:
    """Delete the oldest spools of what has ended, where there are too many."""
    arguments = ["-c", _SWEEP, "/bin/bash", str(_SPOOLS_MAX), str(_SPOOLED_BYTES_MAX)]
    await envd.run_bash(connection, arguments, user=user, timeout_s=_FIND_TIMEOUT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the provider itself needs to know of an exec that it has found.

    Attributes:
        path: Of its files, without their endings.
        user: Whose they are.
        spoolers: The processes that write stdout and stderr down. 0: not known.
    """

    path: str
    user: str
    marker: str
    nonce: bytes
    spoolers: tuple[int, int]

    @classmethod
    def of(cls, found: FoundExec) -> Kept:
        """Read an exec's handle."""
        handle = found.handle
        out, err = (int(pid) for pid in handle["spoolers"].split())
        return cls(
            path=handle["path"],
            user=handle["user"],
            marker=handle["marker"],
            nonce=handle["nonce"].encode(),
            spoolers=(out, err),
        )


def read_spool(
    connection: Connection, kept: Kept, ending: str, offset: int, *, alive: bool
) -> AsyncGenerator[bytes, None]:
    """Read a stream from its spool, and while the program runs what is added to it.

    Args:
        connection: To the sandbox.
        kept: The exec.
        ending: Which stream: `out` or `err`.
        offset: How many bytes to leave out.
        alive: Whether the program runs. If not, what is there is all.

    Raises:
        SpoolGoneError: It was deleted, or holds less than `offset`.
        SandboxEndedError: The sandbox is gone.
        BackendUnavailableError: Contact was lost.
    """
    spooler = kept.spoolers[ending == "err"]
    arguments = [f"{kept.path}.{ending}", str(offset), str(spooler), "alive" if alive else "ended"]
    return _printed(connection, [_READ, "/bin/bash", *arguments], kept.user)


def read_part(
    connection: Connection, kept: Kept, ending: str, offset: int, size: int
) -> AsyncGenerator[bytes, None]:
    """Read so much of a stream from its spool; less comes when less is there.

    Raises:
        SandboxEndedError: The sandbox is gone.
        BackendUnavailableError: Contact was lost.
    """
    arguments = [f"{kept.path}.{ending}", str(offset + 1), str(size)]
    return _printed(connection, [_READ_PART, "/bin/bash", *arguments], kept.user)


async def _printed(
    connection: Connection, script: Sequence[str], user: str
) -> AsyncGenerator[bytes, None]:
    """Run a script of bash in the sandbox and yield what it prints, until it ends or we leave.

    Raises:
        SpoolGoneError: It failed.
    """
    config = process_pb.ProcessConfig(cmd="/bin/bash", args=["-c", *script])
    events = envd.open_process(connection, config, user=user)
    pid = 0
    try:
        pid = await envd.started_pid(events)
        async for event in events:
            match envd.payload(event):
                case envd.DataEvent(output=Oneof(field="stdout", value=bytes() as data)):
                    yield data
                case envd.EndEvent() as end:
                    pid = 0
                    if end.exit_code != 0:
                        raise SpoolGoneError
                    return
                case _:
                    continue
        # What came may not be all, and nobody must take it for that.
        raise BackendUnavailableError("The backend ended the stream early.")
    except (SpoolGoneError, GeneratorExit, SandboxError):
        raise
    except Exception as error:
        raise await envd.reading_error(error, connection) from error
    finally:
        await events.aclose()
        if pid:
            await _end_reader(connection, pid)


async def _end_reader(connection: Connection, pid: int) -> None:
    """End a reader that would wait for as long as the program runs."""
    try:
        await envd.called(envd.signal_leader(connection, pid, "KILL"), connection)
    except SandboxError:
        # It has ended by itself; or it will, with the program.
        return


def _found(lines: Sequence[str]) -> list[FoundExec]:
    """Read what the finder printed. What makes no sense is left out: a program wrote it."""
    execs = []
    for start in range(0, len(lines) - _LINES + 1, _LINES):
        try:
            execs.append(_exec(*lines[start : start + _LINES]))
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return execs


def _exec(head: str, about: str, record: str, spoolers: str, ended: str) -> FoundExec:
    exec_id, folder, user, alive, same, stdout_bytes, stderr_bytes = head.split(" ")
    pid, _, _, started_us, kib, marker, nonce = about.split()
    given = json.loads(record)
    limit = int(given["limit"])
    out, err = (int(it) for it in spoolers.split()) if spoolers else (0, 0)
    if not isinstance(given["record"], dict) or spool_kib(limit) != int(kib):
        raise ValueError("a record that was not written by this service")
    end, usage, end_time = None, None, None
    if ended:
        told, signal, ended_us = _ended(ended)
        end = ProcessEnd(None if signal else told.code, signal, oom=told.oom and not signal)
        usage, end_time = ProcessUsage(cpu_time=told.cpu_time), _time(ended_us)
    running = alive == "alive" and end is None
    return FoundExec(
        exec_id=exec_id,
        record=given["record"],
        instance=str(given["instance"]),
        spool_limit_bytes=limit,
        pid=int(pid),
        start_time=_time(started_us),
        alive=running,
        restarted=same != "same",
        end=end,
        end_time=end_time,
        stdout_bytes=max(0, int(stdout_bytes)),
        stderr_bytes=max(0, int(stderr_bytes)),
        usage=usage,
        handle={
            "path": f"{folder}/{exec_id}",
            "user": "" if user == "UNKNOWN" else user,
            "marker": marker,
            "nonce": nonce,
            "spoolers": f"{out} {err}",
        },
    )


def _ended(line: str) -> tuple[Trailer, str, str]:
    told, time = line.split(" ")
    code, ticks, oom, signal = told.split(":")
    return Trailer.of(code, ticks, oom), signal, time


def _time(microseconds: str) -> datetime:
    return datetime.fromtimestamp(int(microseconds) / 1_000_000, UTC)
