"""Giving up capabilities, where bubblewrap leaves that to what it starts."""

from __future__ import annotations

import ctypes
import errno
import os

PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
# A header and two sets of three words; see capset(2).
CAPABILITY_VERSION_3 = 0x20080522
SETS_BYTES = 24


def drop_all() -> None:
    """Give up every capability of this process, for good and for all that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    if ctypes.get_errno() != errno.EINVAL:  # Which says that there is no such one.
        raise OSError(ctypes.get_errno(), "PR_CAPBSET_DROP")
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    if (
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0
        or libc.capset(header, bytes(SETS_BYTES)) != 0
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
