"""Host uids for the sandboxes of servers that run as root.

A sandbox must not be mapped to the host's root: its uid 1000 would then own
`/proc/sys`, and process limits would not hold. So each gets a host uid that nobody else
has. Servers on one machine agree on blocks of uids by holding a lock on a file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.model import (
    BootFailedError,
    IsolationUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_LOCK_DIR: Final = Path("/run/sandbox-service")

_BLOCK_SIZE: Final = 1000
# High ids that distributions give to nobody; and, where a container has only 65,536 of
# them, those between people and the system's own ranges.
_RANGES: Final = (range(2_000_000, 3_000_000), range(30_000, 60_000))


def read_map(text: str) -> list[range]:
    """The ids that exist in this user namespace, from the text of a uid_map or gid_map."""
    rows = (line.split() for line in text.splitlines())
    return [range(int(row[0]), int(row[0]) + int(row[2])) for row in rows if len(row) == 3]


def find_blocks(uid_map: list[range], gid_map: list[range]) -> Iterator[range]:
    """Yield the blocks whose every id is both a uid and a gid here."""

    def covered(block: range, by: list[range]) -> bool:
        return any(one.start <= block.start and block.stop <= one.stop for one in by)

    for wanted in _RANGES:
        for start in range(wanted.start, wanted.stop, _BLOCK_SIZE):
            block = range(start, start + _BLOCK_SIZE)
            if covered(block, uid_map) and covered(block, gid_map):
                yield block


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def image_block(uid_map: list[range], gid_map: list[range]) -> range:
    """The uids that images belong to, the same for every server: none of the pools' own.

    Returns:
        The last block of the first range that exists here. Empty: there is none.
    """
    blocks = list(find_blocks(uid_map, gid_map))
    first = next((wanted for wanted in _RANGES if blocks and blocks[0].start in wanted), range(0))
    return next((block for block in reversed(blocks) if block.start in first), range(0))


def claim_for_images() -> range:
    """Return the block of uids that images belong to here.

    Raises:
        IsolationUnavailableError: There is none.
    """
    block = image_block(*_own_maps())
    if not block:
        raise _no_uids("root filesystems of templates")
    return block


def _no_uids(whom: str) -> IsolationUnavailableError:
    return IsolationUnavailableError(
        f"No host uids are free to give to {whom}.",
        "Run as an ordinary user, or in a container with more uids mapped (65,536 will do).",
    )


def _own_maps() -> tuple[list[range], list[range]]:
    uids, gids = (read_map(Path(f"/proc/self/{kind}_map").read_text()) for kind in ("uid", "gid"))
    return uids, gids


class UidPool:
    """A block of uids that no other server uses while this one lives."""

    def __init__(
        self, block: range, lock_fd: int, taken: Callable[[int], bool] = _has_account
    ) -> None:
        self._lock_fd = lock_fd
        self._taken = taken
        self._free = list(reversed(block))

    @classmethod
    def claim(cls, lock_dir: Path | None) -> UidPool:
        """Take the first block that is free.

        Raises:
            IsolationUnavailableError: There is none, or the locks cannot be kept.
        """
        folder = lock_dir or DEFAULT_LOCK_DIR
        maps = _own_maps()
        kept = image_block(*maps)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for block in find_blocks(*maps):
                if block == kept:
                    continue
                lock = _try_lock(folder / f"uids-{block.start}.lock")
                if lock is not None:
                    return cls(block, lock)
        except OSError as error:
            raise IsolationUnavailableError(
                f"The folder {folder}, where servers that run as root agree on host uids, "
                f"cannot be used: {error.strerror}.",
                "Make it writable for root, or run as an ordinary user.",
            ) from error
        raise _no_uids("sandboxes")

    def take(self) -> int:
        """Take a uid that is nobody's.

        Raises:
            BootFailedError: All are in use.
        """
        while self._free:
            uid = self._free.pop()
            if not self._taken(uid):
                return uid
        raise BootFailedError("no host uid is free for another sandbox")

    def give_back(self, uid: int) -> None:
        """Return a uid none of whose processes is left."""
        self._free.insert(0, uid)

    def close(self) -> None:
        """Let others have the block."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EWOULDBLOCK:
            return None
        raise
    return descriptor
