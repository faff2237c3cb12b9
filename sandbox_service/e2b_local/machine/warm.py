"""Sandboxes that were booted before anybody asked for them.

All of a set are of one kind: they were booted by one spec and are given only to who asks
for exactly that, so that nothing has to be changed in them. What a sandbox gets after its
boot, such as variables and a way out, it gets then in any case.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.machine.model import BootFailedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandbox_service.e2b_local.machine.guest import Guest
    from sandbox_service.e2b_local.machine.model import BootSpec

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 5.0


class WarmSet:
    """Keeps some sandboxes of one kind ready, and boots another for each that is taken.

    Args:
        boot: Boots one.
        quiet: Returns when nobody waits for a boot: others go first.

    Attributes:
        size: How many are kept ready.
    """

    def __init__(
        self,
        boot: Callable[[BootSpec], Awaitable[Guest]],
        quiet: Callable[[], Awaitable[None]],
    ) -> None:
        self.size = 0
        self._boot = boot
        self._quiet = quiet
        self._spec: BootSpec | None = None
        self._ready: list[Guest] = []
        self._wanted = asyncio.Event()
        self._filling: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._closed = False

    def keep(self, spec: BootSpec, size: int) -> None:
        """Begin to keep some ready. Call it once, on the loop.

        Args:
            spec: What they are.
            size: How many. 0: none.
        """
        if size > 0:
            self.size = size
            self._spec = spec
            self._wanted.set()
            self._filling = asyncio.get_running_loop().create_task(self._fill(spec))

    def take(self, spec: BootSpec) -> Guest | None:
        """Take one that is ready, the oldest. None: none of that kind is."""
        while self._ready and spec == self._spec:
            guest = self._ready.pop(0)
            self._wanted.set()
            if not guest.ended.done():
                return guest
        return None

    async def close(self) -> None:
        """End those that nobody has taken, and boot no more."""
        self._closed = True
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait((self._filling,))
        ready, self._ready = self._ready, []
        await asyncio.gather(*(guest.kill() for guest in ready))

    async def _fill(self, spec: BootSpec) -> None:
        told = False
        loop = asyncio.get_running_loop()
        # A boot may fail in its own way when it is cancelled.
        while not self._closed:
            await self._wanted.wait()
            await asyncio.sleep(self._not_before - loop.time())
            await self._quiet()
            try:
                guest = await self._boot(spec)
            except BootFailedError as error:
                if not told:
                    logger.warning("no sandbox can be kept ready: %s", error)
                told = True
                self._hold_back()
                continue
            told = False
            self._ready.append(guest)
            if len(self._ready) >= self.size:
                self._wanted.clear()
            guest.ended.add_done_callback(functools.partial(self._forget, guest))

    def _forget(self, guest: Guest, _ended: asyncio.Future[str]) -> None:
        """Replace one that has died before anybody took it."""
        if guest in self._ready:
            self._ready.remove(guest)
            self._hold_back()
            self._wanted.set()

    def _hold_back(self) -> None:
        """Boot none for a while: what was bad for one may be bad for the next one, too."""
        self._not_before = asyncio.get_running_loop().time() + _RETRY_SECONDS
