"""Copies of a sandbox's files, as archives on the host's disk."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sandbox_service.e2b_local.fleet.store import new_id
from sandbox_service.e2b_local.machine import (
    BootFailedError,
    GuestLostError,
    GuestOSError,
    create_archive,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox_service.e2b_local.machine import Guest


@contextmanager
def opened(archive: Path | None) -> Iterator[int | None]:
    """Keep an archive readable, though it may be removed meanwhile.

    Raises:
        FileNotFoundError: It has been removed already.
    """
    if archive is None:
        yield None
        return
    descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def fill(guest: Guest, archive: int | None) -> None:
    """Give a sandbox that has just booted the files of an archive.

    Raises:
        BootFailedError: They could not be unpacked. The sandbox is gone.
    """
    if archive is None:
        return
    try:
        await guest.unpack(archive)
    except (GuestOSError, GuestLostError) as error:
        await guest.kill()
        raise BootFailedError(f"its files could not be unpacked: {error}") from error
    except BaseException:
        await guest.kill()
        raise


async def take(guest: Guest, folder: Path) -> Path:
    """Archive a sandbox's files while its programs stand still.

    Args:
        guest: The sandbox; it may be frozen.
        folder: Where the archive is made, for this process alone to read.

    Raises:
        GuestOSError: It could not be made; nothing is left of it.
        GuestLostError: The sandbox has died.
    """
    path = folder / f"{new_id()}.tar"
    descriptor = create_archive(path)
    try:
        await guest.pack(descriptor)
    except BaseException:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return path
