"""Runs inside a sandbox: how its steps towards the outside are tried and told.

An attempt is a function. What it came to is a word: the name of the errno that it was
refused with, what it returned if that is text, or "reached: ..." for any other return.
"""

from __future__ import annotations

import ctypes
import errno
import os

LIBC = ctypes.CDLL(None, use_errno=True)


def observe(attempt):
    """Try it, and say what came of it."""
    try:
        value = attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))
    except Exception as error:
        return f"not tried: {error!r}"
    return value if isinstance(value, str) else f"reached: {value!r}"


def checked(value):
    """Pass a C function's value on, or raise what errno says."""
    if value == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return value


def syscall(number, *arguments):
    """Make a call with arguments of 64 bits each."""
    call = LIBC.syscall
    call.restype = ctypes.c_long
    return checked(call(ctypes.c_long(number), *map(ctypes.c_ulong, arguments)))


def in_child(work):
    """Do something in a process of its own, and return its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def told_by_child(attempt):
    """Observe something in a session of its own."""
    reader, writer = os.pipe()

    def tell():
        os.setsid()
        os.write(writer, observe(attempt).encode())

    in_child(tell)
    os.close(writer)
    with os.fdopen(reader) as told:
        return told.read()
