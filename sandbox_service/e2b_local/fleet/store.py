"""Which sandboxes exist, and when each of them ends.

Plain bookkeeping: nothing here starts or kills anything, and time is asked of a
clock that is passed in.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from sandbox_service.e2b_local.fleet.paging import Page, cut_page

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from sandbox_service.e2b_local.config import Template
    from sandbox_service.e2b_local.fleet.paging import Order, Position

_ID_ALPHABET: Final = string.ascii_lowercase + string.digits
_ID_LENGTH: Final = 20

ShownState = Literal["running", "paused"]
"""What clients are told: what is being paused or resumed counts as paused."""

PauseMode = Literal["full", "filesystem"]


def new_id() -> str:
    """Return 20 random characters of [a-z0-9], the form of E2B's own ids."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))


def new_sandbox_id() -> str:
    """Return an id of the form that E2B's own edge accepts: `i` and 20 of [a-z0-9]."""
    return "i" + new_id()


def new_token() -> str:
    """Return a secret that nobody guesses."""
    return secrets.token_hex(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRecord:
    """One sandbox, as clients are told of it.

    Attributes:
        sandbox_id: Its id.
        template: What it was made of.
        started_at: Seconds since 1970, of its start or last resumption.
        end_at: Seconds since 1970. While it runs: when its lifetime ends. While it
            is paused: when it was paused, for then it has no end of life.
        state: Whether it runs.
        alias: Name of its template. None: that has none.
        lifetime_seconds: The lifetime its creator gave it.
        on_timeout: What happens at the end of its lifetime.
        keep_memory: Whether a pause at the end of its lifetime keeps its programs.
        auto_resume: Whether traffic resumes it.
        boot_id: Of its last start: changes when its programs were lost.
        pause_mode: What the last pause kept; None while it runs or is being paused.
        unresponsive_at_pause: Whether its agent did not answer when it was paused.
        metadata: What its creator wrote on it.
        env: Variables of every program in it, besides the template's.
        access_token: What its envd asks for. None: nothing.
        traffic_token: What its other ports ask for. None: nothing.
        allow_internet_access: As its creator sent it. None: not at all.
        network: The network settings in force, as they were sent.
        mask_request_host: Host that programs behind its ports are told. None:
            the one the client used.
    """

    sandbox_id: str
    template: Template
    started_at: float
    end_at: float
    state: ShownState = "running"
    alias: str | None = None
    lifetime_seconds: int = 0
    on_timeout: Literal["kill", "pause"] = "kill"
    keep_memory: bool = True
    auto_resume: bool = False
    boot_id: str = ""
    pause_mode: PauseMode | None = None
    unresponsive_at_pause: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    access_token: str | None = field(default=None, repr=False)
    traffic_token: str | None = field(default=None, repr=False)
    allow_internet_access: bool | None = None
    network: Mapping[str, object] = field(default_factory=dict, repr=False)
    mask_request_host: str | None = None

    def fork(self, now: float, seconds: int) -> SandboxRecord:
        """Describe a sandbox like this one, with an id and secrets of its own.

        Args:
            now: Seconds since 1970.
            seconds: Its lifetime.
        """
        return replace(
            self,
            sandbox_id=new_sandbox_id(),
            started_at=now,
            end_at=now + seconds,
            state="running",
            pause_mode=None,
            lifetime_seconds=seconds,
            access_token=None if self.access_token is None else new_token(),
            traffic_token=None if self.traffic_token is None else new_token(),
        )


class SandboxStore:
    """The records of all sandboxes, paused ones too.

    Args:
        clock: Returns seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        self._records: dict[str, SandboxRecord] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: SandboxRecord) -> None:
        """Take in a new sandbox."""
        self._records[record.sandbox_id] = record

    def put(self, record: SandboxRecord) -> None:
        """Change a record, if its sandbox is still there."""
        if record.sandbox_id in self._records:
            self._records[record.sandbox_id] = record

    def get(self, sandbox_id: str) -> SandboxRecord | None:
        """Return a sandbox's record. None: there is no such sandbox, or no longer."""
        return self._records.get(sandbox_id)

    def remove(self, sandbox_id: str) -> SandboxRecord | None:
        """Forget a sandbox and return its last record."""
        return self._records.pop(sandbox_id, None)

    def end_in(self, sandbox_id: str, seconds: float) -> SandboxRecord | None:
        """Let a running sandbox end in so many seconds from now, sooner or later than before."""
        return self._move_end(sandbox_id, self.now() + seconds)

    def extend(self, sandbox_id: str, seconds: float) -> SandboxRecord | None:
        """Let a running sandbox live for at least so many seconds more, never for fewer."""
        record = self._records.get(sandbox_id)
        if record is None:
            return None
        return self._move_end(sandbox_id, max(record.end_at, self.now() + seconds))

    def _move_end(self, sandbox_id: str, end_at: float) -> SandboxRecord | None:
        record = self._records.get(sandbox_id)
        if record is None or record.state != "running":
            return None
        moved = self._records[sandbox_id] = replace(record, end_at=end_at)
        return moved

    def expired(self) -> list[str]:
        """Return the ids of those that run though their time is over."""
        now = self.now()
        return [
            record.sandbox_id
            for record in self._records.values()
            if record.state == "running" and record.end_at <= now
        ]

    def next_end(self, besides: Collection[str] = ()) -> float | None:
        """Return the time at which the next sandbox ends. None: there is none.

        Args:
            besides: Ids of sandboxes that do not count.
        """
        running = (
            one.end_at
            for one in self._records.values()
            if one.state == "running" and one.sandbox_id not in besides
        )
        return min(running, default=None)

    def page(
        self,
        *,
        metadata: Mapping[str, str],
        states: Collection[ShownState] = ("running", "paused"),
        template: str | None = None,
        started_after: float | None = None,
        started_before: float | None = None,
        order: Order = "desc",
        limit: int = 100,
        token: str | None = None,
    ) -> Page[SandboxRecord]:
        """Return some of the sandboxes.

        Args:
            metadata: Pairs that a sandbox must carry, all of them.
            states: Only those in one of these states.
            template: Only those made of the template with this id or name.
            started_after: Only those that started at this time or later.
            started_before: Only those that started at this time or earlier.
            order: By start, the newest first or last.
            limit: Size of the page, at least 1.
            token: Where to go on: `next_token` of the page before.

        Raises:
            PageTokenError: The token is no `next_token` of a list in that order.
        """
        wanted = (
            record
            for record in self._records.values()
            if record.state in states
            and metadata.items() <= record.metadata.items()
            and (template is None or template in {record.template.template_id, record.alias})
            and (started_after is None or record.started_at >= started_after)
            and (started_before is None or record.started_at <= started_before)
        )
        return cut_page(wanted, _position, order=order, limit=limit, token=token)


def _position(record: SandboxRecord) -> Position:
    return record.started_at, record.sandbox_id
