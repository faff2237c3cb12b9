"""Sandboxes: what is asked for, what there is, and how one ends."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sandbox_service.domain.execs import ExecSpec
from sandbox_service.domain.policy import UNCHECKED, Verdict
from sandbox_service.domain.setup import SetupFailure


class SandboxState(enum.StrEnum):
    """Where a sandbox stands in its life. `domain.lifecycle` says what follows what."""

    CREATING = "creating"
    SETTING_UP = "setting_up"
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"


class EndCause(enum.StrEnum):
    """Why a sandbox ended."""

    DESTROYED = "destroyed"
    LIFETIME_ENDED = "lifetime_ended"
    SETUP_FAILED = "setup_failed"
    CREATE_FAILED = "create_failed"
    CREATE_CANCELLED = "create_cancelled"
    LOST = "lost"
    BACKEND_STOPPED = "backend_stopped"


class PreviewAccess(enum.StrEnum):
    """Who may open a sandbox's preview."""

    PUBLIC = "public"
    TOKEN = "token"  # noqa: S105 - a kind of access, not a secret.


class ReturnWhen(enum.StrEnum):
    """What Create waits for."""

    READY = "ready"
    CREATED = "created"


class InternetAccess(enum.StrEnum):
    """Whether programs in a sandbox reach the internet."""

    BACKEND_DEFAULT = "backend_default"
    ALLOWED = "allowed"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a sandbox has.

    Attributes:
        cpu_count: Virtual CPUs.
        memory_mib: Memory in MiB.
    """

    cpu_count: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Language:
    """How source code of one language is run.

    Attributes:
        name: What callers write, in lower case.
        command: The program and its arguments, before the file's path.
        extension: Of the file that the code is written to, with its dot.
    """

    name: str
    command: tuple[str, ...]
    extension: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A kind of sandbox that the catalogue offers.

    Attributes:
        name: What callers write.
        backend_id: What the backend calls it.
        resources: What a sandbox of it has.
        languages: The languages whose source code it can run, by name.
        description: One sentence for people.
    """

    name: str
    backend_id: str
    resources: Resources
    languages: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class InitialFile:
    """A file that a sandbox begins with.

    Attributes:
        path: Absolute, or relative to the home folder.
        content: Its bytes.
        mode: Permission bits. None leaves the backend's default.
    """

    path: str
    content: bytes
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class SetupStep:
    """A command that must succeed before a sandbox is ready."""

    name: str
    exec: ExecSpec


@dataclass(frozen=True, slots=True)
class PreviewSpec:
    """Where a sandbox's app listens, and who may open it."""

    port: int = 3000
    access: PreviewAccess = PreviewAccess.TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSpec:
    """What a caller asks for, with the service's defaults not yet filled in.

    Attributes:
        idempotency_key: Makes a retry join or find the first call. Empty: none.
        request_digests: SHA-256 of each field that the caller sent, by name:
            what "the same request" means, and what differs when it is not.
        template: A name of the catalogue, or empty.
        backend_template_id: The backend's own id, or empty.
        resources: Wanted instead of a template: the smallest that fits.
        lifetime: How long it may live. None: the service's default.
    """

    idempotency_key: str = ""
    request_digests: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    backend_template_id: str = ""
    resources: Resources | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    lifetime: timedelta | None = None
    initial_files: tuple[InitialFile, ...] = ()
    setup_steps: tuple[SetupStep, ...] = ()
    artifact_globs: tuple[str, ...] = ()
    internet: InternetAccess = InternetAccess.BACKEND_DEFAULT
    preview: PreviewSpec = field(default_factory=PreviewSpec)
    return_when: ReturnWhen = ReturnWhen.READY
    owner: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupResult:
    """How a setup step went that did not fail.

    Attributes:
        duration: How long it ran. None: it has not run.
        verdict: What the code policy said of it.
    """

    step_index: int
    name: str
    exec_id: str
    duration: timedelta | None
    verdict: Verdict = UNCHECKED


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a sandbox ended: what a tombstone says.

    Attributes:
        time: When it was seen to have ended.
        cause: Why.
        detail: One sentence for people.
        setup_failure: Which step failed, if that is why.
    """

    time: datetime
    cause: EndCause
    detail: str = ""
    setup_failure: SetupFailure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRecord:
    """What the store keeps of a sandbox, which the backend cannot.

    Attributes:
        sandbox_id: The backend's own id.
        tenant: Whose it is.
        template: The catalogue's name for it. Empty when a raw id was asked for.
        backend_template_id: What the backend calls it.
        state_time: Since when it is in its state.
        setup_results: What became of its setup steps, as far as they are done.
        resources: What it has. None: the backend has not said yet.
        generation: Grows whenever the sandbox becomes another incarnation.
        expire_time: When its lifetime ends.
        traffic_token: What its preview asks for. A secret.
        end: How it ended. None while it has not.
    """

    sandbox_id: str
    tenant: str
    user: str
    owner: str
    state: SandboxState
    template: str
    backend_template_id: str
    resources: Resources | None
    metadata: Mapping[str, str]
    create_time: datetime
    state_time: datetime
    expire_time: datetime
    preview: PreviewSpec
    internet: InternetAccess
    setup_results: tuple[SetupResult, ...] = ()
    artifact_globs: tuple[str, ...] = ()
    generation: int = 1
    idempotency_key: str = ""
    traffic_token: str = field(default="", repr=False)
    end: End | None = None


@dataclass(frozen=True, slots=True)
class PhaseTiming:
    """How long one phase of an operation took."""

    phase: str
    duration: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What Create answers with.

    Attributes:
        record: The sandbox. Without an id when only validation was asked for.
        reused: Whether an earlier call with the same key made it.
    """

    record: SandboxRecord
    reused: bool = False
    timings: tuple[PhaseTiming, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUsage:
    """What a sandbox used at one moment.

    Attributes:
        sample_time: When it was measured.
        cpu_utilization: The share of all its CPUs that is in use, 0 to 1.
    """

    sample_time: datetime
    cpu_utilization: float
    memory_used_bytes: int
    memory_total_bytes: int
    disk_used_bytes: int
    disk_total_bytes: int


class Health(enum.StrEnum):
    """Whether a sandbox answers."""

    HEALTHY = "healthy"
    UNRESPONSIVE = "unresponsive"
    NOT_RUNNING = "not_running"


class PreviewState(enum.StrEnum):
    """Whether something answers on a sandbox's preview port."""

    LISTENING = "listening"
    NOT_LISTENING = "not_listening"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PortSeen:
    """What was seen of a port.

    Attributes:
        http_status: What answered over HTTP. None: nothing did, or not in time.
    """

    state: PreviewState
    http_status: int | None = None


UNSEEN: Final = PortSeen(PreviewState.UNKNOWN)
"""Nobody has looked, or the look has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Where a sandbox's app is found.

    Attributes:
        url: For a browser. Ends with `/`.
        direct_url: For programs on machines where `url`'s host has no DNS
            entry; empty when `url` serves. Needs `routing_headers`.
        headers: What every request must carry. Holds secrets.
        routing_headers: What requests to `direct_url` carry besides.
        seen: What was seen there. Unknown unless somebody has looked.
    """

    port: int
    url: str
    direct_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    routing_headers: Mapping[str, str] = field(default_factory=dict)
    seen: PortSeen = UNSEEN
