"""This process's own corner of the state folder, which no other process uses."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_service.app.errors import StartError

_INSTANCES_MAX: Final = 64
_NAMES: Final = "names"
_NAMES_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Instance:
    """A corner of the state folder, held for as long as this process lives.

    Attributes:
        name: Of this process, different at every start.
        folder: Nobody else's, but kept for the next process that takes it.
        predecessors: Names of processes that had this corner and are gone, and
            after which nobody has tidied up yet.
    """

    name: str
    folder: Path
    predecessors: tuple[str, ...]
    _lock: int

    def tidied_up(self) -> None:
        """Note that nothing of the predecessors is left."""
        _write_names(self.folder, (self.name,))

    def release(self) -> None:
        """Let the next process have it."""
        os.close(self._lock)


def claim(state_dir: Path) -> Instance:
    """Take the first corner that is free.

    Raises:
        StartError: The folder cannot be used.
    """
    try:
        # Passable, not readable: sandboxes may run under uids of their own.
        state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        for number in range(_INSTANCES_MAX):
            folder = state_dir / f"instance-{number}"
            folder.mkdir(mode=0o711, exist_ok=True)
            lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
            before = _read_names(folder)
            _write_names(folder, (*before, name)[-_NAMES_MAX:])
            return Instance(name, folder, before, lock)
    except OSError as error:
        raise StartError(
            f"The state folder {state_dir} cannot be used: {error.strerror}.",
            "Set SANDBOX_STATE_DIR to a folder that you may write.",
        ) from error
    raise StartError(
        f"{_INSTANCES_MAX} instances use the state folder {state_dir} already.",
        "Set SANDBOX_STATE_DIR to another one.",
    )


def _read_names(folder: Path) -> tuple[str, ...]:
    try:
        return tuple((folder / _NAMES).read_text().split())
    except FileNotFoundError:
        return ()


def _write_names(folder: Path, names: tuple[str, ...]) -> None:
    new = folder / f"{_NAMES}.new"
    new.write_text("\n".join(names))
    new.replace(folder / _NAMES)
