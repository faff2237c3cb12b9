"""What a sandbox has on the host's disk: while it runs, and between two boots."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.model import WRITABLE
from sandbox_service.e2b_local.machine.roots import rootfs
from sandbox_service.e2b_local.machine.tiers import bubblewrap

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox_service.e2b_local.machine.model import Image

SAVED: Final = "saved.tar"
"""In a sandbox's own folder: what it had in memory file systems, while it is shelved."""


@dataclass(slots=True)
class Place:
    """What a sandbox keeps between two boots.

    Attributes:
        sandbox_id: Whose it is. One that was booted ahead gets its own when it is taken.
        path: Its own folder on the host.
        uid: Whom the host takes it for. None: the server's own user.
        image: Its root filesystem. None: the host's own files.
        kept: Whether it stays when the processes end.
    """

    sandbox_id: str
    path: Path
    uid: int | None
    image: Image | None = None
    kept: bool = False

    @property
    def saved(self) -> Path:
        """Where `SAVED` is, if it is there."""
        return self.path / SAVED

    @property
    def layer(self) -> Path | None:
        """The folder of all that it writes to the disk. None: there is no single one."""
        return None if self.image is None else self.path / rootfs.LAYER

    def make(self) -> None:
        """Make the folders of a new sandbox, open to its user alone.

        Raises:
            OSError: The disk says no.
        """
        if self.image is not None:
            rootfs.make_folders(self.path, self.image)
            return
        self.path.mkdir(mode=0o700)
        for name, _ in WRITABLE:
            (self.path / name).mkdir(mode=0o755)
            if self.uid is not None:
                os.chown(self.path / name, self.uid, self.uid)
        if self.uid is not None:
            os.chown(self.path, self.uid, self.uid)

    def make_ready(self, boot_id: str) -> None:
        """Prepare a boot, be it the first or another one, while nothing of it runs.

        Args:
            boot_id: What the sandbox sees as the id of its boot.

        Raises:
            OSError: The disk says no.
        """
        if self.image is not None:
            rootfs.clear_way(self.path)
        file = self.path / bubblewrap.BOOT_ID
        file.unlink(missing_ok=True)  # Of the boot before; even its owner may not write to it.
        file.write_text(f"{boot_id}\n")
        file.chmod(0o444)

    def remove(self) -> None:
        """Remove all of it; nothing there is fine. Blocks."""
        rootfs.remove(self.path)
