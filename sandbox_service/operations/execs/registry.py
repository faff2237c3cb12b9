"""Every exec of this process, running or ended, by its sandbox and id."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from sandbox_service.domain.digests import differing
from sandbox_service.domain.exec_errors import ExecIdReusedError, TooManyExecsError
from sandbox_service.domain.limits import Limits
from sandbox_service.operations.execs.journal_budget import JournalBudget
from sandbox_service.operations.execs.running import RunningExec
from sandbox_service.operations.execs.used_ids import UsedIds
from sandbox_service.telemetry.metrics import Metrics


class ExecRegistry:
    """What runs, what ended a while ago, and which ids were ever used.

    Args:
        limits: How many may run, and how many that ended are kept for how long.
        metrics: Where running ones are counted.
        on_running: Told, whenever one more runs, of all that run, by sandbox and id.

    Attributes:
        budget: The memory that their output shares.
        used: Which ids they have had.
    """

    def __init__(
        self,
        limits: Limits,
        metrics: Metrics,
        on_running: Callable[[Mapping[str, Mapping[str, RunningExec]]], None] = lambda _: None,
    ) -> None:
        budget = self.budget = JournalBudget(limits.journals_bytes)
        # Asked when somebody looks: what is kept changes with each line of output.
        metrics.exec_journal_bytes.set_function(lambda: budget.kept_bytes)
        self.budget.on_used_up(self._give_up_output)
        self.used = UsedIds()
        self._limits = limits
        self._metrics = metrics
        self._on_running = on_running
        self._running: defaultdict[str, dict[str, RunningExec]] = defaultdict(dict)
        self._ended: defaultdict[str, dict[str, RunningExec]] = defaultdict(dict)
        # Those that ended, the first one first, and when, by the loop's clock.
        self._order: OrderedDict[RunningExec, tuple[str, float]] = OrderedDict()
        self._slots: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def find(self, sandbox_id: str, exec_id: str) -> RunningExec | None:
        """Return an exec that runs, or ended a while ago. None: nothing is known of it here."""
        running = self._running.get(sandbox_id, {}).get(exec_id)
        return running or self._ended.get(sandbox_id, {}).get(exec_id)

    def running(self, sandbox_id: str) -> Sequence[RunningExec]:
        """Return what runs in a sandbox, oldest first."""
        return list(self._running.get(sandbox_id, {}).values())

    def ended(self, sandbox_id: str) -> Sequence[RunningExec]:
        """Return what ran in a sandbox and is still kept, the first that ended first."""
        return list(self._ended.get(sandbox_id, {}).values())

    def all_running(self) -> Sequence[RunningExec]:
        """Return what runs anywhere."""
        return [it for execs in self._running.values() for it in execs.values()]

    def require_unused(self, sandbox_id: str, exec_id: str) -> None:
        """Refuse an id that was used.

        Raises:
            ExecIdReusedError: It was.
        """
        if self.used.has(sandbox_id, exec_id):
            raise _reused(sandbox_id, exec_id)

    def take(self, sandbox_id: str, exec_id: str, digests: Mapping[str, str]) -> None:
        """Take a place and an id for an exec that is about to start.

        Raises:
            TooManyExecsError: As many run as may run at once.
        """
        self.require_room(sandbox_id)
        self.used.add(sandbox_id, exec_id, digests)
        self._count(sandbox_id, +1)

    def require_room(self, sandbox_id: str) -> None:
        """Refuse an exec for which there is no place.

        Raises:
            TooManyExecsError: As many run as may run at once.
        """
        full = self._slots[sandbox_id] >= self._limits.execs_per_sandbox
        if full or self._slots.total() >= self._limits.execs:
            limit = self._limits.execs_per_sandbox if full else self._limits.execs
            raise TooManyExecsError(
                "As many execs run as may run at once. Repeat the call when one has ended.",
                retry_after=timedelta(seconds=1),
                metadata={
                    "sandbox_id": sandbox_id,
                    "limit": str(limit),
                    "scope": "sandbox" if full else "instance",
                },
            )

    def give_back(self, sandbox_id: str, exec_id: str) -> None:
        """Free the place and the id of an exec that never ran."""
        self.used.discard(sandbox_id, exec_id)
        self._count(sandbox_id, -1)

    def add(self, sandbox_id: str, running: RunningExec, *, adopted: bool = False) -> None:
        """Note that an exec runs, which has its place unless it was adopted."""
        if adopted:
            self.used.add(sandbox_id, running.exec_id, running.digests)
            self._count(sandbox_id, +1)
        self._running[sandbox_id][running.exec_id] = running
        self._on_running(self._running)

    def has_ended(self, sandbox_id: str, running: RunningExec) -> None:
        """Note that an exec has ended: its place is free, its result and output are kept."""
        self._count(sandbox_id, -1)
        execs = self._running[sandbox_id]
        execs.pop(running.exec_id, None)
        if not execs:
            del self._running[sandbox_id]
        if not self.used.knows(sandbox_id):
            # The sandbox has ended before it, and was forgotten.
            running.journal.release()
            return
        self._ended[sandbox_id][running.exec_id] = running
        self._order[running] = (sandbox_id, asyncio.get_running_loop().time())
        while len(self._order) > self._limits.ended_execs:
            self._evict(next(iter(self._order)))
        self._arm()

    def forget(self, sandbox_id: str) -> None:
        """Drop what is remembered of a sandbox that ended."""
        self.used.forget(sandbox_id)
        for running in self.ended(sandbox_id):
            self._evict(running)

    def _give_up_output(self) -> bool:
        """Drop what is kept of the exec that ended first, to make room."""
        for running in self._order:
            if running.journal.size and not running.readers.count:
                running.journal.discard()
                return True
        return False

    def _evict(self, running: RunningExec) -> None:
        sandbox_id, _ = self._order.pop(running)
        execs = self._ended[sandbox_id]
        execs.pop(running.exec_id, None)
        if not execs:
            del self._ended[sandbox_id]
        running.journal.release()

    def _arm(self) -> None:
        if self._timer is None and self._order:
            _, (_, ended) = next(iter(self._order.items()))
            due = ended + self._limits.ended_exec_retention.total_seconds()
            self._timer = asyncio.get_running_loop().call_at(due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        latest = (
            asyncio.get_running_loop().time() - self._limits.ended_exec_retention.total_seconds()
        )
        for running, (_, ended) in list(self._order.items()):
            if ended > latest:
                break
            self._evict(running)
        self._arm()

    def _count(self, sandbox_id: str, by: int) -> None:
        self._slots[sandbox_id] += by
        if not self._slots[sandbox_id]:
            del self._slots[sandbox_id]
        self._metrics.execs_running.inc(by)


def require_same(
    sandbox_id: str, exec_id: str, first: Mapping[str, str], second: Mapping[str, str]
) -> None:
    """Refuse a request that is not the one for which an id was used.

    Args:
        first: SHA-256 of each field that the first caller sent, by name.
        second: Those of the second.

    Raises:
        ExecIdReusedError: Names the fields that differ.
    """
    differs = differing(first, second)
    if differs:
        raise _reused(sandbox_id, exec_id, differs)


def _reused(sandbox_id: str, exec_id: str, differs: Sequence[str] = ()) -> ExecIdReusedError:
    """Return the refusal of an exec whose id was used."""
    data = {"sandbox_id": sandbox_id, "exec_id": exec_id}
    return ExecIdReusedError(
        f"An exec {exec_id!r} ran or runs in the sandbox, and is never run twice. "
        "Choose another id.",
        metadata={**data, "differs": ",".join(differs)} if differs else data,
    )
