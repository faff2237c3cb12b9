"""Ending sandboxes whose server has died, where the kernel does not do it by itself.

A sandbox is to die with its parent, and that with the server. The kernel sends its signal
in the name of the parent; where bubblewrap stays root's, but without any capability, that
name does not count for the sandbox, which is another user. Its agent still ends when the
server is gone, but not one that is stopped. So a process of root's holds on to each
sandbox, and kills those that are left when the server's end of a socket is closed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from typing import Final

_WATCH: Final = """\
import os, select, signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
server = socket.socket(fileno=0)
held = set()
while True:
    data, descriptors, _, _ = socket.recv_fds(server, 1, 1)
    if not data:
        break
    held.update(descriptors)
    poll = select.poll()
    for descriptor in held:
        poll.register(descriptor, select.POLLIN)
    for descriptor, _ in poll.poll(0):
        held.remove(descriptor)
        os.close(descriptor)
for descriptor in held:
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


class Guard:
    """A process that outlives this one, to end sandboxes. It starts with the first."""

    def __init__(self) -> None:
        self._ours: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def hold(self, pid: int) -> None:
        """Have a process killed when this one is gone. One that has ended is fine.

        Raises:
            OSError: The guard is dead, or cannot be started.
        """
        if self._ours is None:
            self._start()
        assert self._ours is not None  # noqa: S101 - It was just made.
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                socket.send_fds(self._ours, [b"+"], [descriptor])
            finally:
                os.close(descriptor)

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WATCH],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        self._ours = ours

    def close(self) -> None:
        """Let go: what is left is killed. Idempotent. Blocks for a moment."""
        if self._ours is not None and self._process is not None:
            self._ours.close()
            self._process.wait()
        self._ours = self._process = None
