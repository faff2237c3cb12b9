"""Which sandboxes exist, and when each of them ends.

Plain bookkeeping: nothing here starts or kills anything, and time is asked of a
clock that is passed in.
"""

from __future__ import annotations

import base64
import secrets
import string
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandbox_service.e2b_local.config import Template

_ID_ALPHABET: Final = string.ascii_lowercase + string.digits
_ID_LENGTH: Final = 20

Order = Literal["asc", "desc"]


def new_sandbox_id() -> str:
    """Return an id of the form that E2B's own edge accepts: `i` and 20 of [a-z0-9]."""
    return "i" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRecord:
    """One sandbox, as clients are told of it.

    Attributes:
        sandbox_id: Its id.
        template: What it was made of.
        started_at: Seconds since 1970.
        end_at: Seconds since 1970; at this time it is killed.
        metadata: What its creator wrote on it.
        env: Variables of every program in it, besides the template's.
        access_token: What its envd asks for. None: nothing.
        traffic_token: What its other ports ask for. None: nothing.
        network: The network settings its creator sent, as they came.
        mask_request_host: Host that programs behind its ports are told. None:
            the one the client used.
    """

    sandbox_id: str
    template: Template
    started_at: float
    end_at: float
    metadata: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    access_token: str | None = field(default=None, repr=False)
    traffic_token: str | None = field(default=None, repr=False)
    network: Mapping[str, object] | None = None
    mask_request_host: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, and where the next ones begin.

    Attributes:
        records: In the order asked for.
        next_token: For the next call. None: this was the last page.
    """

    records: tuple[SandboxRecord, ...]
    next_token: str | None


class PageTokenError(ValueError):
    """A page token that this store did not make."""


class SandboxStore:
    """The records of all sandboxes that run.

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

    def get(self, sandbox_id: str) -> SandboxRecord | None:
        """Return a sandbox's record. None: there is no such sandbox, or no longer."""
        return self._records.get(sandbox_id)

    def remove(self, sandbox_id: str) -> SandboxRecord | None:
        """Forget a sandbox and return its last record."""
        return self._records.pop(sandbox_id, None)

    def end_in(self, sandbox_id: str, seconds: float) -> SandboxRecord | None:
        """Let a sandbox end in so many seconds from now, sooner or later than before."""
        return self._move_end(sandbox_id, self.now() + seconds)

    def extend(self, sandbox_id: str, seconds: float) -> SandboxRecord | None:
        """Let a sandbox live for at least so many seconds more, never for fewer than before."""
        record = self._records.get(sandbox_id)
        if record is None:
            return None
        return self._move_end(sandbox_id, max(record.end_at, self.now() + seconds))

    def _move_end(self, sandbox_id: str, end_at: float) -> SandboxRecord | None:
        record = self._records.get(sandbox_id)
        if record is None:
            return None
        moved = replace(record, end_at=end_at)
        self._records[sandbox_id] = moved
        return moved

    def expired(self) -> list[str]:
        """Return the ids of those whose time is over."""
        now = self.now()
        return [record.sandbox_id for record in self._records.values() if record.end_at <= now]

    def next_end(self) -> float | None:
        """Return the time at which the next sandbox ends. None: there is none."""
        return min((record.end_at for record in self._records.values()), default=None)

    def page(
        self,
        *,
        metadata: Mapping[str, str],
        template_id: str | None = None,
        started_after: float | None = None,
        order: Order = "desc",
        limit: int = 100,
        token: str | None = None,
    ) -> Page:
        """Return some of the sandboxes.

        Args:
            metadata: Pairs that a sandbox must carry, all of them.
            template_id: Only those made of this template.
            started_after: Only those that started later than this time.
            order: By start, the newest first or last.
            limit: Size of the page, at least 1.
            token: Where to go on: `next_token` of the page before.

        Raises:
            PageTokenError: The token is not one of `next_token`.
        """
        descending = order == "desc"
        wanted = [
            record
            for record in self._records.values()
            if metadata.items() <= record.metadata.items()
            and (template_id is None or record.template.template_id == template_id)
            and (started_after is None or record.started_at > started_after)
        ]
        wanted.sort(key=_position, reverse=descending)
        if token is not None:
            # By position, not by count: sandboxes come and go between two pages.
            after = _decode_token(token)
            wanted = [
                record
                for record in wanted
                if (_position(record) < after if descending else _position(record) > after)
            ]
        records = tuple(wanted[:limit])
        more = len(wanted) > limit
        return Page(records, _encode_token(_position(records[-1])) if more else None)


def _position(record: SandboxRecord) -> tuple[float, str]:
    return record.started_at, record.sandbox_id


def _encode_token(position: tuple[float, str]) -> str:
    started_at, sandbox_id = position
    return base64.urlsafe_b64encode(f"{started_at!r} {sandbox_id}".encode()).decode("ascii")


def _decode_token(token: str) -> tuple[float, str]:
    try:
        started_at, sandbox_id = base64.urlsafe_b64decode(token.encode()).decode().split(" ")
        return float(started_at), sandbox_id
    except ValueError:
        raise PageTokenError("the page token is not one of ours") from None
