"""What a sandbox used in the last hour that it ran."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from sandbox_service.e2b_local.machine import GuestLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox_service.e2b_local.machine import Usage

logger = logging.getLogger(__name__)

# The step of E2B's own history. There is one sample at most for each of them.
SAMPLE_SECONDS: Final = 5.0
HISTORY_SECONDS: Final = 3600.0
# Clients that wait for the first sample ask often; it is not worth their time.
_FIRST_SAMPLE_SECONDS: Final = 1.0
# Who asks gets a sample of at most this age.
_FRESH_SECONDS: Final = 1.0
# Measuring the disk walks all files, so it is seldom done when nobody asks.
_DISK_SECONDS: Final = 5.0
_UNASKED_DISK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sandbox used at one time.

    Attributes:
        taken_at: Seconds since 1970.
        cpu_percent: Of all its CPUs, 0 to 100, since the sample before.
        usage: The rest.
    """

    taken_at: float
    cpu_percent: float
    usage: Usage


class Measured(Protocol):
    """What can be metered: a `Guest`."""

    async def usage(self, *, disk_max_age_seconds: float) -> Usage:
        """Measure what it uses now.

        Raises:
            GuestLostError: It is dead.
        """


class Meter:
    """Measures one sandbox while it runs, and keeps what it found.

    Args:
        clock: Returns seconds since 1970.
        cpu_count: How many CPUs are 100 percent.
    """

    def __init__(self, clock: Callable[[], float], cpu_count: int) -> None:
        self._clock = clock
        self._cpu_count = cpu_count
        self._samples: deque[Sample] = deque(maxlen=int(HISTORY_SECONDS / SAMPLE_SECONDS))
        self._measured: Measured | None = None
        self._cpu_seconds = 0.0
        # Time and used CPU from which the share of the next sample is counted.
        self._base = (0.0, 0.0)
        self._measuring = asyncio.Lock()
        self._sampling: asyncio.Task[None] | None = None

    def begin(self, measured: Measured) -> None:
        """Measure a sandbox that has just been started or thawed, again and again."""
        self.end()
        if measured is not self._measured:
            self._cpu_seconds = 0.0
        self._measured = measured
        # Time in which it stood still is no time in which it used nothing.
        self._base = (self._clock(), self._cpu_seconds)
        self._sampling = asyncio.get_running_loop().create_task(self._sample_for_ever(measured))

    def end(self) -> None:
        """Stop to measure: it is paused, or dead. What was found is kept."""
        if self._sampling is not None:
            self._sampling.cancel()
            self._sampling = None

    async def refresh(self) -> None:
        """Measure now, unless that has just been done or nothing runs.

        Raises:
            GuestLostError: It has died meanwhile.
        """
        if self._sampling is not None and self._measured is not None:
            await self._measure(self._measured, _DISK_SECONDS)

    @property
    def latest(self) -> Sample | None:
        """The newest sample."""
        return self._samples[-1] if self._samples else None

    def between(self, start: float | None, end: float | None) -> list[Sample]:
        """Return the samples of a time, both ends included, oldest first.

        Args:
            start: Seconds since 1970. None: from the first one.
            end: Seconds since 1970. None: to the last one.
        """
        return [
            sample
            for sample in self._samples
            if (start is None or sample.taken_at >= start)
            and (end is None or sample.taken_at <= end)
        ]

    async def _sample_for_ever(self, measured: Measured) -> None:
        await asyncio.sleep(_FIRST_SAMPLE_SECONDS)
        while True:
            try:
                await self._measure(measured, _UNASKED_DISK_SECONDS)
            except (GuestLostError, OSError) as error:
                # It is about to end, or the machine is out of descriptors for now.
                logger.debug("no sample of a sandbox: %s", error)
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _measure(self, measured: Measured, disk_max_age_seconds: float) -> None:
        async with self._measuring:
            newest = self.latest
            if newest is not None and abs(self._clock() - newest.taken_at) < _FRESH_SECONDS:
                return
            usage = await measured.usage(disk_max_age_seconds=disk_max_age_seconds)
            if self._sampling is not None and measured is self._measured:
                self._add(usage)

    def _add(self, usage: Usage) -> None:
        now = self._clock()
        newest = self.latest
        if newest is not None and newest.taken_at // SAMPLE_SECONDS == now // SAMPLE_SECONDS:
            # Somebody asks more often than the history has steps.
            self._samples.pop()
        elif newest is not None and newest.taken_at > self._base[0]:
            self._base = (newest.taken_at, newest.usage.cpu_seconds)
        since, cpu_seconds = self._base
        available = (now - since) * self._cpu_count
        share = (usage.cpu_seconds - cpu_seconds) / available if available > 0 else 0.0
        self._cpu_seconds = usage.cpu_seconds
        self._samples.append(Sample(now, round(100 * min(max(share, 0.0), 1.0), 2), usage))
