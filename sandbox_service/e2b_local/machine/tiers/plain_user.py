"""Becoming an ordinary user of the host, where no user namespace makes one.

Bubblewrap builds such a sandbox as root, and what it starts is still root, with the few
capabilities that it takes to become somebody else. `setpriv` does that, for good, before
the agent begins. Inside, `user` then has the uid that the host knows, not 1000.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox_service.e2b_local.machine.archives import HOMES
from sandbox_service.e2b_local.machine.etc import SYNTHETIC_ETC
from sandbox_service.e2b_local.machine.model import IsolationUnavailableError
from sandbox_service.e2b_local.machine.tiers.tier import SYSTEM_PATH

_ACCOUNTS: Final = ("passwd", "group")
_IN_MEMORY: Final = ("/tmp", "/dev/shm")  # noqa: S108


@dataclass(frozen=True, slots=True)
class PlainUser:
    """Whom a sandbox is to become.

    Attributes:
        setpriv: The program, where sandboxes see it.
        uid: And gid.
        accounts: A folder with its `passwd` and `group`.
    """

    setpriv: str
    uid: int
    accounts: Path

    def views(self) -> Iterator[str]:
        """Show it under the name that it has everywhere."""
        for name in _ACCOUNTS:
            yield from ("--ro-bind", str(self.accounts / name), f"/etc/{name}")

    def become(self) -> Iterator[str]:
        """The beginning of a command that is run as that user, with no way back."""
        # What is memory is root's so far, who mounted it: homes too, if they have a size.
        give = f'chown "$0" {" ".join((*_IN_MEMORY, *HOMES))} && exec "$@"'
        yield from ("/bin/sh", "-c", give, f"{self.uid}:{self.uid}")
        yield from (self.setpriv, f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups")
        yield from ("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
        # The kernel forgets that it is to die with its parent when it changes the user.
        yield from ("--pdeathsig", "KILL", "--")


class PlainUsers:
    """Makes ready for them, once for each uid.

    Args:
        folder: For their accounts; others can pass it.

    Raises:
        IsolationUnavailableError: There is no `setpriv`.
    """

    def __init__(self, folder: Path) -> None:
        found = shutil.which("setpriv", path=SYSTEM_PATH)
        if found is None:
            raise IsolationUnavailableError(
                "Without user namespaces `setpriv` makes sandboxes of ordinary users, and it "
                "is not here.",
                "Install it (on Debian `util-linux`), or allow user namespaces.",
            )
        self._setpriv = found
        self._folder = folder

    def take(self, uid: int) -> PlainUser:
        """Name the user of a uid.

        Raises:
            OSError: The disk says no.
        """
        accounts = self._folder / str(uid)
        if not accounts.is_dir():
            accounts.mkdir(parents=True)
            for name in _ACCOUNTS:
                text = re.sub(r"\b1000\b", str(uid), SYNTHETIC_ETC[name])
                (accounts / name).write_text(text)
                (accounts / name).chmod(0o644)
            for folder in (self._folder, accounts):
                folder.chmod(0o755)
        return PlainUser(self._setpriv, uid, accounts)
