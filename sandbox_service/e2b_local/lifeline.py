"""Ending with the parent process, whatever ends it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent ends; exit when it already has."""
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    # The parent may have ended before the kernel was asked. If even `parent` was
    # somebody else's by then, standard input is closed, and that is watched too.
    if os.getppid() != parent:
        sys.exit(0)


def watch_standard_input(gone: Callable[[], None]) -> None:
    """Call back when the parent closes the pipe that is our standard input."""
    loop = asyncio.get_running_loop()
    os.set_blocking(0, False)

    def readable() -> None:
        try:
            data = os.read(0, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(0)
            gone()

    loop.add_reader(0, readable)
