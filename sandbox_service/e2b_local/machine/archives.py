"""Archives of a sandbox's files, carried between its agent and files of the host."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.model import WRITABLE, GuestOSError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sandbox_service.e2b_local.machine.channel import Channel

TMP: Final = "/tmp"  # noqa: S108
HOMES: Final = tuple(path for _, path in WRITABLE)
ROOTS: Final = (*HOMES, TMP)
"""All that a program in a sandbox can write to and find again."""

_PIPE_BYTES: Final = 1024**2
# The agent keeps the time; this is for an agent that does not.
_GRACE_SECONDS: Final = 10.0


def create(path: Path) -> int:
    """Make the file for an archive, which nobody but this process' user may read.

    Returns:
        A descriptor to write to. The caller closes it.

    Raises:
        GuestOSError: The host has no room for another file, or one is there.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritten(error) from error


async def pack(channel: Channel, writer_fd: int, roots: Sequence[str], timeout: float) -> None:
    """Have the agent pack some folders into a file; see `Guest.pack`.

    The agent gets a pipe, not the file: a sandbox may write no file larger than its limit,
    and nothing in it can keep hold of the archive.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with contextlib.suppress(OSError):  # More than one user's pipes may hold.
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    os.set_blocking(writer, True)
    stop = os.eventfd(0, os.EFD_CLOEXEC)
    deadline = time.monotonic() + timeout + _GRACE_SECONDS
    # The threads that everybody shares are few, and this one may be needed for long.
    thread = ThreadPoolExecutor(1, "archive")
    loop = asyncio.get_running_loop()
    carrying = loop.run_in_executor(thread, _carry, reader, writer_fd, stop, deadline)
    try:
        # The channel closes the writer, whatever happens.
        asked = channel.put("pack", {"roots": list(roots), "timeout": timeout}, (writer,))
        # Where the file cannot be written, nobody waits for what tar says of that.
        asked.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait((carrying,))
        carrying.result()
        await asyncio.wait_for(asked, _GRACE_SECONDS)
    except TimeoutError:
        raise _late() from None
    finally:
        os.eventfd_write(stop, 1)
        while not carrying.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((carrying,))
        thread.shutdown(wait=False)
        os.close(stop)


async def unpack(channel: Channel, reader_fd: int, roots: Sequence[str], timeout: float) -> None:
    """Have the agent unpack an archive over some folders; see `Guest.unpack`."""
    fields = {"roots": list(roots), "timeout": timeout}
    # Opened anew: others may read the same file, and a descriptor's copies share a place.
    archive = os.open(f"/proc/self/fd/{reader_fd}", os.O_RDONLY | os.O_CLOEXEC)
    asked = channel.put("unpack", fields, (archive,))
    try:
        await asyncio.wait_for(asked, timeout + _GRACE_SECONDS)
    except TimeoutError:
        raise _late() from None


def _carry(reader: int, target: int, stop: int, deadline: float) -> None:
    """Move everything from a pipe into a file, and close the pipe's end."""
    try:
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        poll.register(stop, select.POLLIN)
        while True:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                raise _late()
            if any(descriptor == stop for descriptor, _ in ready):
                return
            if not os.splice(reader, target, _PIPE_BYTES):
                return
    except GuestOSError:
        raise
    except OSError as error:
        raise _unwritten(error) from error
    finally:
        os.close(reader)


def _unwritten(error: OSError) -> GuestOSError:
    return GuestOSError(error.errno, f"the archive cannot be written: {error.strerror}")


def _late() -> GuestOSError:
    return GuestOSError(errno.ETIMEDOUT, "the agent was not done with the archive in time")
