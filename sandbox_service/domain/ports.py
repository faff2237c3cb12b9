"""What the operations need from outside, as Protocols.

`providers` and `storage` implement them; so does every decorator that retries,
limits or measures. Each failure that these raise is an error of
`domain.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from sandbox_service.domain.execs import Position, Stream
from sandbox_service.domain.identity import Caller
from sandbox_service.domain.processes import FoundExec, Process, ProcessHandle, ProcessSpec
from sandbox_service.domain.sandboxes import (
    InternetAccess,
    Language,
    PortSeen,
    Preview,
    PreviewSpec,
    Resources,
    ResourceUsage,
    SandboxRecord,
    SandboxState,
    Template,
)


class Clock(Protocol):
    """Wall time. Tests bring their own."""

    def now(self) -> datetime:
        """Return the time, in UTC and aware of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo:
    """What the backend is and can do.

    Attributes:
        kind: `e2b_cloud`, `e2b_compatible` or `embedded`.
        isolation_tier: What separates sandboxes from one another.
        isolation_detail: The same for people, and how well their limits hold.
        survives_restart: Whether sandboxes outlive this service.
        internet: Whether sandboxes can be given the internet.
        internet_note: What they can be given instead; empty: nothing.
        internet_denial: Whether it can be kept from them.
    """

    kind: str
    isolation_tier: str
    isolation_detail: str
    survives_restart: bool
    internet: bool
    internet_denial: bool
    internet_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSandbox:
    """What the backend is asked to make."""

    template_id: str
    lifetime: timedelta
    env: Mapping[str, str] = field(repr=False)
    metadata: Mapping[str, str]
    internet: InternetAccess
    preview: PreviewSpec
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSandbox:
    """A sandbox as the backend describes it.

    Attributes:
        running: False when it is paused.
        resources: What it has. None: the backend did not say.
        traffic_token: Only known when it was just created.
    """

    sandbox_id: str
    template_id: str
    running: bool
    metadata: Mapping[str, str]
    start_time: datetime
    end_time: datetime
    resources: Resources | None = None
    traffic_token: str = field(default="", repr=False)


class SandboxProvider(Protocol):
    """Sandboxes, wherever they run."""

    async def info(self) -> BackendInfo:
        """Describe the backend."""
        ...

    async def create(self, new: NewSandbox) -> BackendSandbox:
        """Make a sandbox and return when it runs.

        Raises:
            TemplateNotFoundError: The backend has no such template.
            LifetimeTooLongError: It gives no lifetime as long as that.
            QuotaExceededError: The account has as many sandboxes as it may.
            BackendRateLimitedError: Nothing was made.
            OutcomeUnknownError: Contact was lost; one may have been made.
        """
        ...

    async def get(self, sandbox_id: str) -> BackendSandbox | None:
        """Describe a sandbox without waking it or extending its life. None: there is none."""
        ...

    async def list(self, metadata: Mapping[str, str]) -> Sequence[BackendSandbox]:
        """Return every sandbox, running or paused, that carries all of `metadata`."""
        ...

    async def destroy(self, sandbox_id: str) -> bool:
        """End a sandbox. Returns False when there was none."""
        ...

    async def set_lifetime(self, sandbox_id: str, left: timedelta) -> None:
        """Let a sandbox end `left` from now."""
        ...

    async def resume(self, sandbox_id: str, left: timedelta) -> BackendSandbox:
        """Let a sandbox run again that was paused, for `left` from now on at least.

        One that runs already runs on.

        Raises:
            SandboxEndedError: The backend has no such sandbox.
            BackendQuotaExceededError: As many run as may run at once.
        """
        ...

    async def usage(self, sandbox_id: str) -> ResourceUsage | None:
        """Return the newest sample of what a sandbox uses. None: there is none yet."""
        ...

    async def healthy(self, sandbox_id: str) -> bool:
        """Ask whether a sandbox answers at all."""
        ...

    async def start(self, sandbox_id: str, spec: ProcessSpec) -> Process:
        """Start a program.

        Raises:
            InvalidRequestError: The folder, user or program does not exist.
            SandboxEndedError: The sandbox is gone.
            ExecIdReusedError: The sandbox has an exec of `durable.exec_id`
                already. Nothing was started; `find_exec` tells about that one.
            DiskFullError: There is no room for what `durable` keeps.
        """
        ...

    async def find_exec(self, sandbox_id: str, exec_id: str) -> FoundExec | None:
        """Return what the sandbox knows of an exec that was started as durable. None: nothing."""
        ...

    async def reach(self, sandbox_id: str, exec_id: str) -> ProcessHandle | None:
        """Find the program of an exec that runs, whichever instance started it and reads it.

        Returns:
            What acts on it. None: no program of such an exec runs.
        """
        ...

    async def exec_records(self, sandbox_id: str) -> Sequence[FoundExec]:
        """Return every exec of the sandbox whose output is spooled, oldest first."""
        ...

    async def adopt(
        self, sandbox_id: str, found: FoundExec, position: Position | None = None
    ) -> Process:
        """Go on with a spooled exec that another instance started, or this one before a restart.

        Its `events` begin behind `position` (None: at the beginning), with what
        the spool holds. They also come when it has ended.

        Raises:
            SandboxEndedError: The sandbox is gone.
        """
        ...

    def spooled(
        self, sandbox_id: str, exec_id: str, stream: Stream, offset: int, size: int
    ) -> AsyncGenerator[bytes, None]:
        """Read a part of what is spooled of an exec; less comes when less is kept.

        Raises:
            SandboxEndedError: The sandbox is gone.
            BackendUnavailableError: Contact was lost.
        """
        ...

    async def end_leftovers(self, sandbox_id: str, instance: str) -> int:
        """End what a dead instance left running in a sandbox; spooled execs live on.

        Args:
            instance: As its programs' `ProcessSpec.instance` named it.

        Returns:
            How many processes were ended.
        """
        ...

    async def write_file(
        self, sandbox_id: str, path: str, content: bytes | AsyncIterator[bytes], user: str = ""
    ) -> None:
        """Write a whole file, making its folders.

        A relative path begins in the home of `user`, where programs begin too.

        Raises:
            DiskFullError: No space is left.
            InvalidRequestError: The path is a folder, or cannot be written.
        """
        ...

    def preview(self, record: SandboxRecord, port: int) -> Preview:
        """Return where a port of a sandbox is found. Asks nobody."""
        ...

    async def probe(self, record: SandboxRecord, port: int) -> PortSeen:
        """Ask from outside, over HTTP, whether something answers on a port.

        UNKNOWN is what cannot be seen from there: an app that speaks no HTTP or
        takes long, a sandbox that is not running.
        """
        ...

    async def aclose(self) -> None:
        """Let go of every connection."""
        ...


class Peers(Protocol):
    """The other instances of this deployment."""

    async def send_input(
        self,
        address: str,
        caller: Caller,
        sandbox_id: str,
        exec_id: str,
        offset: int,
        data: bytes,
        *,
        end: bool,
    ) -> int | None:
        """Let the instance that runs an exec write to its input, for a caller.

        Repeating it is harmless: that instance counts what it has written.

        Args:
            address: Of that instance: host:port.
            caller: For whom; also to that instance.

        Returns:
            The offset of the next input. None: that instance does not answer,
            or does not trust this one.

        Raises:
            SandboxError: What that instance answered.
        """
        ...

    async def aclose(self) -> None:
        """Let go of every connection."""
        ...


class Catalogue(Protocol):
    """The templates on offer, and the languages they can run."""

    @property
    def templates(self) -> Sequence[Template]:
        """Every template, in the catalogue's order."""
        ...

    @property
    def languages(self) -> Mapping[str, Language]:
        """Every language, by name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A keyed Create, written down before it is done.

    Attributes:
        request_digests: What the first caller sent, by field.
        sandbox_id: What came of it. Empty while nothing has.
        instance: Which instance of the service works on it.
    """

    tenant: str
    key: str
    request_digests: Mapping[str, str]
    create_time: datetime
    instance: str
    sandbox_id: str = ""


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records to list.

    Attributes:
        tenant: Whose. Empty: everybody's.
        states: Empty: all.
        template: Empty: all.
        owner: Empty: all.
        metadata: All of these pairs.
        before: Only records older than this (create_time, sandbox_id).
    """

    tenant: str = ""
    states: frozenset[SandboxState] = frozenset()
    template: str = ""
    owner: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    before: tuple[datetime, str] | None = None


class Store(Protocol):
    """What must outlive the process."""

    async def put(self, record: SandboxRecord) -> None:
        """Write a record, new or changed."""
        ...

    async def get(self, sandbox_id: str) -> SandboxRecord | None:
        """Return a record, whoever's it is. None: there is none."""
        ...

    async def list(self, which: RecordFilter, limit: int) -> Sequence[SandboxRecord]:
        """Return at most `limit` records, newest first."""
        ...

    async def claim_intent(self, intent: Intent) -> Intent:
        """Write `intent` unless its key is taken.

        Returns:
            The intent that holds the key now: this one, or the earlier one.
        """
        ...

    async def take_over_intent(self, intent: Intent, instance: str) -> bool:
        """Let `instance` work on an intent that its earlier worker left. False: someone did."""
        ...

    async def complete_intent(self, tenant: str, key: str, sandbox_id: str) -> None:
        """Note what came of an intent."""
        ...

    async def free_intent(self, tenant: str, key: str) -> None:
        """Forget an intent, so that its key can be used again."""
        ...

    async def forget_before(self, time: datetime) -> int:
        """Delete tombstones and intents older than `time`. Returns how many."""
        ...

    async def aclose(self) -> None:
        """Close the store."""
        ...
