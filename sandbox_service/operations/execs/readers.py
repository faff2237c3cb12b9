"""Who reads an exec, and what it means that nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from sandbox_service.domain.execs import ExecSpec, Position, Retention
from sandbox_service.operations.execs.journal import Journal
from sandbox_service.operations.execs.journal_reader import JournalReader


def comes_back(spec: ExecSpec) -> bool:
    """Return whether a reader who left may come back for what was written meanwhile."""
    return spec.retention is not Retention.ATTACHED or bool(spec.reader_grace)


class Readers:
    """The readers of one exec.

    Args:
        journal: What they read.
        grace: How long the exec lives on without any. None: as long as it likes.
        pty: Whether it has a terminal.
        keep: Whether output is kept for who may come back.
        on_absence: Told when nobody was there for that long.
    """

    def __init__(
        self,
        journal: Journal,
        grace: timedelta | None,
        *,
        pty: bool,
        keep: bool,
        on_absence: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._grace = grace
        self._pty = pty
        self._keep = keep
        self._on_absence = on_absence
        self._no_more = False
        self._here: list[JournalReader] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._here)

    def enter(self, position: Position | None = None) -> JournalReader:
        """Let somebody read from `position`, or from the oldest output kept.

        Raises:
            PositionOutOfRangeError: The output has not come that far.
        """
        reader = self._journal.reader(position, pty=self._pty)
        self._here.append(reader)
        self._disarm()
        return reader

    def leave(self, reader: JournalReader) -> None:
        """Let a reader go."""
        reader.leave()
        self._here.remove(reader)
        if not self._here:
            self.nobody()

    def nobody(self) -> None:
        """Note that nobody reads, or came to do so."""
        if self._here:
            return
        if not self._keep:
            self._journal.discard()
        elif self._no_more:
            self._journal.never_wait()
        if self._grace is None:
            return
        if self._grace:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._grace.total_seconds(), self._on_absence)
        else:
            self._on_absence()

    def expect_no_more(self) -> None:
        """Let what is written wait for those who read now, and for nobody who may come back."""
        self._no_more = True
        if not self._here:
            self._journal.never_wait()

    def dismiss(self) -> None:
        """Ask every reader to leave, though there may be more to read."""
        for reader in self._here:
            reader.dismiss()

    def close(self) -> None:
        """Note that the exec has ended: absence means nothing any more."""
        self._disarm()
        self._grace = None

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
