"""Ending sandboxes whose server has died, where the kernel does not do it by itself.

A sandbox is to die with its parent, and that with the server. The kernel sends its signal
in the name of the parent; where bubblewrap stays root's, but without any capability, that
name does not count for the sandbox, which is another user. Its agent still ends when the
server is gone, but not one that is stopped. So a process of root's holds on to each
sandbox, and kills those that are left when the server's end of a socket is closed.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    """A process that outlives this one, to end sandboxes. It starts with the first.

    Should it be killed, another takes its place with the next sandbox. For that, each that
    is held costs this process a descriptor.
    """

    def __init__(self) -> None:
        self._ours: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._held: set[int] = set()

    def hold(self, pid: int) -> None:
        """Have a process killed when this one is gone. One that has ended is fine.

        Raises:
            OSError: No guard can be started.
        """
        self._forget_ended()
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        self._held.add(descriptor)
        try:
            if self._ours is None:
                self._start()
            self._send((descriptor,))
        except (BrokenPipeError, ConnectionResetError):
            self._end()
            self._start()
            self._send(self._held)

    def _forget_ended(self) -> None:
        poll = select.poll()
        for descriptor in self._held:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(0):
            self._held.remove(descriptor)
            os.close(descriptor)

    def _send(self, descriptors: Iterable[int]) -> None:
        assert self._ours is not None  # noqa: S101 - It has been started.
        for descriptor in descriptors:
            socket.send_fds(self._ours, [b"+"], [descriptor])

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _WATCH],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        self._ours = ours

    def _end(self) -> None:
        if self._ours is not None and self._process is not None:
            self._ours.close()
            self._process.wait()
        self._ours = self._process = None

    def close(self) -> None:
        """Let go: what is left is killed. Idempotent. Blocks for a moment."""
        self._end()
        while self._held:
            os.close(self._held.pop())
