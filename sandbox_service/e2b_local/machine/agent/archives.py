"""Packing what programs have written, and unpacking it, with the system's own `tar`.

It runs in a child of the agent; see `main.Agent._start_worker`.
"""

from __future__ import annotations

import errno
import os
import select
import time

# Python 3.8 must be able to run this file, whatever runs the server.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OWN_PROGRAM = "SANDBOX_TAR"
"""Variable of the agent with a command for `tar`, in words, where the sandbox has none or
another than the host's."""

PROGRAMS = ("/usr/bin/tar", "/bin/tar")
COMMON = ("--xattrs", "--xattrs-include=user.*", "--numeric-owner", "--file=-", "--directory=/")
PACK = (
    *("--create", "--format=pax", "--sparse", "--blocking-factor=128"),
    # Sockets are no use to anybody later.
    "--warning=no-file-ignored",
)
UNPACK = (
    *("--extract", "--preserve-permissions", "--no-same-owner", "--delay-directory-restore"),
    # Clocks may have been set back since.
    "--warning=no-timestamp",
)
SIGKILL = 9
SIGPIPE = 13
CHANGED_MEANWHILE = 1
"""What `tar` ends with when a file changed under it: the archive is whole all the same."""

COMPLAINT_LIMIT_BYTES = 2000
ERRORS_BY_WORDS = (
    (b"No space left on device", errno.ENOSPC),
    (b"Wrote only", errno.ENOSPC),  # Of a part of a block that just fitted in.
    (b"Disk quota exceeded", errno.EDQUOT),
    (b"File too large", errno.EFBIG),
    (b"Permission denied", errno.EACCES),
)


def pack(question: dict[str, Any], descriptors: list[int]) -> object:
    """Write an archive of some folders to the first descriptor."""
    names = [root.lstrip("/") for root in question["roots"]]
    run_tar((*PACK, *COMMON, "--", *names), 1, descriptors[0], question["timeout"])
    return None


def unpack(question: dict[str, Any], descriptors: list[int]) -> object:
    """Empty some folders and fill them from the first descriptor."""
    for root in question["roots"]:
        empty(root)
    run_tar((*UNPACK, *COMMON), 0, descriptors[0], question["timeout"])
    return None


def empty(folder: str) -> None:
    """Remove all that is in a folder."""
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                import shutil

                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def run_tar(arguments: tuple[str, ...], place: int, archive: int, timeout: float) -> None:
    """Run `tar` with the archive as its standard input or output.

    Raises:
        OSError: With what it said, and the errno that this tells of.
    """
    own = os.environ.get(OWN_PROGRAM, "").split()
    command = own or [path for path in PROGRAMS if os.access(path, os.X_OK)][:1]
    if not command:
        raise OSError(errno.ENOENT, "there is no tar in the sandbox")
    complaints, complaints_writer = os.pipe2(os.O_CLOEXEC)
    pid = os.posix_spawn(
        command[0],
        [*command, *arguments],
        {"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, archive, place),
            (os.POSIX_SPAWN_DUP2, complaints_writer, 2),
        ],
        setsigmask=(),
        # The agent's Python ignores it; a `tar` that nobody reads from must end.
        setsigdef=(SIGPIPE,),
    )
    os.close(complaints_writer)
    said = read_until(complaints, time.monotonic() + timeout)
    if said is None:
        os.kill(pid, SIGKILL)
    _, status = os.waitpid(pid, 0)
    if said is None:
        raise OSError(errno.ETIMEDOUT, f"tar was not done within {timeout:g} s")
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) in (0, CHANGED_MEANWHILE):
        return
    number = next((number for words, number in ERRORS_BY_WORDS if words in said), errno.EIO)
    text = said.decode("utf-8", "replace").strip()
    raise OSError(number, text or f"tar ended with wait status {status}")


def read_until(descriptor: int, deadline: float) -> bytes | None:
    """Read to the end, keeping a little of the beginning. None: the deadline has passed."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    kept = b""
    while poll.poll(max(0, deadline - time.monotonic()) * 1000):
        part = os.read(descriptor, 65536)
        if not part:
            return kept
        kept += part[: COMPLAINT_LIMIT_BYTES - len(kept)]
    return None


WORK = {"pack": pack, "unpack": unpack}
