"""What a sandbox of an image has written, packed for later and unpacked again.

A layer is in the kernel's own form: a removed file is a device node, a replaced folder has
an attribute. A program inside sees neither, so it is packed from outside, with the host's
`tar`, while nothing in the sandbox runs. Under it must lie the same image again.
"""

from __future__ import annotations

import errno
import subprocess
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.roots.rootfs import LAYER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_ATTRIBUTES: Final = ("--xattrs", "--xattrs-include=user.*", "--numeric-owner", "--file=-")
_PACK: Final = (
    *("tar", "--create", "--format=pax", "--sparse", "--hole-detection=seek"),
    # Sockets are no use to anybody later.
    *("--warning=no-file-ignored", *_ATTRIBUTES, "--"),
)
_UNPACK: Final = (
    *("tar", "--extract", "--preserve-permissions", "--no-same-owner"),
    *("--delay-directory-restore", "--warning=no-timestamp", *_ATTRIBUTES),
)
# What `tar` ends with when a mode changed under it, as of a folder that is just measured:
# the archive is whole all the same. Unpacking never ends so.
_CHANGED_MEANWHILE: Final = 1
_COMPLAINT_LIMIT_BYTES: Final = 2000
_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
_ERRORS_BY_WORDS: Final = (
    (b"No space left on device", errno.ENOSPC),
    (b"Disk quota exceeded", errno.EDQUOT),
    (b"Permission denied", errno.EACCES),
)


def pack(
    folder: Path, archive_fd: int, beside: Sequence[str] = (), timeout_seconds: float = 600.0
) -> None:
    """Write a tar of a sandbox's layer. Blocks.

    Args:
        folder: The sandbox's own folder.
        archive_fd: Open for writing.
        beside: Names of files in that folder to pack, too.
        timeout_seconds: How long it may take.

    Raises:
        OSError: With what `tar` said: EACCES for a file that its owner may not read,
            ENOSPC, ETIMEDOUT, ENOENT without a `tar`. What was written is worthless then.
    """
    command = (*_PACK, LAYER, *beside)
    _run(command, folder, None, subprocess.DEVNULL, archive_fd, timeout_seconds)


def unpack(
    archive_fd: int, folder: Path, owner: int | None, timeout_seconds: float = 600.0
) -> None:
    """Fill a folder that `make_folders` has just made with what `pack` packed. Blocks.

    Args:
        archive_fd: Open for reading on what `pack` wrote, where it begins.
        folder: The sandbox's own folder.
        owner: As whom to write. None: the server's own user.
        timeout_seconds: How long it may take.

    Raises:
        OSError: ENOSPC, EACCES, ETIMEDOUT, ... with what `tar` said.
    """
    _run(_UNPACK, folder, owner, archive_fd, subprocess.DEVNULL, timeout_seconds)


def _run(
    command: Sequence[str],
    folder: Path,
    user: int | None,
    source: int,
    target: int,
    timeout_seconds: float,
) -> None:
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=folder,
            env=_ENVIRONMENT,
            stdin=source,
            stdout=target,
            stderr=subprocess.PIPE,
            timeout=timeout_seconds,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    except subprocess.TimeoutExpired:
        raise OSError(errno.ETIMEDOUT, f"{command[0]} was not done in time") from None
    if done.returncode in {0, _CHANGED_MEANWHILE}:
        return
    said = done.stderr[:_COMPLAINT_LIMIT_BYTES]
    number = next((number for words, number in _ERRORS_BY_WORDS if words in said), errno.EIO)
    text = said.decode("utf-8", "replace").strip()
    raise OSError(number, text or f"tar ended with {done.returncode}")
