"""Opening what somebody outside names, by the kernel's rules, but through no magic link.

`/proc/PID/fd/N` and its like are no names but ways into what a process has. While an
archive is packed or unpacked, `tar` has a descriptor that comes from the host, which is no
file of the sandbox.
"""

from __future__ import annotations

import _ctypes
import errno
import os
import sys

# Python 3.8 must be able to run this file, whatever runs the server.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

OPENAT2 = 437
"""Its number, on every processor."""

AT_FDCWD = -100
RESOLVE_NO_MAGICLINKS = 0x02
O_TMPFILE = 0o20000000


def open_path(path: str, flags: int, mode: int = 0) -> int:
    """Open as `os.open` does.

    Raises:
        OSError: ELOOP: a magic link is on the way, or at its end. Kernels before 5.6 follow
            it.
    """
    return _open(path, flags, mode)


def make_openat2() -> Callable[[str, int, int], int] | None:
    """Return the system call as a function. None: there is none here."""

    class Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "l"

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
        _restype_ = Long

    # What the package `ctypes` is made of; importing that takes as long as a boot.
    library = _ctypes.dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type]
    syscall = Function(_ctypes.dlsym(library, "syscall"))

    def openat2(path: str, flags: int, mode: int) -> int:
        if "\0" in path:
            raise ValueError("embedded null byte")
        kept = mode & 0o7777 if flags & os.O_CREAT or flags & O_TMPFILE == O_TMPFILE else 0
        how = b"".join(
            word.to_bytes(8, sys.byteorder) for word in (flags, kept, RESOLVE_NO_MAGICLINKS)
        )
        name = os.fsencode(path)
        while True:
            descriptor = int(syscall(OPENAT2, AT_FDCWD, name, how, len(how)))
            if descriptor >= 0:
                return descriptor
            number = _ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number), path)

    try:
        os.close(openat2("/", os.O_PATH | os.O_CLOEXEC, 0))
    except OSError:
        return None
    return openat2


try:
    _open = make_openat2() or os.open
except AttributeError:  # Another Python is made of other things.
    _open = os.open
