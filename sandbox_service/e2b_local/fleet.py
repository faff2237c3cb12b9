"""All sandboxes of this backend: making them, measuring them, ending them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sandbox_service.e2b_local.envd import Envd
from sandbox_service.e2b_local.machine import BootSpec, GuestLostError
from sandbox_service.e2b_local.store import SandboxRecord, SandboxStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from sandbox_service.e2b_local.http1 import Exchange
    from sandbox_service.e2b_local.machine import Guest, Machine, Usage

logger = logging.getLogger(__name__)

# Measuring walks a sandbox's files, so it is seldom done unasked.
SAMPLE_SECONDS: Final = 30.0
# Who asks gets a sample of at most this age.
_FRESH_SECONDS: Final = 1.0
# An hour, when nobody asks.
_SAMPLES_KEPT: Final = 120
# A wait of this length at most, for the clock that ends sandboxes can be set.
_REAP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sandbox used at one time.

    Attributes:
        taken_at: Seconds since 1970.
        cpu_percent: Of one CPU, since the sample before.
        usage: The rest.
    """

    taken_at: float
    cpu_percent: float
    usage: Usage


@dataclass(slots=True)
class Sandbox:
    """One sandbox that runs.

    Attributes:
        sandbox_id: Its id.
        guest: Its processes and files.
        envd: What answers on its port 49983.
        started_at: Seconds since 1970.
        exchanges: Calls that are under way in it; they are cut when it ends.
        samples: What it used, oldest first.
    """

    sandbox_id: str
    guest: Guest
    envd: Envd
    started_at: float
    exchanges: set[Exchange] = field(default_factory=set)
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=_SAMPLES_KEPT))


class Fleet:
    """All sandboxes of this backend.

    Args:
        machine: Makes them.
        clock: Returns seconds since 1970.
    """

    def __init__(self, machine: Machine, clock: Callable[[], float]) -> None:
        self._machine = machine
        self.store = SandboxStore(clock)
        self._running: dict[str, Sandbox] = {}
        self._ends_changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Sandbox]:
        return iter(list(self._running.values()))

    def get(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox that runs."""
        return self._running.get(sandbox_id)

    def begin(self) -> None:
        """Start to end sandboxes in time and to measure them."""
        self._spawn(self._reap())
        self._spawn(self._measure())

    async def create(self, record: SandboxRecord) -> Sandbox:
        """Boot a sandbox.

        Raises:
            BootFailedError: It did not start; repeating may help.
        """
        sandbox_id = record.sandbox_id
        guest = await self._machine.boot(sandbox_id, BootSpec())
        template = record.template
        env = {
            "E2B_SANDBOX": "true",
            "E2B_SANDBOX_ID": sandbox_id,
            "E2B_TEMPLATE_ID": template.template_id,
            **template.env,
            **record.env,
        }
        sandbox = Sandbox(
            sandbox_id=sandbox_id,
            guest=guest,
            envd=Envd(guest, env, record.access_token, template.cpu_count),
            started_at=record.started_at,
        )
        self.store.add(record)
        self._running[sandbox_id] = sandbox
        self._ends_changed.set()
        guest.ended.add_done_callback(lambda ended: self._on_ended(sandbox, ended))
        return sandbox

    def ends_changed(self) -> None:
        """Look again when the next sandbox ends: a lifetime was changed."""
        self._ends_changed.set()

    async def kill(self, sandbox_id: str) -> bool:
        """End a sandbox; returns when nothing of it is left.

        Returns:
            False: there is none of that id.
        """
        sandbox = self._running.get(sandbox_id)
        if sandbox is None:
            return False
        self._forget(sandbox)
        await sandbox.guest.kill()
        return True

    def _forget(self, sandbox: Sandbox) -> None:
        """Cut whoever is in it. By then a probe must already be told that it is gone."""
        if self._running.pop(sandbox.sandbox_id, None) is None:
            return
        self.store.remove(sandbox.sandbox_id)
        for exchange in list(sandbox.exchanges):
            exchange.wire.abort()
        sandbox.envd.close()

    def _on_ended(self, sandbox: Sandbox, ended: asyncio.Future[str]) -> None:
        if sandbox.sandbox_id in self._running and not ended.cancelled():
            logger.warning("sandbox %s ended by itself: %s", sandbox.sandbox_id, ended.result())
        self._forget(sandbox)

    async def sample(self, sandbox: Sandbox) -> None:
        """Measure a sandbox, unless that has just been done.

        Raises:
            GuestLostError: It has died meanwhile.
        """
        last = sandbox.samples[-1] if sandbox.samples else None
        if last is not None and abs(self.store.now() - last.taken_at) < _FRESH_SECONDS:
            return
        usage = await sandbox.guest.usage()
        now = self.store.now()
        since = sandbox.started_at if last is None else last.taken_at
        used = usage.cpu_seconds - (0.0 if last is None else last.usage.cpu_seconds)
        percent = 100 * used / (now - since) if now > since else 0.0
        sandbox.samples.append(Sample(now, max(0.0, round(percent, 2)), usage))

    async def close(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        for sandbox in self:
            self._forget(sandbox)
        await self._machine.close()

    async def _reap(self) -> None:
        while True:
            for sandbox_id in self.store.expired():
                # Each on its own: one that is slow to die must not delay the others.
                self._spawn(self._end_of_life(sandbox_id))
            next_end = self.store.next_end()
            wait = _REAP_SECONDS
            if next_end is not None:
                wait = min(wait, max(0.0, next_end - self.store.now()))
            self._ends_changed.clear()
            try:
                await asyncio.wait_for(self._ends_changed.wait(), max(wait, 0.01))
            except TimeoutError:
                continue

    async def _end_of_life(self, sandbox_id: str) -> None:
        logger.info("sandbox %s has reached its end of life", sandbox_id)
        await self.kill(sandbox_id)

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            for sandbox in self:
                try:
                    await self.sample(sandbox)
                except (GuestLostError, OSError):
                    continue  # It has just died, or could not answer: it has no sample.

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
