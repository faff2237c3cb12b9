"""A sandbox's files, carried over from one boot to the next, or into another sandbox.

What lies on the disk stays where it is. What is memory, as `/tmp`, is packed by the
sandbox itself. A copy of a sandbox on the host's files is made inside as well, for only
inside do they mean what they say; a copy of one on an image is its layer and what it had
in memory, packed from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from typing import TYPE_CHECKING

from sandbox_service.e2b_local.machine import archives
from sandbox_service.e2b_local.machine.archives import ROOTS, TMP
from sandbox_service.e2b_local.machine.model import GuestOSError
from sandbox_service.e2b_local.machine.roots import layers
from sandbox_service.e2b_local.machine.roots.places import SAVED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandbox_service.e2b_local.machine.guest import Guest
    from sandbox_service.e2b_local.machine.model import MachineConfig
    from sandbox_service.e2b_local.machine.roots.places import Place


def memory_roots(config: MachineConfig) -> tuple[str, ...]:
    """The folders of a sandbox that are memory, and may be kept."""
    return (TMP,) if config.home_size_bytes is None else ROOTS


async def save(guest: Guest, place: Place, roots: Sequence[str]) -> None:
    """Pack folders of a sandbox whose programs stand still into `SAVED`; none: nothing.

    Raises:
        GuestOSError, GuestLostError: As `Guest.pack`. Nothing is left of it.
    """
    if not roots:
        return
    try:
        descriptor = archives.create(place.saved)
        try:
            await guest.pack(descriptor, roots=roots)
        finally:
            os.close(descriptor)
    except BaseException:
        place.saved.unlink(missing_ok=True)
        raise


async def restore(guest: Guest, place: Place, roots: Sequence[str]) -> None:
    """Give a sandbox that has just booted what `save` packed, and remove that.

    Raises:
        GuestOSError, GuestLostError: As `Guest.unpack`.
        OSError: The file is not there.
    """
    if not roots:
        return
    # Its folder is its user's, who must not choose by a link what is read here.
    descriptor = os.open(place.saved, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        await guest.unpack(descriptor, roots=roots)
    finally:
        os.close(descriptor)
    place.saved.unlink()


async def copy(guest: Guest, place: Place, writer_fd: int, roots: Sequence[str]) -> None:
    """Write all files of a sandbox that runs; see `Machine.archive`."""
    if place.image is None:
        await guest.pack(writer_fd)
        return
    async with guest.programs_stopped():
        await save(guest, place, roots)
        try:
            await copy_shelved(place, writer_fd)
        finally:
            place.saved.unlink(missing_ok=True)


async def copy_shelved(place: Place, writer_fd: int) -> None:
    """Write all files of a sandbox on an image that does not run.

    Raises:
        GuestOSError: With what `tar` said.
    """
    try:
        await _to_its_end(lambda: layers.pack(place.path, writer_fd, [SAVED]))
    except OSError as error:
        raise GuestOSError(error.errno or errno.EIO, error.strerror or str(error)) from error


async def unpack(reader_fd: int, place: Place) -> None:
    """Fill the folder of a new sandbox with a copy of one on the same image.

    It is as if shelved then.

    Raises:
        OSError: With what `tar` said.
    """
    await _to_its_end(lambda: layers.unpack(reader_fd, place.path, place.uid))


async def _to_its_end(work: Callable[[], None]) -> None:
    """Do in a thread what blocks, and wait for it though this may be cancelled.

    Whoever removes the files afterwards must be the last to touch them.
    """
    doing = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(doing)
    finally:
        while not doing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((doing,))
        doing.cancelled() or doing.exception()
