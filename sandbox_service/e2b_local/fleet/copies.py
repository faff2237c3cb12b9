"""Copies of a sandbox's files, as archives on the host's disk."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sandbox_service.e2b_local.fleet.store import new_id
from sandbox_service.e2b_local.machine import create_archive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox_service.e2b_local.machine import Machine


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


async def take(machine: Machine, sandbox_id: str, folder: Path) -> Path:
    """Archive a sandbox's files while its programs stand still.

    Args:
        machine: Whose sandbox it is.
        sandbox_id: Its id; see `Machine.archive` for the state it must be in.
        folder: Where the archive is made, for this process alone to read.

    Raises:
        GuestOSError: It could not be made; nothing is left of it.
        GuestLostError: The sandbox has died.
    """
    path = folder / f"{new_id()}.tar"
    descriptor = create_archive(path)
    try:
        await machine.archive(sandbox_id, descriptor)
    except BaseException:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return path
